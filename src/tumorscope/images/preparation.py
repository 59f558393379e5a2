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

_SEARCH_SIDE = 192
"""Side, in pixels, of the small square copy in which the head is looked for."""

_SEARCH_ROUNDS = 4
"""How often the head is looked for, each time in the last answer and a margin round it."""

_SEARCH_MARGIN = 0.08
"""Width of that margin, as a fraction of the last answer's side."""

_HEAD_LEVEL = 0.12
"""A pixel belongs to the head above this fraction of the brightest tissue."""

_HEAD_SHARE = 0.08
"""A row belongs to the head when it holds this fraction of what the fullest row holds of it."""

_THINNEST_HEAD = 6
"""Fewer neighbouring rows of the small copy are a line or a letter, no part of the head."""


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
        ValueError: The slice is empty or not two-dimensional uint8, or the size is below 1.
    """
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise ValueError(
            "a slice is a two-dimensional uint8 array, not {} of {}".format(grey.shape, grey.dtype)
        )
    if grey.size == 0:
        raise ValueError("a slice of {} has no pixels".format(grey.shape))
    if size < 1:
        raise ValueError("the size must be at least 1 pixel, not {}".format(size))
    return _stretch_contrast(cut_out(grey, find_head(grey), size))


def find_head(grey: "NDArray[np.uint8]") -> "tuple[float, float, float, float]":
    """Find the box round the head.

    Flat frames of any colour are peeled off, then dark rows and columns. The head is looked for
    in a small square copy, and again in the box found: so neither the width of the padding nor
    the aspect ratio matters.

    Args:
        grey: Grey values 0 to 255, uint8, shape `[height, width]`.

    Returns:
        `(top, bottom, left, right)` in pixels of the slice; the whole slice when nothing stands
        out from the background.
    """
    highest, lowest, leftmost, rightmost = _without_frames(grey)
    top, bottom, left, right = float(highest), float(lowest), float(leftmost), float(rightmost)
    for _ in range(_SEARCH_ROUNDS):
        margin = _SEARCH_MARGIN * (bottom - top)
        top, bottom = max(highest, top - margin), min(lowest, bottom + margin)
        margin = _SEARCH_MARGIN * (right - left)
        left, right = max(leftmost, left - margin), min(rightmost, right + margin)
        small = cut_out(grey, (top, bottom, left, right), _SEARCH_SIDE)
        dark, bright = _quantiles(small, 0.02, 0.99)
        head = small > dark + _HEAD_LEVEL * (bright - dark)
        first, last = _extent(head.mean(axis=1))
        top, bottom = top + first * (bottom - top), top + last * (bottom - top)
        first, last = _extent(head.mean(axis=0))
        left, right = left + first * (right - left), left + last * (right - left)
    return top, bottom, left, right


def cut_out(
    grey: "NDArray[np.uint8]", box: "tuple[float, float, float, float]", size: int
) -> "NDArray[np.uint8]":
    """Return what is in a box as a square picture, resized with antialiasing.

    Args:
        grey: Grey values, uint8, shape `[height, width]`.
        box: `(top, bottom, left, right)` in pixels, as `find_head` returns it.
        size: Side of the result in pixels.
    """
    top, bottom, left, right = box
    first_row, first_column = int(top), int(left)
    # Pillow's filter would reach beyond the box, into a white frame: so cut first.
    inner = grey[first_row : int(np.ceil(bottom)), first_column : int(np.ceil(right))]
    inside = (left - first_column, top - first_row, right - first_column, bottom - first_row)
    picture = Image.fromarray(np.ascontiguousarray(inner))
    # (Its other name, Image.Resampling.BILINEAR, is missing from the last Pillow for Python 3.6.)
    bilinear = Image.BILINEAR  # type: ignore[attr-defined]
    return np.asarray(picture.resize((size, size), bilinear, box=inside))


def _without_frames(grey: "NDArray[np.uint8]") -> "tuple[int, int, int, int]":
    """Return the box inside all flat frames; the whole slice when it is flat throughout."""
    top, left = 0, 0
    bottom, right = grey.shape
    # Frames may lie inside frames. First rows that are flat throughout, however wide the frame;
    # then the last few, in which JPEG has left traces of the picture.
    for share in (1.0, 0.95):
        before = None
        while before != (top, bottom, left, right):
            before = (top, bottom, left, right)
            top += _frame_width(grey[top:bottom, left:right], share)
            bottom -= _frame_width(grey[top:bottom, left:right][::-1], share)
            left += _frame_width(grey[top:bottom, left:right].T, share)
            right -= _frame_width(grey[top:bottom, left:right].T[::-1], share)
    if top == bottom or left == right:
        return 0, grey.shape[0], 0, grey.shape[1]
    return top, bottom, left, right


def _frame_width(grey: "NDArray[np.uint8]", share: float) -> int:
    """Return how many of the first rows have the first one's colour in this share of the row."""
    if grey.size == 0:
        return 0
    colour = int(np.median(grey[0]))
    tolerance = max(3, colour // 8)
    low, high = max(0, colour - tolerance), min(255, colour + tolerance)
    if ((grey[0] >= low) & (grey[0] <= high)).mean() < share:
        return 0
    inside = ((grey >= low) & (grey <= high)).mean(axis=1) < share
    if not inside.any():
        return len(grey)
    width = int(inside.argmax())
    # Resizing mixed a bright frame into the next rows: even their darkest pixel is not dark.
    darkest = grey[width:].min(axis=1).astype(np.float64)
    contrast = colour - darkest.min()
    if contrast <= 24:
        return width
    seam = darkest[: 1 + len(grey) // 100] > darkest.min() + 0.1 * contrast
    return width + (len(seam) if seam.all() else int(seam.argmin()))


def _extent(share: "NDArray[np.float64]") -> "tuple[float, float]":
    """Return where the head begins and ends, as fractions, given each row's share of it.

    The ends are interpolated between rows; everything is returned when too little is head.
    """
    level = _HEAD_SHARE * share.max()
    inside = np.concatenate(([False], share > level, [False]))
    runs = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
    runs = runs[runs[:, 1] - runs[:, 0] >= _THINNEST_HEAD]
    if not len(runs):
        return 0.0, 1.0
    begin = _crossing(share, int(runs[0, 0]), level)
    end = _crossing(share[::-1], len(share) - int(runs[-1, 1]), level)
    return begin / len(share), 1.0 - end / len(share)


def _crossing(share: "NDArray[np.float64]", row: int, level: float) -> float:
    """Return where the share crosses the level between the middles of the row before and `row`."""
    if row == 0:
        return 0.0
    below, above = float(share[row - 1]), float(share[row])
    return row - 0.5 + (level - below) / (above - below)


def _stretch_contrast(grey: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    low, high = _quantiles(grey, 0.005, 0.995)
    if high <= low:
        return grey.copy()
    levels = np.clip((np.arange(256) - low) * (255.0 / (high - low)), 0, 255)
    table: "NDArray[np.uint8]" = np.rint(levels).astype(np.uint8)
    return table[grey]


def _quantiles(grey: "NDArray[np.uint8]", low: float, high: float) -> "tuple[int, int]":
    """Return the grey values below which these fractions of the pixels lie (from the histogram)."""
    counts = np.cumsum(np.bincount(grey.ravel(), minlength=256))
    first, second = np.searchsorted(counts, (low * counts[-1], high * counts[-1]))
    return int(first), int(second)
