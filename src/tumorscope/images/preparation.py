"""Turns a grey slice into the model's input: the only preparation there is (NumPy and Pillow).

Training, evaluation and prediction call `prepare`. Each step is one that a graph of plain ONNX
operators takes as well, in float32: sums over blocks, counts, comparisons, first and last places,
and a crop-and-resize that is a product with two matrices. Two rules keep the two the same, to the
bit up to the resize: only whole numbers are counted and compared, and the shares are fractions of
a power of two, so that no rounding decides where the head is.
"""

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Raised whenever the same picture would give another input; stored in every model file.
PREPARATION_VERSION = 2
# The head is looked for in a reduced copy with at most so many cells a side.
GRID = 128
# Frames in one another; a frame's row stays within one in so many parts of the picture's range.
FRAMES, FRAME_STEPS = 3, 32
# Cells closer than that part of the range are alike; in a flat row no larger share differs.
FLAT_STEPS, FLAT_SHARE = 100, 1 / 32
# Parts of the picture with less content than this share of the richest part are not the scan.
SCAN_SHARE = 3 / 8
ROOT_STEPS = 16  # Square roots of grey values are rounded to one in so many parts.
# A bar's blurred edge is at most so many cells wide, bright over more than this share.
RIM, RIM_SHARE = 3, 7 / 8
# The head's level between the mean dark and the mean bright root, and how often it is laid.
LEVEL_SHARE, LEVEL_ROUNDS = 3 / 8, 3
# A row belongs to the head when it holds more than this share of what the fullest row holds; the
# second is for the middle of a row, by which the head's top and bottom are placed.
HEAD_SHARE, EDGE_SHARE = 1 / 16, 3 / 16
# This share of a row lies on either side of its middle: so much of a scan is written on.
SIDE_PARTS = 1 / 4
# Gaps of so many cells do not part a head; what a wider one parts off must hold this share.
GAP, ISLAND_SHARE = 12, 3 / 16
# The parts of a cell that its ends are rounded to; added before: simple fractions are frequent.
CELL_PARTS, UNEVEN = 64, 0.29
# By so much of a pixel the crop is narrower than the head's box, at each end.
NUDGE = 1 / 128
# One in so many of the head's cells may become black, and as many white.
CONTRAST_PARTS = 200
# Pillow's triangle filter: as wide as two pixels of the picture that has the larger ones.
# (Its other name, Image.Resampling.BILINEAR, is missing from the last Pillow for Python 3.6.)
BILINEAR = Image.BILINEAR  # type: ignore[attr-defined]

_ROOTS = np.floor(ROOT_STEPS * np.sqrt(np.arange(256)) + 0.5)
_SORTED_ROOTS = _ROOTS.tolist()
_ONES = np.ones(GRID, np.float32)


class Cells(NamedTuple):
    """A reduced copy of a slice.

    Attributes:
        grey: Mean grey value of each block of pixels, uint8, `[rows, columns]`.
        inside: The rows and columns of pixels inside all frames (first, end, first, end).
        first: Row and column of the first block's first pixel.
        step: Height and width of a block in pixels.
    """

    grey: "NDArray[np.uint8]"
    inside: "tuple[int, int, int, int]"
    first: "tuple[int, int]"
    step: "tuple[int, int]"


