"""Reads the picture of a catalogue's slice, from its own file or out of a volume."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tumorscope.datasets.catalogue import Slice
from tumorscope.images import UnreadableImageError, read_slice
from tumorscope.images.nifti import read_nifti
from tumorscope.images.slices import SliceChoice


def read_picture(item: Slice) -> NDArray[np.uint8]:
    """Return grey values 0 to 255, uint8, shape `[height, width]`.

    Raises:
        UnreadableImageError: The file is missing or damaged, or the volume has no such slice.
    """
    if item.number is None:
        return read_slice(item.path)
    slices = volume_slices(item.path, item.plane)
    if item.number not in slices:
        raise UnreadableImageError(f"{item.path}: no {item.plane} slice {item.number} with a head")
    return slices[item.number]


@lru_cache(maxsize=6)
def volume_slices(path: Path, plane: str) -> dict[int, NDArray[np.uint8]]:
    """Return all slices of a volume in one plane that show some head, by number.

    The last few volumes are remembered: their slices are asked for one after the other.

    Args:
        path: A NIfTI file.
        plane: `axial`, `coronal` or `sagittal`.

    Raises:
        UnreadableImageError: The file is missing or damaged.
    """
    found = read_nifti(path, SliceChoice(plane, slice(None)))
    return {
        item.number: item.grey
        for item in found
        if item.grey is not None and item.number is not None and not item.unsupported
    }
