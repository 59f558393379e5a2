"""Steps that the readers share: from grey values as stored to uint8 slices."""

import os
import re
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tumorscope.errors import DataError
from tumorscope.images.reading import (
    MAXIMUM_PIXELS,
    FileInMemory,
    UnreadableImageError,
    why_too_small,
)
from tumorscope.images.slice_header import SliceHeader

File: TypeAlias = "str | os.PathLike[str] | FileInMemory"
"""A file on a disk or in memory."""

AXES: Final = ("axial", "coronal", "sagittal")
"""The planes that a volume can be cut in."""

ENOUGH_HEAD: Final = 0.5
"""A volume's slice is classified unasked if it shows this share of the fullest slice's head."""

_HARDLY_ANY_HEAD: Final = 0.1
"""Below this share a slice that was asked for is not classified."""

_HEAD_LEVEL: Final = 0.12
"""A voxel belongs to the head above this fraction of the brightest tissue ."""

_INNER_RANGE: Final = (0.1, 99.9)
"""Per cent of the pixels between which 0 and 255 are laid when the others lie far outside."""

_OUTLYING: Final = 0.5
"""Outliers are left aside when the others take less than this share of the whole range."""

_MOST_OBLONG: Final = 20
"""Pixels that are longer than this in relation to their width are a mistake in the file."""

_BYTE: Final = 255
"""The largest grey value."""

_WHOLE: Final = 2.0**31
"""Whole numbers up to this are looked at as possible grey values in other units."""

_LARGEST: Final = 1e30
"""Larger numbers are cut to this."""


@dataclass(frozen=True)
class SliceChoice:
    """Which slices of a volume are wanted; files that hold one slice ignore it.

    Attributes:
        axis: One of `AXES`; None takes the plane in which the volume was acquired.
        numbers: Slice numbers from 0, as in Python; None takes the slices with enough head.
        volume: Which volume of a file or series that holds several, from 0; None takes a file's
            first, and all of a series.
    """

    axis: str | None = None
    numbers: slice | None = None
    volume: int | None = None

    @classmethod
    def parse(
        cls, axis: str | None, numbers: str | None, volume: int | None = None
    ) -> "SliceChoice":
        """Read a choice as people write it.

        Args:
            axis: One of `AXES`, or None.
            numbers: `all`, a number, or `first:end` or `first:end:step`, where the end is not
                taken; None for the slices with enough head.
            volume: A number from 0, or None.

        Raises:
            DataError: The axis or the numbers cannot be understood.
        """
        if axis is not None and axis not in AXES:
            raise DataError(f"unknown axis '{axis}': the axes are {', '.join(AXES)}")
        if numbers is None:
            return cls(axis, None, volume)
        if numbers == "all":
            return cls(axis, slice(None), volume)
        if re.fullmatch(r"\d{1,6}", numbers):
            return cls(axis, slice(int(numbers), int(numbers) + 1), volume)
        match = re.fullmatch(r"(\d{0,6}):(\d{0,6})(?::([1-9]\d{0,5}))?", numbers)
        if not match:
            raise DataError(
                f"unknown slices '{numbers}': write all, a number from 0, or first:end "
                "(10:20 means 10 to 19)"
            )
        parts = (int(part) if part else None for part in match.groups())
        return cls(axis, slice(*parts), volume)


@dataclass(frozen=True, eq=False)
class SliceImage:
    """One slice of a file.

    Attributes:
        path: The file.
        number: The slice or frame in a file that holds several, from 0; else None.
        grey: Grey values 0 to 255, uint8, `[height, width]`; None where there is nothing to see.
        unsupported: Why this slice cannot be classified; empty when it can.
        volume: A line about the volume that the slice is from; empty for single slices.
        note: What else the file holds and was not used; else empty.
        header: What the file says about where the slice belongs.
        affine: Where the slice lies: what turns (column, row, 0, 1), counted from the middle of
            the first pixel, into mm towards the patient's right, front and top; `[4, 4]`, its
            third column one slice further. None where the file does not say.
    """

    path: str
    number: int | None
    grey: NDArray[np.uint8] | None
    unsupported: str = ""
    volume: str = ""
    note: str = ""
    header: SliceHeader = field(default_factory=SliceHeader)
    affine: NDArray[np.float64] | None = None


def damaged(path: str, what: str, error: Exception) -> UnreadableImageError:
    """Return the error for a file on which a decoder failed."""
    words = " ".join(str(error).split()) or type(error).__name__
    return UnreadableImageError(f"{path}: damaged {what} ({words[:80]})")


def check_size(path: str, height: int, width: int) -> None:
    """Refuse a slice that is too small to classify or too large to open.

    Raises:
        UnreadableImageError: The size is not accepted.
    """
    if few := why_too_small(width, height):
        raise UnreadableImageError(f"{path}: {few}")
    if height * width > MAXIMUM_PIXELS:
        raise UnreadableImageError(
            f"{path}: more than {MAXIMUM_PIXELS // 1_000_000} million pixels a slice, refused"
        )