def prepare(grey: "NDArray[np.uint8]", size: int) -> "NDArray[np.uint8]":
    """Turn a grey slice into the model's input.

    The slice is cropped to the head, its contrast is stretched so that the darkest and the
    brightest half per cent of what the crop shows meet 0 and 255, and it is resized to a square
    with antialiasing: so a squashed or padded copy gives nearly the same input.

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
    cells = _reduce(grey)
    head = _find_head(cells.grey)
    picture, inside = _cut(grey, _in_pixels(head, cells))
    stretched = picture.point(_contrast_table(cells.grey, head))
    return _resize(stretched, inside, size)


def find_head(grey: "NDArray[np.uint8]") -> "tuple[float, float, float, float]":
    """Find the box round the head.

    Args:
        grey: Grey values 0 to 255, uint8, shape `[height, width]`.

    Returns:
        `(top, bottom, left, right)` in pixels of the slice; the whole slice when nothing stands
        out from the background.
    """
    cells = _reduce(grey)
    return _in_pixels(_find_head(cells.grey), cells)


def cut_out(
    grey: "NDArray[np.uint8]", box: "tuple[float, float, float, float]", size: int
) -> "NDArray[np.uint8]":
    """Return what is in a box as a square picture, resized with antialiasing.

    Args:
        grey: Grey values, uint8, shape `[height, width]`.
        box: `(top, bottom, left, right)` in pixels, as `find_head` returns it.
        size: Side of the result in pixels.
    """
    picture, inside = _cut(grey, box)
    return _resize(picture, inside, size)


def _cut(
    grey: "NDArray[np.uint8]", box: "tuple[float, float, float, float]"
) -> "tuple[Image.Image, tuple[float, float, float, float]]":
    """Return the pixels that a box touches, and where the box lies in them, as Pillow says it."""
    top, bottom, left, right = box
    first_row, first_column = int(top), int(left)
    # Pillow's filter would reach beyond the box, into a white frame: so cut first.
    inner = grey[first_row : int(np.ceil(bottom)), first_column : int(np.ceil(right))]
    inside = (left - first_column, top - first_row, right - first_column, bottom - first_row)
    return Image.fromarray(np.ascontiguousarray(inner)), inside


def _resize(
    picture: Image.Image, inside: "tuple[float, float, float, float]", size: int
) -> "NDArray[np.uint8]":
    """Resize a part of a picture to a square: first its width, rounded, then its height.

    In one call Pillow would choose the order by the cost, and differently in each version. The
    ends move in by `NUDGE`: between whole pixels many sums would lie halfway between two grey
    values, where each program rounds as it likes.
    """
    left, top, right, bottom = inside
    height = picture.size[1]
    across, down = (left + NUDGE, right - NUDGE), (top + NUDGE, bottom - NUDGE)
    narrow = picture.resize((size, height), BILINEAR, box=(across[0], 0, across[1], height))
    return np.asarray(narrow.resize((size, size), BILINEAR, box=(0, down[0], size, down[1])))


def _reduce(grey: "NDArray[np.uint8]") -> Cells:
    """Average blocks of whole pixels inside the frames.

    What the blocks leave over is left out, as much at either end.
    """
    inside = _without_frames(grey)
    top, bottom, left, right = inside
    down, across = -(-(bottom - top) // GRID), -(-(right - left) // GRID)
    rows, columns = (bottom - top) // down, (right - left) // across
    top += (bottom - top - rows * down) // 2
    left += (right - left - columns * across) // 2
    inner = grey[top : top + rows * down, left : left + columns * across]
    pixels = down * across
    sums = inner[::down].astype(np.uint32)
    for row in range(1, down):
        sums += inner[row::down]
    blocks = sums[:, ::across] + np.uint32(pixels // 2)
    for column in range(1, across):
        blocks += sums[:, column::across]
    means = (blocks // np.uint32(pixels)).astype(np.uint8)
    return Cells(means, inside, (top, left), (down, across))


def _without_frames(grey: "NDArray[np.uint8]") -> "tuple[int, int, int, int]":
    """Return the rows and columns (first, end, first, end) inside rows and columns of one colour.

    So the blocks lie the same in a padded copy, and a pixel's width of padding changes nothing.
    """
    (top, left), (bottom, right) = (0, 0), grey.shape
    tolerance = (int(grey.max()) - int(grey.min())) // FRAME_STEPS
    for _ in range(FRAMES):
        inner = grey[top:bottom, left:right]
        edges = (inner[0], inner[-1], inner[:, 0], inner[:, -1])
        if all(edge.max() - edge.min() > tolerance for edge in edges):
            break
        rows = (inner.max(axis=1) - inner.min(axis=1) > tolerance).nonzero()[0]
        columns = (inner.max(axis=0) - inner.min(axis=0) > tolerance).nonzero()[0]
        if not len(rows) or not len(columns):
            break
        top, bottom = top + int(rows[0]), top + int(rows[-1]) + 1
        left, right = left + int(columns[0]), left + int(columns[-1]) + 1
    return top, bottom, left, right


def _in_pixels(
    head: "tuple[float, float, float, float]", cells: Cells
) -> "tuple[float, float, float, float]":
    """Turn a box in cells into pixels; where it takes the outermost cells, it takes the rest."""
    top, bottom, left, right = head
    rows, columns = cells.grey.shape
    (first_row, first_column), (down, across) = cells.first, cells.step
    inside_top, inside_bottom, inside_left, inside_right = cells.inside
    return (
        first_row + top * down if top > 0 else float(inside_top),
        first_row + bottom * down if bottom < rows else float(inside_bottom),
        first_column + left * across if left > 0 else float(inside_left),
        first_column + right * across if right < columns else float(inside_right),
    )


def _find_head(grey: "NDArray[np.uint8]") -> "tuple[float, float, float, float]":
    """Find the head's `(top, bottom, left, right)` in the reduced copy, in cells.

    First the scan is found in what surrounds it (frames, bars, a window, a caption), then the
    head in the scan: what is brighter than the background. Its top and bottom are placed by the
    middle of its columns, its sides by the middle of its rows: text stands in the corners.
    """
    first, end, left, right = _find_scan(grey)
    bright = (grey >= _head_level(grey[first:end, left:right])).astype(np.float32)
    counts = _sums(bright[:, left:right])
    inside = _beside_frames(counts, (first, end), right - left)
    inside &= counts > HEAD_SHARE * counts[first:end].max()
    above, below = _main_run(inside, counts, SCAN_SHARE)
    bright = bright[above:below]
    bright = bright * _beside_frames(_sums(bright.T), (left, right), below - above)
    top, bottom = _head_ends(bright, _head_ends(bright.T, (0, below - above)))
    return (above + top, above + bottom, *_head_ends(bright.T, (top, bottom)))


def _beside_frames(
    counts: "NDArray[np.float32]", scan: "tuple[int, int]", length: int
) -> "NDArray[np.bool_]":
    """Return which rows may show the head, given how many of their cells are bright.

    Outside of the scan these are rows that are less than half bright: the tip of a smooth head
    looks flat, but a bar is bright throughout. A few bright rows at the scan's rim are a bar's
    blurred edge.
    """
    first, end = scan
    throughout = counts[first:end] >= RIM_SHARE * length
    before, after = int(throughout.argmin()), int(throughout[::-1].argmin())
    inside = counts < length / 2
    inside[first : first + before] = before > RIM
    inside[end - after : end] = after > RIM
    inside[first + before : end - after] = True
    return inside


def _find_scan(grey: "NDArray[np.uint8]") -> "tuple[int, int, int, int]":
    """Return the rows and columns (first, end, first, end) of the richest part of the picture.

    A row outside of the scan is flat (the seam of a frame), or like a neighbour, cell by cell:
    whatever bars and panels it crosses, they do not change from row to row, not even where they
    shade from black to white. Columns likewise, within the rows that were found.
    """
    tolerance = max(1, (int(grey.max()) - int(grey.min())) // FLAT_STEPS)
    down = _differs(grey[1:], grey[:-1], tolerance)
    across = _differs(grey[:, 1:], grey[:, :-1], tolerance)
    left, right = 0, grey.shape[1]
    for _ in range(2):
        first, end = _scan_rows(down[:, left:right], across[:, left : right - 1])
        left, right = _scan_rows(across[first:end].T, down[first : end - 1].T)
    return first, end, left, right


def _differs(
    grey: "NDArray[np.uint8]", other: "NDArray[np.uint8]", tolerance: int
) -> "NDArray[np.float32]":
    """Return 1 where two pictures differ by more than the tolerance, else 0."""
    difference = np.maximum(grey, other) - np.minimum(grey, other)
    return (difference > tolerance).astype(np.float32)


def _sums(rows: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Sum up each row."""
    return rows @ _ONES[: rows.shape[1]]


