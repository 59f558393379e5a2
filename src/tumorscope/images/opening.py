"""Reads all slices of a file, whatever its format."""

import logging
import os
import stat
import warnings
from collections.abc import Iterator
from typing import Final

from tumorscope.images.dicom import (
    DICOM_SUFFIXES,
    read_dicom,
    read_file_header,
    starts_like_dicom,
)
from tumorscope.images.nifti import read_nifti
from tumorscope.images.reading import (
    PICTURE_SUFFIXES,
    FileInMemory,
    UnreadableImageError,
    name_of,
    read_pages,
    starts_like_picture,
    upload_of,
    why_too_small,
)
from tumorscope.images.slice_header import SliceHeader, digest_of
from tumorscope.images.slices import File, SliceChoice, SliceImage
from tumorscope.images.suitability import why_unsuitable
from tumorscope.images.volume_files import VOLUME_SUFFIXES, starts_like_volume
from tumorscope.images.zip_archives import ZIP_START, ZIP_SUFFIX, why_unusable

NOT_AN_IMAGE: Final = "not an image file of a kind that is read (docs/inputs.md)"
"""Why a file of another kind is refused."""

_SNIFFED: Final = 1024
"""Bytes at the beginning of a file that tell what it is."""


def open_slices(path: File, choice: SliceChoice | None = None) -> Iterator[SliceImage]:
    """Read an image file slice by slice.

    What a file is, its content says; only where that says nothing the ending of its name does.

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
    start = _start(path)
    if starts_like_picture(start):
        yield from _read_pictures(path)
    elif starts_like_dicom(start):
        yield from read_dicom(path, choice or SliceChoice())
    elif starts_like_volume(start):
        yield from read_nifti(path, choice or SliceChoice())
    elif start.startswith(ZIP_START) or ending.endswith(ZIP_SUFFIX):
        raise UnreadableImageError(f"{name}: {why_unusable(path)}")
    elif ending.endswith(DICOM_SUFFIXES):
        yield from read_dicom(path, choice or SliceChoice())
    elif not start:
        raise UnreadableImageError(f"{name}: an empty file")
    elif ending.endswith(VOLUME_SUFFIXES):
        yield from read_nifti(path, choice or SliceChoice())
    elif ending.endswith(PICTURE_SUFFIXES):
        yield from _read_pictures(path)
    else:
        raise UnreadableImageError(f"{name}: {NOT_AN_IMAGE}")


def header_of_unreadable(path: File) -> SliceHeader | None:
    """Return what can be told of where the slices of an unreadable file belong.

    Returns:
        A DICOM file's own header where that can be read, else its folder alone; None for a volume,
        which is of no series of files, and for a file of another kind.
    """
    ending = name_of(path).lower()
    try:
        start = _start(path)
    except UnreadableImageError:
        start = b""
    if starts_like_dicom(start) or ending.endswith(DICOM_SUFFIXES):
        header = read_file_header(path)
    elif starts_like_picture(start) or ending.endswith(PICTURE_SUFFIXES):
        header = None
    else:
        return None
    return header or SliceHeader(file=name_of(path), upload=upload_of(path))


def _start(path: File) -> bytes:
    """Return the first bytes of a file.

    Raises:
        UnreadableImageError: It cannot be read.
    """
    if isinstance(path, FileInMemory):
        for part in (path, *path.beside):
            if part.damage:
                raise UnreadableImageError(f"{path.name}: {part.damage}")
        return path.content[:_SNIFFED]
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  (as fast as can be)
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:  # noqa: PTH123
                return file.read(_SNIFFED)
        if stat.S_ISDIR(mode):
            reason = _why_no_files(name_of(path))
        else:
            reason = "not a file but a pipe or a device: save what it gives as a file first"
    except FileNotFoundError:
        reason = "no such file"
    except (OSError, ValueError) as error:
        reason = f"cannot be read ({getattr(error, 'strerror', None) or error})"
    raise UnreadableImageError(f"{name_of(path)}: {reason}")


def _read_pictures(path: File) -> Iterator[SliceImage]:
    """Yield the picture in a file, or its pages."""
    name = name_of(path)
    pages = list(read_pages(path))
    for number, grey in enumerate(pages):
        shown = number if len(pages) > 1 else None
        header = SliceHeader(file=name, upload=upload_of(path), frame=shown, digest=digest_of(grey))
        # (Such a page is most often a thumbnail of another.)
        reason = why_too_small(grey.shape[1], grey.shape[0]) or why_unsuitable(grey)
        yield SliceImage(name, shown, grey, unsupported=reason, header=header)


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
    for library in ("pydicom", "nibabel", "PIL"):
        warnings.filterwarnings("ignore", module=library)
    for logger in ("nibabel.global", "PIL"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    # Reading refuses pictures long before the size that Pillow warns about.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
