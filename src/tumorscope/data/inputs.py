"""Slices come in, the model's inputs as one array go out; files that cannot be read are listed."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tumorscope.data.catalogue import Skipped, Slice
from tumorscope.errors import DataError
from tumorscope.images import UnreadableImageError, prepare, read_slice
from tumorscope.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class Inputs:
    """The prepared pictures of some slices.

    Attributes:
        grey: Grey values 0 to 255, uint8, shape `[N, S, S]`.
        slices: The slices they show, length N.
        skipped: Slices whose file could not be read.
    """

    grey: NDArray[np.uint8]
    slices: tuple[Slice, ...]
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.slices)


def read_inputs(
    slices: Sequence[Slice], *, size: int, progress: Progress = silent, label: str = "reading"
) -> Inputs:
    """Read and prepare slices.

    Args:
        slices: What to read.
        size: Side of the model's input in pixels.
        progress: Shows how far the reading is.
        label: What the progress is called.

    Returns:
        The inputs of all slices that could be read, in order.

    Raises:
        DataError: None of the slices could be read.
    """

    def read(item: Slice) -> NDArray[np.uint8] | str:
        try:
            return prepare(read_slice(item.path), size)
        except UnreadableImageError as error:
            return str(error)

    grey = np.empty((len(slices), size, size), dtype=np.uint8)
    kept: list[Slice] = []
    skipped: list[Skipped] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = progress(pool.map(read, slices), total=len(slices), label=label)
        for item, answer in zip(slices, answers, strict=True):
            if isinstance(answer, str):
                skipped.append(Skipped(item.name, answer))
            else:
                grey[len(kept)] = answer
                kept.append(item)
    if slices and not kept:
        raise DataError(f"none of the {len(slices)} pictures can be read; {skipped[0].reason}")
    return Inputs(grey[: len(kept)], tuple(kept), tuple(skipped))
