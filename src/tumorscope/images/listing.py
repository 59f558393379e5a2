"""Lists the files of a folder that may hold slices, and those of kinds that are ignored.

Every file is one or the other, so nothing is passed over unsaid: a file that is neither known nor
ignored is listed to be read, and reading it names it with a reason.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from natsort import natsort_keygen, ns

from tumorscope.counting import counted

_DOCUMENT: Final = "text or document"

_MACOS: Final = "metadata of macOS"

_WINDOWS: Final = "metadata of Windows"

IGNORED_FOLDERS: Final = {
    "__macosx": _MACOS,
    "$recycle.bin": _WINDOWS,
    "system volume information": _WINDOWS,
    "@eadir": "thumbnails of a network drive",
    "lost+found": "folder of a file system",
}
"""Folders that are ignored with all that is in them, by their name in small letters."""

LITTER: Final = {
    ".ds_store": _MACOS,
    "icon\r": _MACOS,
    "thumbs.db": _WINDOWS,
    "ehthumbs.db": _WINDOWS,
    "desktop.ini": _WINDOWS,
}
"""What operating systems leave behind, by its name in small letters; beside it, names in `._`."""

IGNORED_NAMES: Final = {
    **LITTER,
    "dicomdir": "index of a DICOM medium",
    **dict.fromkeys(
        (
            *("authors", "changelog", "changes", "checksums", "citation", "copying", "licence"),
            *("license", "makefile", "manifest", "md5sums", "notice", "readme", "version"),
        ),
        _DOCUMENT,
    ),
}
"""Files that are ignored, by their name in small letters."""

IGNORED_SUFFIXES: Final = dict.fromkeys(
    (
        *(".txt", ".md", ".rst", ".rtf", ".tex", ".bib", ".log", ".pdf", ".doc", ".docx", ".odt"),
        *(".csv", ".tsv", ".xls", ".xlsx", ".ods", ".ppt", ".pptx", ".odp", ".htm", ".html"),
        *(".css", ".js", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg"),
        *(".conf", ".bval", ".bvec", ".py", ".ipynb", ".m", ".r", ".sh", ".bat", ".cmd", ".exe"),
        *(".dll", ".lnk", ".url", ".webloc", ".md5", ".sha1", ".sha256", ".sha512", ".asc"),
        *(".sig", ".cff", ".lock"),
    ),
    _DOCUMENT,
)
"""Endings of files that are ignored, in small letters."""

_APPLE_DOUBLE: Final = "._"

_HIDDEN: Final = "hidden file or folder"

_PARTS: Final = {".img": (".hdr",), ".raw": (".mhd", ".nhdr"), ".zraw": (".mhd",)}
"""Endings of files that hold the voxels of a header beside them, and that header's endings."""

PART: Final = "voxels of the header beside it"
"""The kind of files for which `header_of` finds a header."""

_NO_FILE: Final = "pipe, socket or device"


natural_key: Final[Callable[[str], Any]] = natsort_keygen(alg=ns.IGNORECASE)
"""Returns what names are sorted by: numbers in them count as numbers (2 before 10)."""


@dataclass(frozen=True)
class Ignored:
    """A file that is not read.

    Attributes:
        path: The file, or a folder that is ignored with all that is in it.
        kind: What kind it is of, in plain words.
    """

    path: str
    kind: str


@dataclass(frozen=True)
class Listing:
    """The files of a folder.

    Attributes:
        files: Those that may hold slices, in the order that people count in (2 before 10), those
            of a folder before those of the folders in it.
        ignored: Those that are not read.
    """

    files: tuple[str, ...]
    ignored: tuple[Ignored, ...]


def why_ignored(path: str) -> str:
    """Return the kind for which a file is ignored; empty when it is to be read.

    Args:
        path: The file's path inside the folder that was given, with `/`: what hidden folder that
            one itself lies in does not matter.
    """
    *folders, name = path.split("/")
    for folder in folders:
        kind = why_folder_ignored(folder)
        if kind:
            return kind
    return why_file_ignored(name)


def is_litter(path: str) -> bool:
    """Tell whether a file is what an operating system leaves behind, whoever gives it.

    Args:
        path: The file's path, with `/`.
    """
    *folders, name = path.split("/")
    return (
        name.startswith(_APPLE_DOUBLE)
        or name.lower() in LITTER
        or any(part.lower() in IGNORED_FOLDERS for part in (*folders, name))
    )


