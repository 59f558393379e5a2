"""Hashes pictures to 64 bits that survive JPEG and resizing."""

import os
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.fft import dctn

from tumorscope.images.reading import MAXIMUM_PIXELS, MINIMUM_SIDE, read_slice

TOLERANCE: Final = 8
"""Hashes that differ in at most this many bits are taken for the same picture.

Re-encoded and resized copies stay within 6; two more leave room for filters not seen.
"""

_SIDE: Final = 32
_BITS: Final = 64

# The 64 lowest frequencies without the mean, sorted from coarse to fine.
_FREQUENCIES: Final = sorted(
    ((row, column) for row in range(_SIDE) for column in range(_SIDE) if row + column),
    key=lambda pair: (sum(pair), pair),
)[:_BITS]
_ROWS: Final = np.array([row for row, _ in _FREQUENCIES])
_COLUMNS: Final = np.array([column for _, column in _FREQUENCIES])


def perceptual_hash(grey: NDArray[np.uint8]) -> int:
    """Hash a whole picture by its coarse pattern of light and dark.

    The picture is stretched to 32x32 with antialiasing, so its size and aspect ratio do not
    matter. Of its discrete cosine transform the 64 lowest frequencies (without the mean) are
    each compared with their median. After Zauner, Implementation and Benchmarking of Perceptual
    Image Hash Functions (2010).

    Args:
        grey: Grey values 0 to 255, uint8, shape `[height, width]`.

    Returns:
        A number of 64 bits; compare two with `distance`.

    >>> slope = np.tile(np.arange(0, 240, dtype=np.uint8), (200, 1))
    >>> distance(perceptual_hash(slope), perceptual_hash(slope[::2]))
    0
    """
    return _hash(Image.fromarray(grey))


def hash_file(path: str | os.PathLike[str]) -> int:
    """Hash the picture in a JPEG or PNG file.

    A JPEG is decoded at a fraction of its size where that leaves at least 64 pixels a side.

    Args:
        path: The file.

    Returns:
        The same as `perceptual_hash` of the slice, but for a few bits.

    Raises:
        UnreadableImageError: See `tumorscope.images.read_slice`.
    """
    try:
        with Image.open(path, formats=("JPEG",)) as picture:
            sensible = min(picture.size) >= MINIMUM_SIDE
            if sensible and picture.width * picture.height <= MAXIMUM_PIXELS:
                picture.draft("L", (2 * _SIDE, 2 * _SIDE))
                return _hash(ImageOps.exif_transpose(picture).convert("L"))
    except Exception:  # noqa: BLE001, S110  (Pillow raises nearly anything; read_slice says what)
        pass
    return perceptual_hash(read_slice(path))


def distance(first: int, second: int) -> int:
    """Return how many of the 64 bits differ: 0 for the same picture, about 32 by chance."""
    return (first ^ second).bit_count()


def _hash(picture: Image.Image) -> int:
    small = picture.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    spectrum = dctn(np.asarray(small, dtype=np.float64))
    strengths = spectrum[_ROWS, _COLUMNS]
    bits = np.packbits(strengths > np.median(strengths))
    return int.from_bytes(bits.tobytes(), "big")
