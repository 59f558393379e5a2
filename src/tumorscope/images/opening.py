"""A path comes in, all slices that stand there go out, whatever the format of the file is."""

import logging
import os
import re
import warnings
from collections.abc import Iterator
from typing import Final

from tumorscope.images.dicom import DICOM_SUFFIXES, in_series_order, is_dicom, read_dicom
from tumorscope.images.nifti import NIFTI_SUFFIXES, read_nifti
from tumorscope.images.reading import (
    PICTURE_SUFFIXES,
    FileInMemory,
    UnreadableImageError,
    name_of,
    read_slice,
)
from tumorscope.images.slices import File, SliceChoice, SliceImage
from tumorscope.images.suitability import why_unsuitable

IMAGE_SUFFIXES: Final = (*PICTURE_SUFFIXES, *DICOM_SUFFIXES, *NIFTI_SUFFIXES)
"""Endings of the files that are looked for in folders, beside DICOM files of any name."""

_DICOM_INDEX: Final = "DICOMDIR"


def open_slices(path: File, choice: SliceChoice | None = None) -> Iterator[SliceImage]:
    """Read a JPEG, PNG, DICOM or NIfTI file slice by slice.

    DICOM is known by its content or the ending of its name, NIfTI by the ending; anything else is
    read as a picture.

    Args:
        path: The file, on a disk or in memory.
        choice: Which slices of a volume; by default those with enough head.

    Yields:
        The slices in the order of the file.

    Raises:
        UnreadableImageError: The file is missing, damaged or of another kind.
    """
    name = name_of(path)
    ending = name.lower()
    if not isinstance(path, FileInMemory) and os.path.isdir(name):  # noqa: PTH112  (a stream of many paths)
        raise UnreadableImageError(f"{name}: no JPEG, PNG, DICOM or NIfTI file in this folder")
    if ending.endswith(NIFTI_SUFFIXES):
        yield from read_nifti(path, choice or SliceChoice())
    elif ending.endswith(DICOM_SUFFIXES) or is_dicom(path):
        yield from read_dicom(path, choice or SliceChoice())
    else:
        try:
            grey = read_slice(path)
        except UnreadableImageError as error:
            if str(error).endswith("not a JPEG or PNG picture"):
                message = f"{name}: not a JPEG, PNG, DICOM or NIfTI file"
                raise UnreadableImageError(message) from None
            raise
        yield SliceImage(name, None, grey, unsupported=why_unsuitable(grey))


def quieten_libraries() -> None:
    """Let the libraries that read files warn of nothing for the rest of the process.

    What they find odd in a file, the answer says in a line of its own.
    """
    for library in ("pydicom", "nibabel"):
        warnings.filterwarnings("ignore", module=library)
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    # Reading refuses pictures long before the size that Pillow warns about.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")


def find_files(folder: "str | os.PathLike[str]") -> list[str]:
    """Return the files of a folder and of the folders in it that may hold slices.

    Args:
        folder: Where to look; hidden files and folders are passed over.

    Returns:
        Folder by folder: pictures and volumes in the order that people count in (2 before 10),
        then DICOM files series by series, along the body. Empty when there are none.
    """
    found: list[str] = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted((name for name in folders if name[0] != "."), key=_counting)
        paths = [
            os.path.join(where, name)  # noqa: PTH118  (as os.walk gives it)
            for name in sorted(names, key=_counting)
            if name[0] != "." and name.upper() != _DICOM_INDEX
        ]
        other = [path for path in paths if path.lower().endswith(PICTURE_SUFFIXES + NIFTI_SUFFIXES)]
        dicom = [
            path
            for path in paths
            if path not in other and (path.lower().endswith(DICOM_SUFFIXES) or is_dicom(path))
        ]
        found += other
        found += in_series_order(dicom) if len(dicom) > 1 else dicom
    return found


def _counting(name: str) -> list[tuple[int, str]]:
    """Return what names are sorted by: numbers in them count as numbers."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part.lower())
        for part in re.findall(r"[0-9]{1,18}|[^0-9]+", name)
    ]