def to_grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Lay 0 to 255 over the range of the values, far outliers left aside.

    What is an 8-bit picture in other units comes back as that picture, from its darkest pixel on.

    Args:
        values: Any numbers, shape `[height, width]`; those that are not finite become 0.

    Returns:
        Grey values, uint8, same shape; all 0 where the values do not differ.
    """
    finite = np.isfinite(values)
    # No scanner measures such numbers; without the limit their differences could overflow.
    real = np.clip(np.where(finite, values, 0).astype(np.float64), -_LARGEST, _LARGEST)
    known = real[finite]
    if not known.size:
        return np.zeros(real.shape, dtype=np.uint8)
    low, high = known.min(), known.max()
    steps = _steps(known - low)
    if steps is not None:
        grey = np.zeros(real.shape, dtype=np.uint8)
        grey[finite] = steps
        return grey
    inner_low, inner_high = np.percentile(known, _INNER_RANGE)
    if 0 < inner_high - inner_low < _OUTLYING * (high - low):
        low, high = inner_low, inner_high
    if high <= low:
        return np.zeros(real.shape, dtype=np.uint8)
    levels = np.where(finite, np.clip((real - low) * (255.0 / (high - low)), 0, 255), 0)
    return np.rint(levels).astype(np.uint8)


def _steps(above: NDArray[np.float64]) -> NDArray[np.uint8] | None:
    """Return how many steps, all of one size, values lie above the lowest; None if too many."""
    largest = above.max()
    if largest > _WHOLE or (above != np.rint(above)).any():
        return None
    step = int(np.gcd.reduce(above.astype(np.int64)))
    if not step or not _BYTE // 2 < largest // step <= _BYTE:
        return None
    return np.asarray(above / step).astype(np.uint8)


def square_shape(
    shape: tuple[int, int], row_spacing: float, column_spacing: float
) -> tuple[int, int]:
    """Return height and width after `square_pixels`."""
    height, width = shape
    spacings = (row_spacing, column_spacing)
    if not all(np.isfinite(spacing) and spacing > 0 for spacing in spacings):
        return shape
    stretch = row_spacing / column_spacing
    if abs(stretch - 1) < 0.01 or not 1 / _MOST_OBLONG < stretch < _MOST_OBLONG:
        return shape
    return (round(height * stretch), width) if stretch > 1 else (height, round(width / stretch))


def square_pixels(
    grey: NDArray[np.uint8], row_spacing: float, column_spacing: float
) -> NDArray[np.uint8]:
    """Resample a slice whose pixels are oblong to square ones of the shorter side.

    Args:
        grey: The slice, `[height, width]`.
        row_spacing: Distance between rows, in any unit.
        column_spacing: Distance between columns, in the same unit.

    Returns:
        The slice in its true proportions; unchanged when a spacing makes no sense.
    """
    height, width = square_shape((grey.shape[0], grey.shape[1]), row_spacing, column_spacing)
    if grey.shape == (height, width):
        return grey
    picture = Image.fromarray(np.ascontiguousarray(grey))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def resampled(shape: tuple[int, ...], new_shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return what turns (column, row, 0, 1) of a resampled slice into those of the slice before.

    Args:
        shape: Height and width before.
        new_shape: Height and width after.

    Returns:
        A matrix, `[4, 4]`; pixels are counted from the middle of the first.
    """
    down, across = shape[0] / new_shape[0], shape[1] / new_shape[1]
    matrix = np.diag([across, down, 1.0, 1.0])
    matrix[:2, 3] = (across - 1) / 2, (down - 1) / 2
    return matrix


def head_shares(volume: NDArray[Any], axis: int) -> NDArray[np.float64]:
    """Return how much head each slice of a volume shows, the fullest being 1.

    Args:
        volume: Grey values, three-dimensional.
        axis: The axis along which the slices lie.

    Returns:
        Shares, length `volume.shape[axis]`; all 0 when nothing stands out.
    """
    coarse = np.moveaxis(volume, axis, 0)[:, ::2, ::2]
    coarse = np.where(np.isfinite(coarse), coarse, 0).astype(np.float32)
    dark, bright = np.percentile(coarse, (2, 99))
    if bright <= dark:
        return np.zeros(len(coarse))
    area = (coarse > dark + _HEAD_LEVEL * (bright - dark)).mean(axis=(1, 2))
    return np.asarray(area / max(area.max(), 1e-9), dtype=np.float64)


def choose(path: str, count: int, choice: SliceChoice, shares: NDArray[np.float64]) -> list[int]:
    """Return the numbers of the slices to be classified.

    Args:
        path: The file, for the message.
        count: How many slices there are.
        choice: What was asked for.
        shares: What `head_shares` says, length `count`.

    Raises:
        UnreadableImageError: The choice fits none of the slices.
    """
    if choice.numbers is None:
        return [number for number in range(count) if shares[number] >= ENOUGH_HEAD]
    chosen = list(range(count))[choice.numbers]
    if not chosen:
        raise UnreadableImageError(
            f"{path}: none of its {count} slices (0 to {count - 1}) is among those asked for"
        )
    return chosen


def why_headless(share: float) -> str:
    """Return why a volume's slice is not classified, by its share of the fullest slice's head."""
    return "hardly any head on this slice" if share < _HARDLY_ANY_HEAD else ""
