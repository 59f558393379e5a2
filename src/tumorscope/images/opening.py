"""Reads all slices of a file, whatever its format."""

import itertools
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Final

from tumorscope.images.dicom import DICOM_SUFFIXES, in_series_order, is_dicom, read_dicom
from tumorscope.images.listing import Listing, list_files
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

OTHER_SUFFIXES: Final = (*PICTURE_SUFFIXES, *NIFTI_SUFFIXES)
"""Endings of the files that are no DICOM files."""


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
        raise UnreadableImageError(f"{name}: {_why_no_files(name)}")
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


def _why_no_files(folder: str) -> str:
    """Return why a folder comes to be read like a file: it has none that may hold slices."""
    try:
        os.listdir(folder)  # noqa: PTH208  (a stream of many paths)
    except OSError as error:
        return f"cannot be listed ({error.strerror})"
    return "no image file in this folder"


def quieten_libraries() -> None:
    """Let the libraries that read files warn of nothing for the rest of the process.

    What they find odd in a file, the answer says in a line of its own.
    """
    for library in ("pydicom", "nibabel"):
        warnings.filterwarnings("ignore", module=library)
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    # Reading refuses pictures long before the size that Pillow warns about.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")


def find_files(folder: "str | os.PathLike[str]") -> Listing:
    """List the files of a folder and of the folders in it that may hold slices.

    Args:
        folder: Where to look.

    Returns:
        As `list_files` lists them, but of each folder the DICOM files last, series by series,
        along the body.
    """
    listing = list_files(folder)
    files: list[str] = []
    for _, paths in itertools.groupby(listing.files, key=os.path.dirname):
        inside = list(paths)
        dicom = [path for path in inside if not path.lower().endswith(OTHER_SUFFIXES)]
        dicom = [path for path in dicom if path.lower().endswith(DICOM_SUFFIXES) or is_dicom(path)]
        known = frozenset(dicom)
        files += (path for path in inside if path not in known)
        files += in_series_order(dicom) if len(dicom) > 1 else dicom
    return Listing(tuple(files), listing.ignored)