def _scan_rows(down: "NDArray[np.float32]", across: "NDArray[np.float32]") -> "tuple[int, int]":
    """Return which rows (first, end) hold the scan.

    Args:
        down: Which cells differ from those of the next row, `[rows - 1, columns]`.
        across: Which cells differ from the next one in their row, `[rows, columns - 1]`.
    """
    changes = _sums(across)
    differs = _sums(down) > 0
    inside = changes > FLAT_SHARE * down.shape[1]
    inside[1:] &= differs
    inside[:-1] &= differs
    return _main_run(inside, changes, SCAN_SHARE)


def _main_run(
    inside: "NDArray[np.bool_]", weights: "NDArray[np.float32]", share: float, gap: int = 0
) -> "tuple[int, int]":
    """Return where (first, end) the heaviest run of rows lies, with all nearly as heavy ones.

    Args:
        inside: Which rows may be in a run.
        weights: Each row's weight.
        share: A run with this share of the heaviest one's weight is kept, too.
        gap: So many rows that are not inside do not part a run.

    Returns:
        The first row and the row after the last one; all rows where none is inside.
    """
    rows = inside.nonzero()[0]
    if not len(rows):
        return 0, len(inside)
    if rows[-1] - rows[0] < len(rows) + gap:
        return int(rows[0]), int(rows[-1]) + 1
    starts = np.flatnonzero(rows[1:] - rows[:-1] > gap + 1) + 1
    if not len(starts):
        return int(rows[0]), int(rows[-1]) + 1
    starts = np.concatenate(([0], starts))
    mass = np.add.reduceat(weights[rows], starts)
    kept = np.flatnonzero(mass >= share * mass.max())
    stops = np.concatenate((starts[1:], [len(rows)]))
    return int(rows[starts[kept[0]]]), int(rows[stops[kept[-1]] - 1]) + 1


