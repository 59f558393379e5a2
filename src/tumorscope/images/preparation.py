"""A grey slice comes in, the model's input (square, uint8) goes out: the only preparation there is.

Training, evaluation, prediction and every deployment bundle call `prepare`; the file is copied
into bundles that run Python 3.6, so it keeps to that syntax and to NumPy and Pillow.
"""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREPARATION_VERSION = 1
"""Raised whenever the same picture would give another input; stored in every model file."""

_SEARCH_SIDE = 128
"""Longest side, in pixels, of the small copy in which the head is looked for."""

_HEAD_LEVEL = 0.12
"""A pixel belongs to the head above this fraction of the brightest tissue."""

_HEAD_SHARE = 0.06
"""A row or column belongs to the head when this share of it does."""

_FLAT = 6
"""A row or column whose values spread less than this is a frame, whatever its colour."""


def prepare(grey: "NDArray[np.uint8]", size: int) -> "NDArray[np.uint8]":
    """Turn a grey slice into the model's input.

    The slice is cropped to the head, stretched to a square (so that a squashed or padded copy
    gives nearly the same input), resized with antialiasing, and its contrast is stretched so that
    the darkest and brightest half per cent meet 0 and 255.

    Args:
        grey: Grey values 0 to 255, uint8, shape `[height, width]`.
        size: Side of the result in pixels.

    Returns:
        Grey values 0 to 255, uint8, shape `[size, size]`.

    Raises:
        ValueError: The slice is not two-dimensional uint8, or the size is below 1.
    """
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise ValueError(
            "a slice is a two-dimensional uint8 array, not {} of {}".format(grey.shape, grey.dtype)
        )
    if size < 1:
        raise ValueError("the size must be at least 1 pixel, not {}".format(size))
    top, bottom, left, right = find_head(grey)
    picture = Image.fromarray(grey).resize(
        (size, size), Image.BILINEAR, box=(left, top, right, bottom)
    )
    return _stretch_contrast(np.asarray(picture))


def find_head(grey: "NDArray[np.uint8]") -> "tuple[float, float, float, float]":
    """Find the box round the head.

    Flat frames of any colour are cut away, then dark rows and columns at the sides; the second
    round makes the answer independent of how much padding there was.

    Args:
        grey: Grey values 0 to 255, uint8, shape `[height, width]`.

    Returns:
        `(top, bottom, left, right)` in pixels of the slice; the whole slice when nothing stands
        out from the background.
    """
    height, width = grey.shape
    scale = max(height, width) / _SEARCH_SIDE
    small_size = (max(1, round(width / scale)), max(1, round(height / scale)))
    small = np.asarray(Image.fromarray(grey).resize(small_size, Image.BOX))
    top, bottom, left, right = 0, small.shape[0], 0, small.shape[1]
    for _ in range(2):
        inner = small[top:bottom, left:right]
        spread_rows = inner.max(axis=1).astype(np.int16) - inner.min(axis=1)
        spread_columns = inner.max(axis=0).astype(np.int16) - inner.min(axis=0)
        first, last = _extent(spread_rows >= _FLAT)
        left_, right_ = _extent(spread_columns >= _FLAT)
        top, bottom, left, right = top + first, top + last, left + left_, left + right_
        inner = small[top:bottom, left:right]
        dark, bright = np.percentile(inner, (2, 99))
        head = inner > dark + _HEAD_LEVEL * (bright - dark)
        first, last = _extent(head.mean(axis=1) > _HEAD_SHARE)
        left_, right_ = _extent(head.mean(axis=0) > _HEAD_SHARE)
        top, bottom, left, right = top + first, top + last, left + left_, left + right_
    vertical, horizontal = height / small.shape[0], width / small.shape[1]
    return top * vertical, bottom * vertical, left * horizontal, right * horizontal


def _extent(inside: "NDArray[np.bool_]") -> "tuple[int, int]":
    """Return the first index inside and one past the last; everything when too little is."""
    where = np.flatnonzero(inside)
    if where.size < 4:
        return 0, inside.size
    return int(where[0]), int(where[-1]) + 1


def _stretch_contrast(grey: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    counts = np.cumsum(np.bincount(grey.ravel(), minlength=256))
    low, high = np.searchsorted(counts, (0.005 * counts[-1], 0.995 * counts[-1]))
    if high <= low:
        return grey.copy()
    table = np.clip((np.arange(256) - low) * (255.0 / (high - low)), 0, 255)
    return np.rint(table).astype(np.uint8)[grey]
