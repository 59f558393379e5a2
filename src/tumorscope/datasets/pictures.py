"""Reads the picture of a catalogue's slice, from its own file or out of a volume."""

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.datasets.catalogue import Skipped, Slice
from tumorscope.datasets.masks import is_mask
from tumorscope.images import UnreadableImageError, read_slice
from tumorscope.images.dicom import is_dicom
from tumorscope.images.nifti import read_nifti
from tumorscope.images.slices import AXES, SliceChoice

DICOM_FILE: Final = "a DICOM file: save its slices as pictures first (docs/data.md)"
"""Why a file that `predict` reads is not read here: its header has patients, too, and a series."""

VOLUME_ENDINGS: Final = (".nii", ".nii.gz", ".mgh", ".mgz", ".nrrd", ".mha")
"""Endings of volumes that stand in one file."""

_CUT: Final = re.compile(rf"(?P<plane>{'|'.join(AXES)})_(?P<number>\d+)$")
"""The end of the name of a volume's slice."""


def read_picture(item: Slice) -> NDArray[np.uint8]:
    """Return grey values 0 to 255, uint8, shape `[height, width]`.

    Raises:
        UnreadableImageError: The file is missing or damaged, the volume has no such slice, or the
            picture is a mask: it has two grey values.
    """
    if item.number is None:
        try:
            grey = read_slice(item.path)
        except UnreadableImageError:
            if is_dicom(item.path):
                raise UnreadableImageError(f"{item.path}: {DICOM_FILE}") from None
            raise
        if is_mask(grey, item.path):
            raise UnreadableImageError(f"{item.path}: two grey values only: a mask, not a slice")
        return grey
    return _volume_slice(item.path, item.plane, item.number)


def read_named(path: Path, name: str) -> NDArray[np.uint8]:
    """Return the picture in a file, or of a volume the slice that is called so.

    Args:
        path: The file.
        name: The slice's name, as `cut_volume` gives it.

    Raises:
        UnreadableImageError: The file is missing or damaged, or has no such slice.
    """
    cut = _CUT.search(name) if path.name.lower().endswith(VOLUME_ENDINGS) else None
    return _volume_slice(path, cut["plane"], int(cut["number"])) if cut else read_slice(path)


def _volume_slice(path: Path, plane: str, number: int) -> NDArray[np.uint8]:
    slices = volume_slices(path, plane)
    if number not in slices:
        raise UnreadableImageError(f"{path}: no {plane} slice {number} with a head")
    return slices[number]


def volume_slices(path: Path, plane: str) -> dict[int, NDArray[np.uint8]]:
    """Return all slices of a volume in one plane that show some head, by number.

    The last few volumes are remembered until their files change: their slices are asked for one
    after the other.

    Args:
        path: A NIfTI file.
        plane: `axial`, `coronal` or `sagittal`.

    Raises:
        UnreadableImageError: The file is missing or damaged.
    """
    try:
        state = path.stat()
    except OSError:  # (Reading says why.)
        return _cut(path, plane, (0, 0))
    return _cut(path, plane, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=6)
def _cut(path: Path, plane: str, _state: tuple[int, int]) -> dict[int, NDArray[np.uint8]]:
    found = read_nifti(path, SliceChoice(plane, slice(None)))
    return {
        item.number: item.grey
        for item in found
        if item.grey is not None and item.number is not None and not item.unsupported
    }


def cut_volume(volume: Slice) -> tuple[list[Slice], list[Skipped]]:
    """Return the slices of a healthy head in three planes, from the neck to the vertex.

    Args:
        volume: What is known of the volume; `/plane_number` is added to its name.

    Returns:
        The slices, or why there are none.
    """
    try:
        # (One file is one head, whoever else is known.)
        head = replace(volume, group=volume.group or volume.name)
        slices = [
            replace(head, name=f"{volume.name}/{plane}_{number:03d}", plane=plane, number=number)
            for plane in AXES
            for number in volume_slices(volume.path, plane)
        ]
    except UnreadableImageError as error:
        return [], [Skipped(volume.name, str(error).removeprefix(f"{volume.path}: "))]
    return slices, [] if slices else [Skipped(volume.name, "no slice of it shows a head")]
