"""Takes the files out of ZIP archives, one after the other, in memory.

Nothing is written, so no name can lead outside; what an archive unpacks to is bounded.
"""

import itertools
import os
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from tumorscope.errors import DataError
from tumorscope.images.listing import natural_key, parts_of, why_ignored
from tumorscope.images.reading import (
    FileInMemory,
    UnreadableImageError,
    name_of,
    openable,
    upload_of,
)
from tumorscope.images.slices import File

Anything = TypeVar("Anything")

ZIP_SUFFIX: Final = ".zip"

ZIP_START: Final = b"PK\x03\x04"

MAXIMUM_FILES: Final = 20_000
"""Archives with more files are refused."""

MAXIMUM_BYTES: Final = 4_000_000_000
"""Archives that unpack to more are refused."""

_MAXIMUM_FILE: Final = 1_000_000_000
"""Archives with a file that unpacks to more are refused."""

_MOST_PACKED: Final = 200
"""A large file that is packed smaller than by this factor is a trap, no image."""

_LARGE: Final = 50_000_000


def unpacked(
    items: Iterable[Anything], *, most: int = MAXIMUM_BYTES
) -> Iterator[Anything | FileInMemory]:
    """Yield the files in ZIP archives in place of the archives, all else as it is.

    Files of kinds that are ignored in folders are left out. An archive that is damaged, empty,
    encrypted or too large is yielded itself: reading it says why.

    Args:
        items: Files, and anything else.
        most: Bytes that an archive may unpack to.
    """
    for item in items:
        if not isinstance(item, (str, os.PathLike, FileInMemory)) or not _is_zip(item):
            yield item
            continue
        try:
            yield from _files_in(item, most)
        except UnreadableImageError:
            yield item


def reopened(names: Iterable[str]) -> Iterator[File]:
    """Yield the files of these names, those that `unpacked` took out of archives once more.

    Args:
        names: Names of files as answers have them; an archive is opened once for all that follow
            one another.

    Raises:
        DataError: An archive is no longer what it was.
    """
    for archive_name, group in itertools.groupby(names, key=_archive_of):
        if not archive_name:
            yield from group
            continue
        try:
            with zipfile.ZipFile(archive_name) as archive:
                for name in group:
                    entry = archive.getinfo(name[len(archive_name) + 1 :])
                    yield _taken_out(archive, entry, name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{archive_name}: changed while it was read") from error


def why_unusable(file: File, most: int = MAXIMUM_BYTES) -> str:
    """Return why an archive cannot be used."""
    try:
        with zipfile.ZipFile(openable(file)) as archive:
            _check(archive, most)
    except UnreadableImageError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except Exception:  # noqa: BLE001  (zipfile raises nearly anything on damage)
        return "a damaged ZIP archive"
    return "a ZIP archive inside another, or without the ending .zip: unpack it"


def _is_zip(file: File) -> bool:
    name = name_of(file)
    return isinstance(name, str) and name.lower().endswith(ZIP_SUFFIX)


def _archive_of(name: str) -> str:
    """Return the archive on a disk that a file is in; empty for a file that is in none."""
    small, end = name.lower(), 0
    while (end := small.find(f"{ZIP_SUFFIX}/", end)) >= 0:
        end += len(ZIP_SUFFIX)
        if os.path.isfile(name[:end]):  # noqa: PTH113  (as names are joined)
            return name[:end]
    return ""


def _files_in(file: File, most: int) -> Iterator[FileInMemory]:
    name = name_of(file)
    try:
        archive = zipfile.ZipFile(openable(file))
    except Exception as error:  # zipfile raises nearly anything on damage.
        raise UnreadableImageError("a damaged ZIP archive") from error
    with archive:
        entries = _check(archive, most)
        headers = parts_of(entry.filename for entry in entries)
        parts: defaultdict[str, list[zipfile.ZipInfo]] = defaultdict(list)
        for entry in entries:
            if entry.filename in headers:
                parts[headers[entry.filename]].append(entry)
        for entry in entries:
            if entry.filename in headers:
                continue
            beside = tuple(
                _taken_out(archive, part, part.filename) for part in parts[entry.filename]
            )
            inside = _taken_out(archive, entry, f"{name}/{entry.filename}")
            yield inside._replace(upload=upload_of(file), beside=beside)


def _check(archive: zipfile.ZipFile, most: int) -> list[zipfile.ZipInfo]:
    """Return the files that are to be read, in the order that people count in.

    Raises:
        UnreadableImageError: Says what is wrong, without the archive's name.
    """
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    kept = [entry for entry in entries if not why_ignored(_inside(entry))]
    if not kept:
        raise UnreadableImageError("a ZIP archive without an image file")
    large = [
        entry
        for entry in kept
        if entry.file_size > _MAXIMUM_FILE
        or (entry.file_size > _LARGE and entry.file_size > _MOST_PACKED * entry.compress_size)
    ]
    if large or len(entries) > MAXIMUM_FILES or sum(entry.file_size for entry in kept) > most:
        raise UnreadableImageError("a ZIP archive that unpacks to too much: unpack it yourself")
    if any(entry.flag_bits & 1 for entry in kept):
        raise UnreadableImageError("an encrypted ZIP archive: unpack it yourself")
    return sorted(kept, key=lambda entry: [natural_key(part) for part in entry.filename.split("/")])


def _inside(entry: zipfile.ZipInfo) -> str:
    """Return a file's path in the archive without the steps that would lead outside."""
    return "/".join(part for part in entry.filename.split("/") if part not in ("", ".", ".."))


def _taken_out(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> FileInMemory:
    """Return a file with its content; of a damaged one with what comes before the damage."""
    parts = []
    damage = ""
    try:
        with archive.open(entry) as opened:
            left = entry.file_size
            while left > 0 and (part := opened.read(min(left, 1 << 20))):
                parts.append(part)
                left -= len(part)
    except Exception:  # noqa: BLE001  (zipfile raises nearly anything on damage)
        damage = "damaged in its ZIP archive"
    return FileInMemory(name, b"".join(parts), damage=damage)