def list_files(folder: "str | os.PathLike[str]") -> Listing:
    """List the files of a folder and of the folders in it, without opening one.

    Args:
        folder: Where to look.

    Returns:
        What `walk_files` yields, all at once.
    """
    found = list(walk_files(folder))
    return Listing(
        tuple(item for item in found if isinstance(item, str)),
        tuple(item for item in found if isinstance(item, Ignored)),
    )


def walk_files(folder: "str | os.PathLike[str]") -> "Iterator[str | Ignored]":
    """List the files of a folder and of the folders in it, a folder at a time.

    Links to folders are followed, each folder is listed once. A folder that cannot be listed
    stands among the files: reading it says why.

    Args:
        folder: Where to look.

    Yields:
        The files, those of a folder together and before those of the folders in it.
    """
    waiting = [os.fspath(folder)]
    seen = {os.path.realpath(folder)}
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                inside = sorted(entries, key=lambda entry: (natural_key(entry.name), entry.name))
        except OSError:
            yield here
            continue
        folders = []
        names = {entry.name.lower() for entry in inside}
        for entry in inside:
            try:
                is_folder = entry.is_dir()
                is_file = entry.is_file() or entry.is_symlink()
            except OSError:  # (A link in a circle, or to where nobody may look: reading says so.)
                is_folder, is_file = False, True
            kind = why_folder_ignored(entry.name) if is_folder else why_file_ignored(entry.name)
            if not is_folder and header_of(entry.name.lower(), names):
                kind = PART
            if kind:
                yield Ignored(entry.path, kind)
            elif is_folder:
                place = os.path.realpath(entry.path)
                if place not in seen:
                    seen.add(place)
                    folders.append(entry.path)
            elif is_file:
                yield entry.path
            else:
                yield Ignored(entry.path, _NO_FILE)
        waiting += reversed(folders)


def names_inside(folder: "str | os.PathLike[str]", paths: Iterable[str]) -> list[str]:
    """Return the paths of files relative to the folder in which they were listed, with `/`.

    Args:
        folder: What `walk_files` was given.
        paths: What it yielded; a folder that cannot be listed is `.` in itself.
    """
    start = len(os.path.join(folder, ""))  # noqa: PTH118  (`./` stays)
    return [path[start:].replace("\\", "/") or "." for path in paths]


def parts_of(names: Iterable[str]) -> dict[str, str]:
    """Return the files that hold the voxels of a header beside them, and that header.

    Args:
        names: Paths of files, with `/`.
    """
    folders: dict[str, dict[str, str]] = {}
    for name in names:
        folder, _, last = name.rpartition("/")
        folders.setdefault(folder, {})[last.lower()] = name
    found = {}
    for here in folders.values():
        for small, name in here.items():
            header = header_of(small, here.keys())
            if header:
                found[name] = here[header]
    return found


def summarise(ignored: Iterable[Ignored]) -> str:
    """Return one line about files that were ignored: how many of which kind."""
    counts = Counter(item.kind for item in ignored)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
    return f"ignored {counted(counts.total(), 'file')} ({kinds})"


def why_folder_ignored(name: str) -> str:
    """Return the kind for which a folder is ignored with all in it; empty when it is not."""
    return IGNORED_FOLDERS.get(name.lower(), "") or (_HIDDEN if name.startswith(".") else "")


def why_file_ignored(name: str) -> str:
    """Return the kind for which a file of this name is ignored; empty when it is to be read."""
    if name.startswith(_APPLE_DOUBLE):
        return _MACOS
    small = name.lower()
    kind = IGNORED_NAMES.get(small) or IGNORED_SUFFIXES.get(os.path.splitext(small)[1])  # noqa: PTH122
    return kind or (_HIDDEN if name.startswith(".") else "")


def header_of(name: str, names: Collection[str]) -> str:
    """Return the header among these names whose voxels a file holds; empty when there is none.

    All names are in small letters.
    """
    stem, dot, ending = name.removesuffix(".gz").rpartition(".")
    for header in _PARTS.get(dot + ending, ()):
        if stem + header in names:
            return stem + header
    return ""