def _head_level(scan: "NDArray[np.uint8]") -> int:
    """Return the darkest grey value that belongs to the head.

    The cells are parted at a level, and the level is laid between the means of the two parts
    (Ridler & Calvard 1978, https://doi.org/10.1109/TSMC.1978.4310039), three times, of the square
    roots above the darkest cell: so that neither a bright scalp nor a gamma curve draws it up.
    """
    darkest = int(scan.min())
    counts = _histogram(scan)[darkest:]
    number = [0, *np.cumsum(counts).tolist()]
    total = [0.0, *np.cumsum(counts * _ROOTS[: 256 - darkest]).tolist()]
    level = total[-1] / number[-1]
    for _ in range(LEVEL_ROUNDS):
        first = min(bisect_right(_SORTED_ROOTS, level), 256 - darkest)
        dark = total[first] / max(number[first], 1)
        bright = (total[-1] - total[first]) / max(number[-1] - number[first], 1)
        level = dark + LEVEL_SHARE * (bright - dark)
    return darkest + bisect_right(_SORTED_ROOTS, level)


def _histogram(grey: "NDArray[np.uint8]") -> "NDArray[np.int64]":
    """Return how often each of the 256 grey values is there (Pillow counts fastest)."""
    return np.array(Image.fromarray(np.ascontiguousarray(grey)).histogram(), dtype=np.int64)


def _head_ends(bright: "NDArray[np.float32]", span: "tuple[float, float]") -> "tuple[float, float]":
    """Return between which rows the head lies, by the middle of the columns that it spans.

    Args:
        bright: 1 where the head may be, else 0.
        span: The head's first column and the column after its last one.

    Returns:
        First row and row after the last one, interpolated between rows.
    """
    first, end = (int(place + 0.5) for place in span)
    aside = int(SIDE_PARTS * (end - first))
    counts = _sums(bright[:, first + aside : end - aside])
    level = EDGE_SHARE * float(counts.max())
    low, high = _main_run(counts > level, counts, ISLAND_SHARE, GAP)
    return (
        _crossing(counts, low, level),
        len(counts) - _crossing(counts[::-1], len(counts) - high, level),
    )


def _crossing(counts: "NDArray[np.float32]", row: int, level: float) -> float:
    """Return where the counts cross the level between the middles of the row before and `row`."""
    if row == 0:
        return 0.0
    before, after = float(counts[row - 1]), float(counts[row])
    part = int(CELL_PARTS * (level - before) / (after - before) + UNEVEN)
    return row - 0.5 + (part + 0.5) / CELL_PARTS


def _contrast_table(
    grey: "NDArray[np.uint8]", head: "tuple[float, float, float, float]"
) -> "list[int]":
    """Return the new value of each grey value, by the reduced copy's cells in a box."""
    top, bottom, left, right = (int(place + 0.5) for place in head)
    counts = np.cumsum(_histogram(grey[top:bottom, left:right])) * CONTRAST_PARTS
    cells = counts[-1] // CONTRAST_PARTS
    low, high = np.searchsorted(counts, (cells, (CONTRAST_PARTS - 1) * cells))
    if high <= low:
        return list(range(256))
    span = int(high - low)
    stretched = (510 * np.arange(span) + span) // (2 * span)
    return [0] * int(low) + stretched.tolist() + [255] * (256 - int(high))
