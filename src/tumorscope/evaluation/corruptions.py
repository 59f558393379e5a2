"""Corrupts grey slices as scanners and copies do, at five severities."""

import math
from typing import Final, Literal, get_args

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tumorscope.images import find_head

Kind = Literal["blur", "noise", "contrast", "bias_field", "crop", "rot90", "text"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
SEVERITIES: Final = (1, 2, 3, 4, 5)

_BLUR: Final = (0.003, 0.006, 0.009, 0.012, 0.015)
_NOISE: Final = (0.02, 0.04, 0.06, 0.08, 0.11)
_GAMMA: Final = (1.2, 1.4, 1.6, 1.8, 2.0)
_GAIN: Final = (1.1, 1.2, 1.3, 1.4, 1.5)
_BIAS_FIELD: Final = (1.5, 2.0, 3.0, 4.0, 6.0)
_CROP: Final = (0.04, 0.08, 0.12, 0.16, 0.20)
_ROT90: Final = (0.2, 0.4, 0.6, 0.8, 1.0)
_TEXT: Final = (0.030, 0.035, 0.040, 0.045, 0.050)
_LINES: Final = (1, 2, 2, 3, 4)
_CORNERS: Final = (1, 2, 4, 4, 4)

_LETTERS: Final = "ABCDEFGHIKLMNOPRSTUVWZ0123456789:./"


def corrupt(grey: NDArray[np.uint8], kind: Kind, severity: int, seed: int) -> NDArray[np.uint8]:
    """Corrupt a slice.

    The seed decides direction, place and pattern, the severity how far it goes: one seed gives the
    same corruption at all severities. Severity 5 is heavy, yet a radiologist reads past it.

    | kind | what | at severities 1 to 5 |
    |---|---|---|
    | `blur` | a Gaussian bell; its standard deviation as a share of the head's side | 0.003 to
      0.015 |
    | `noise` | Rician, as of magnitude pictures (Gudbjartsson & Patz 1995); standard deviation of
      each channel as a share of the slice's range | 0.02 to 0.11 |
    | `contrast` | a gamma, and a gain that clips at white, each of this factor or its inverse |
      gamma 1.2 to 2, gain 1.1 to 1.5 |
    | `bias_field` | brightness that varies smoothly (a polynomial of degree 2 in the exponent), as
      a coil makes it; brightest place to darkest | 1.5 to 6 |
    | `crop` | one side of the head cut off, as a share of the head | 0.04 to 0.20 |
    | `rot90` | a turn by 90, 180 or 270 degrees, which knows no half measures; the chance that a
      slice is turned | 0.2 to 1 |
    | `text` | lines of white letters in the picture's corners; the letters' size as a share of its
      side | 0.03 to 0.05, 1 line in 1 corner to 4 lines in all |

    Args:
        grey: Grey values 0 to 255, uint8, shape `[height, width]`.
        kind: One of `KINDS`.
        severity: 1 to 5.
        seed: The same seed gives the same corruption; draw another for each slice.

    Returns:
        Grey values 0 to 255, uint8; the same shape but where a part is cut off or it is turned.

    Raises:
        ValueError: The kind or severity is unknown, or the slice is no uint8 picture.
    """
    if kind not in KINDS or severity not in SEVERITIES:
        raise ValueError(f"there is no corruption '{kind}' of severity {severity}")
    if grey.ndim != 2 or grey.dtype != np.uint8 or not grey.size:
        raise ValueError(f"a slice is a uint8 array [height, width], not {grey.dtype} {grey.shape}")
    random = np.random.default_rng([seed, KINDS.index(kind)])
    return _CORRUPTIONS[kind](grey, severity - 1, random)


def _blur(grey: NDArray[np.uint8], level: int, _: Generator) -> NDArray[np.uint8]:
    top, bottom, left, right = find_head(grey)
    bell = ImageFilter.GaussianBlur(_BLUR[level] * math.sqrt((bottom - top) * (right - left)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(grey)).filter(bell))


def _noise(grey: NDArray[np.uint8], level: int, random: Generator) -> NDArray[np.uint8]:
    dark, bright = np.percentile(grey, (0.5, 99.5))
    deviation = _NOISE[level] * (bright - dark)
    real, imaginary = random.standard_normal((2, *grey.shape)) * deviation
    return _to_grey(np.hypot(grey + real, imaginary))


def _contrast(grey: NDArray[np.uint8], level: int, random: Generator) -> NDArray[np.uint8]:
    upwards = random.integers(2, size=2) * 2 - 1
    gamma, gain = _GAMMA[level] ** float(upwards[0]), _GAIN[level] ** float(upwards[1])
    table = _to_grey((np.arange(256) / 255) ** gamma * (255 * gain))
    return table[grey]


def _bias_field(grey: NDArray[np.uint8], level: int, random: Generator) -> NDArray[np.uint8]:
    height, width = grey.shape
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    a, b, c, d, e = random.standard_normal(5)
    surface = a * x + b * y + c * x * x + d * x * y + e * y * y
    rise = (surface - surface.min()) / max(np.ptp(surface), 1e-9)
    shaded = grey * _BIAS_FIELD[level] ** rise
    # What stores a picture lays the range anew: the brightest tissue stays as bright.
    return _to_grey(shaded * (np.percentile(grey, 99.5) / max(np.percentile(shaded, 99.5), 1.0)))


def _crop(grey: NDArray[np.uint8], level: int, random: Generator) -> NDArray[np.uint8]:
    top, bottom, left, right = find_head(grey)
    share = _CROP[level]
    down, across = share * (bottom - top), share * (right - left)
    rows, columns = (
        (slice(round(top + down), None), slice(None)),
        (slice(0, max(1, round(bottom - down))), slice(None)),
        (slice(None), slice(round(left + across), None)),
        (slice(None), slice(0, max(1, round(right - across)))),
    )[random.integers(4)]
    return grey[rows, columns].copy()


def _rot90(grey: NDArray[np.uint8], level: int, random: Generator) -> NDArray[np.uint8]:
    chance, quarters = random.random(), int(random.integers(1, 4))
    return np.rot90(grey, quarters if chance < _ROT90[level] else 0).copy()


def _text(grey: NDArray[np.uint8], level: int, random: Generator) -> NDArray[np.uint8]:
    height, width = grey.shape
    size = max(6.0, _TEXT[level] * math.sqrt(height * width))
    font = ImageFont.load_default(size)
    picture = Image.fromarray(grey.copy())
    pen = ImageDraw.Draw(picture)
    words = [
        ["".join(random.choice(list(_LETTERS), random.integers(5, 13))) for _ in range(_LINES[-1])]
        for _ in range(4)
    ]
    for corner in random.permutation(4)[: _CORNERS[level]]:
        low, far = divmod(int(corner), 2)
        for number, word in enumerate(words[corner][: _LINES[level]]):
            down = 0.5 * size + 1.15 * size * number
            place = (width - 0.5 * size if far else 0.5 * size, height - down if low else down)
            pen.text(place, word, fill=255, font=font, anchor=f"{'lr'[far]}{'ad'[low]}")
    return np.asarray(picture)


_CORRUPTIONS: Final = {
    "blur": _blur,
    "noise": _noise,
    "contrast": _contrast,
    "bias_field": _bias_field,
    "crop": _crop,
    "rot90": _rot90,
    "text": _text,
}


def _to_grey(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
