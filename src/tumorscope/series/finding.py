"""Lists the files of a folder, DICOM files series by series along the body."""

import itertools
import os
from collections.abc import Sequence
from typing import Final

from tumorscope.images.dicom import DICOM_SUFFIXES, is_dicom, read_file_header
from tumorscope.images.listing import Listing, list_files
from tumorscope.images.reading import PICTURE_SUFFIXES
from tumorscope.images.volume_files import VOLUME_SUFFIXES
from tumorscope.series.grouping import group_series

_OTHER_SUFFIXES: Final = (*PICTURE_SUFFIXES, *VOLUME_SUFFIXES)
"""Endings of the files that are no DICOM files."""


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
        dicom = [path for path in inside if not path.lower().endswith(_OTHER_SUFFIXES)]
        dicom = [path for path in dicom if path.lower().endswith(DICOM_SUFFIXES) or is_dicom(path)]
        known = frozenset(dicom)
        files += (path for path in inside if path not in known)
        files += _along_the_body(dicom) if len(dicom) > 1 else dicom
    return Listing(tuple(files), listing.ignored)


def _along_the_body(paths: Sequence[str]) -> list[str]:
    """Sort DICOM files by series and place; those that cannot be read come first."""
    headers = {path: read_file_header(path) for path in paths}
    unread = [path for path in paths if headers[path] is None]
    read = [header for header in headers.values() if header is not None]
    order = [number for series in group_series(read) for number in series.slices]
    return [*unread, *(read[number].file for number in order)]
