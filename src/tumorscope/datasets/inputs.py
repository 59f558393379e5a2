"""Reads slices as a model's inputs, with their outlines; lists files that cannot be read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.classes import NO_TUMOUR
from tumorscope.datasets.catalogue import Skipped, Slice
from tumorscope.datasets.pictures import read_picture
from tumorscope.errors import DataError
from tumorscope.images import UnreadableImageError, cut_out, find_head, prepare, read_slice
from tumorscope.images.suitability import why_unsuitable
from tumorscope.parallel import map_ordered
from tumorscope.progress import Progress, silent

Preparation = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""Turns a grey slice `[height, width]` into an input of a side `[S, S]`."""


_MOST_LABELS: Final = 15
"""Masks without a larger value number what they mark: tools write 1, or a number a tissue."""


_SHAPES_DIFFER: Final = 0.03
"""A resized copy's proportions differ by less: they are rounded to whole pixels."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """The prepared pictures of some slices.

    Attributes:
        grey: Grey values 0 to 255, uint8, shape `[N, S, S]`.
        slices: The slices they show, length N.
        skipped: Files that could not be read: slices, which are left out, and outlines, whose
            slices are kept without one.
        unsuitable: Why there is nothing to classify on a slice, length N; empty where there is.
        outlines: Where asked for: the tumours, 0 to 255, uint8, shape `[N, S, S]`, all 0 for
            slices without one.
        outlined: Where asked for: whether a slice's row of `outlines` is known to be true, bool,
            shape `[N]`; those of tumours without an outline are not.
    """

    grey: NDArray[np.uint8]
    slices: tuple[Slice, ...]
    skipped: tuple[Skipped, ...]
    unsuitable: tuple[str, ...]
    outlines: NDArray[np.uint8] | None = None
    outlined: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.slices)


def read_inputs(
    slices: Sequence[Slice],
    *,
    size: int,
    prepared_by: Preparation = prepare,
    outlines: bool = False,
    progress: Progress = silent,
    label: str = "reading",
) -> Inputs:
    """Read and prepare slices.

    Args:
        slices: What to read.
        size: Side of the model's input in pixels.
        prepared_by: Turns a grey slice and the side into the input.
        outlines: Whether tumour outlines are read, too.
        progress: Shows how far the reading is.
        label: What the progress is called.

    Returns:
        The inputs of all slices that could be read, in order.

    Raises:
        DataError: None of the slices could be read.
    """
    grey = np.empty((len(slices), size, size), dtype=np.uint8)
    drawn = np.zeros((len(slices) if outlines else 0, size, size), dtype=np.uint8)

    def read(item: Slice) -> tuple[NDArray[np.uint8], str, NDArray[np.uint8] | str | None] | str:
        try:
            picture = read_picture(item)
        except UnreadableImageError as error:
            return str(error)
        outline: NDArray[np.uint8] | str | None
        try:
            outline = read_outline(item, picture, size) if outlines else None
        except UnreadableImageError as error:
            outline = str(error)
        return prepared_by(picture, size), why_unsuitable(picture), outline

    kept: list[Slice] = []
    skipped: list[Skipped] = []
    unsuitable: list[str] = []
    answers = progress(map_ordered(read, slices), total=len(slices), label=label)
    for item, answer in zip(slices, answers, strict=True):
        if isinstance(answer, str):
            skipped.append(Skipped(item.name, answer))
            continue
        grey[len(kept)], why, outline = answer
        unsuitable.append(why)
        if isinstance(outline, str):
            skipped.append(Skipped(f"outline of {item.name}", outline))
            item = replace(item, mask=None)  # noqa: PLW2901
        elif outline is not None:
            drawn[len(kept)] = outline
        kept.append(item)
    if slices and not kept:
        raise DataError(f"none of the {len(slices)} pictures can be read; {skipped[0].reason}")
    inputs = Inputs(grey[: len(kept)], tuple(kept), tuple(skipped), tuple(unsuitable))
    if not outlines:
        return inputs
    known = np.array([bool(item.mask) or item.label == NO_TUMOUR for item in kept], dtype=np.bool_)
    return replace(inputs, outlines=drawn[: len(kept)], outlined=known)


def read_outline(item: Slice, picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8] | None:
    """Read a slice's outline and cut it out as `prepare` cuts out the picture.

    Args:
        item: The slice.
        picture: Its picture, as read.
        size: Side of the model's input in pixels.

    Returns:
        The tumour, 0 to 255, uint8, shape `[size, size]`; None where there is no outline.

    Raises:
        UnreadableImageError: The outline's file cannot be read, is of another shape than the
            picture, or marks nothing where there is a tumour.
    """
    if item.mask is None:
        return None
    mask = read_slice(item.mask)
    if mask.max() <= _MOST_LABELS:  # (Labels by number, not levels.)
        mask = np.where(mask > 0, np.uint8(255), np.uint8(0))
    if not mask.any() and item.label != NO_TUMOUR:
        raise UnreadableImageError(f"{item.mask}: marks nothing, though the slice has a tumour")
    if item.mirrored:
        mask = mask[:, ::-1]
    # The picture may be a resized copy of the one that was outlined, but no part of it.
    (height, width), (down, across) = picture.shape, mask.shape
    if abs(height * across - width * down) > _SHAPES_DIFFER * height * across:
        raise UnreadableImageError(
            f"{item.mask}: {across}x{down} pixels, and its picture {width}x{height}: of another "
            "shape, so it does not lie on it"
        )
    down, across = (there / here for there, here in zip(mask.shape, picture.shape, strict=True))
    top, bottom, left, right = find_head(picture)
    return cut_out(mask, (top * down, bottom * down, left * across, right * across), size)
