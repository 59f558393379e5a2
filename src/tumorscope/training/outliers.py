"""Makes pictures that are no brain slices, most of them of parts of brain slices.

They teach the OOD score what is not in the training data, without any picture of something else.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from tumorscope.images import prepare

Picture = NDArray[np.uint8]
_Maker = Callable[[Picture, np.random.Generator], Picture]


def draw_outliers(grey: Picture, count: int, *, seed: int = 0) -> Picture:
    """Make outliers, of each kind about as many.

    Args:
        grey: Inputs of brain slices `[N, S, S]`, N at least 1.
        count: How many to make.
        seed: Of all that is drawn.

    Returns:
        Inputs `[count, S, S]`, prepared as any picture is.
    """
    random = np.random.default_rng(seed)
    side = grey.shape[-1]
    found = np.empty((count, side, side), dtype=np.uint8)
    for number in range(count):
        picture = grey[random.integers(len(grey))]
        found[number] = prepare(KINDS[number % len(KINDS)](picture, random), side)
    return found


def _tiles(picture: Picture, random: np.random.Generator) -> Picture:
    """Cut a slice into tiles and put them together otherwise."""
    count = int(random.integers(2, 6))
    side = len(picture) // count
    whole = picture[: side * count, : side * count]
    tiles = whole.reshape(count, side, count, side).swapaxes(1, 2).reshape(-1, side, side)
    order = random.permutation(count**2)
    if np.array_equal(order, np.arange(count**2)):
        order = order[::-1]
    mixed = tiles[order].reshape(count, count, side, side).swapaxes(1, 2)
    return mixed.reshape(whole.shape)


def _part(picture: Picture, random: np.random.Generator) -> Picture:
    """Enlarge a small part of a slice, of any proportions."""
    height, width = np.maximum(2, len(picture) * random.uniform(0.2, 0.55, 2)).astype(int)
    top, left = random.integers(0, len(picture) - height), random.integers(0, len(picture) - width)
    return _enlarged(picture[top : top + height, left : left + width], len(picture))


def _column(picture: Picture, random: np.random.Generator) -> Picture:
    """Pile up pieces of a strip of a slice in the middle of a plain picture."""
    size, pieces = len(picture), int(random.integers(3, 7))
    width, height = max(2, int(size * random.uniform(0.2, 0.5))), size // pieces
    left = random.integers(0, size - width)
    strip = picture[:, left : left + width]
    starts = random.integers(0, size - height, pieces)
    column = np.concatenate([strip[start : start + height] for start in starts])
    found = np.full((len(column), size), random.integers(0, 60), dtype=np.uint8)
    found[:, (size - width) // 2 :][:, :width] = column
    return found


def _texture(picture: Picture, random: np.random.Generator) -> Picture:
    """Make clouds: noise whose waves fade with their number, perhaps stretched."""
    size = len(picture)
    down, across = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    waves = np.sqrt(across**2 * random.uniform(0.3, 3) + down**2) + 1e-3
    noise = np.fft.rfft2(random.normal(size=(size, size))) / waves ** random.uniform(0.5, 2)
    values = np.fft.irfft2(noise, s=(size, size))
    return _stretched(values, random.uniform(0.5, 2))


def _double(picture: Picture, _: np.random.Generator) -> Picture:
    """Lay a slice over itself, upside down."""
    return np.asarray(((picture.astype(np.uint16) + picture[::-1]) // 2).astype(np.uint8))


def _panels(picture: Picture, random: np.random.Generator) -> Picture:
    """Put two or four views of a slice beside each other, as screens show them."""
    turned = [np.rot90(picture, quarters) for quarters in range(4)]
    views = [*turned, *(np.fliplr(view) for view in turned)]
    first, second, third, fourth = (views[at] for at in random.integers(0, len(views), 4))
    layouts = ([[first, second]], [[first], [second]], [[first, second], [third, fourth]])
    return np.asarray(np.block(layouts[random.integers(len(layouts))]))


def _swirl(picture: Picture, random: np.random.Generator) -> Picture:
    """Turn a slice about its middle, the more the nearer."""
    down, across = _places(picture)
    middle = len(picture) / 2
    angle = random.uniform(2, 6) * np.exp(
        -3 * np.hypot(down - middle, across - middle) / len(picture)
    )
    return _moved(
        picture,
        middle + (down - middle) * np.cos(angle) - (across - middle) * np.sin(angle),
        middle + (down - middle) * np.sin(angle) + (across - middle) * np.cos(angle),
    )


def _crumpled(picture: Picture, random: np.random.Generator) -> Picture:
    """Move each place of a slice by some hundredths of the side, neighbours alike."""
    smooth = len(picture) / 14
    shifts = gaussian_filter(random.normal(size=(2, *picture.shape)), (0, smooth, smooth))
    # Smoothing has left noise of deviation 1 one of 1 / (2 sqrt(pi) smooth).
    shifts *= 2 * np.sqrt(np.pi) * smooth * random.uniform(0.35, 0.95) * smooth
    return _moved(picture, *(_places(picture) + shifts))


def _phases(picture: Picture, random: np.random.Generator) -> Picture:
    """Keep the waves that make up a slice, but shift each against the others."""
    shifts = np.angle(np.fft.rfft2(random.normal(size=picture.shape)))
    waves = np.abs(np.fft.rfft2(picture.astype(np.float64))) * np.exp(1j * shifts)
    return _stretched(np.fft.irfft2(waves, s=picture.shape))


def _band(picture: Picture, random: np.random.Generator) -> Picture:
    """Stretch a band of a slice to a square."""
    side = max(2, int(len(picture) * random.uniform(0.15, 0.35)))
    start = random.integers(0, len(picture) - side)
    band = picture[start : start + side]
    return _enlarged(band if random.random() < 0.5 else band.T, len(picture))


def _shapes(picture: Picture, random: np.random.Generator) -> Picture:
    """Draw ellipses and rectangles, with noise."""
    size = len(picture)
    image = Image.new("L", (size, size), int(random.integers(0, 120)))
    draw = ImageDraw.Draw(image)
    for _ in range(random.integers(3, 15)):
        corners = np.sort(random.integers(0, size, (2, 2)), axis=0).flatten().tolist()
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape(corners, fill=int(random.integers(0, 255)))
    noisy = np.asarray(image) + random.normal(0, 8, (size, size))
    return np.asarray(noisy.clip(0, 255).astype(np.uint8))


def _places(picture: Picture) -> NDArray[np.float64]:
    """Return rows and columns `[2, S, S]`."""
    return np.indices(picture.shape).astype(np.float64)


def _moved(picture: Picture, down: NDArray[np.float64], across: NDArray[np.float64]) -> Picture:
    """Take each grey value from elsewhere."""
    last = len(picture) - 1
    return np.asarray(picture[down.clip(0, last).astype(int), across.clip(0, last).astype(int)])


def _stretched(values: NDArray[np.float64], gamma: float = 1.0) -> Picture:
    """Make grey values of numbers; the lowest and the highest hundredth are black and white."""
    low, high = np.percentile(values, [1, 99])
    shares = ((values - low) / max(high - low, 1e-9)).clip(0, 1) ** gamma
    return np.asarray((255 * shares).astype(np.uint8))


def _enlarged(picture: Picture, size: int) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))


KINDS: Final[tuple[_Maker, ...]] = (
    _tiles,
    _part,
    _column,
    _texture,
    _double,
    _panels,
    _swirl,
    _crumpled,
    _phases,
    _band,
    _shapes,
)
