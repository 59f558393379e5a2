"""Lists an archive: folders, lists, patterns and files, on disks and in stores, in blocks."""

import codecs
import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from pyarrow.fs import FileInfo, FileType

from tumorscope.cluster.storage import Location, entries, in_one_line, is_folder, read_lines
from tumorscope.datasets.tables import SPELLINGS, delimiter_of, plain_column
from tumorscope.errors import DataError
from tumorscope.images.listing import (
    PART,
    Ignored,
    header_of,
    natural_key,
    walk_files,
    why_file_ignored,
    why_folder_ignored,
)

_LISTS: Final = (".txt", ".csv")

_MARK: Final = os.fsdecode(codecs.BOM_UTF8)
"""What programs on Windows put before a text."""

_SMALLEST: Final = 32
"""Files of the first blocks: enough for one batch."""

_BLOCKS: Final = 50
"""Later ones grow with what is listed: so many blocks or more, for all workers to have some."""

_MAGIC: Final = re.compile(r"[*?\[]")

Block = list[Location]


def list_blocks(
    sources: Sequence[str],
    *,
    largest: int,
    whole_folders: bool,
    not_in: Location,
    ignored: "Counter[str]",
) -> Iterator[Block]:
    """List the files of an archive in blocks; memory holds one block and one folder.

    Args:
        sources: Folders, files, patterns (`**` for any folders), and lists: `@FILE`, or a file in
            `.txt` or `.csv`, of a path a line; all of them paths or URIs.
        largest: Files of a block, at the most; small archives have smaller ones.
        whole_folders: Whether a block ends only where a folder does.
        not_in: Where the answers go: no source may hold it.
        ignored: Counts the files of kinds that are ignored.

    Raises:
        DataError: A source holds another or the answers, does not exist, or is a list in which a
            folder's files do not stand together although `whole_folders` needs that.
    """
    _check_apart(sources, not_in)
    block: Block = []
    folder, folders = "", set()
    for number, place in enumerate(_files_of(sources, ignored)):
        here = f"{place.root}{os.path.dirname(place.path)}"  # noqa: PTH120  (names of any bytes)
        if whole_folders and here != folder:
            if here in folders:
                raise DataError(
                    f"{place}: the files of its folder do not stand together, which --series needs:"
                    " sort the list, and give no folder twice"
                )
            folders.add(here)
        enough = min(largest, max(_SMALLEST, number // _BLOCKS))
        if len(block) >= enough and (here != folder or not whole_folders):
            yield block
            block = []
        block.append(place)
        folder = here
    if block:
        yield block


def _check_apart(sources: Sequence[str], answers: Location) -> None:
    """Refuse sources that would list a file twice, or the answers."""
    named: dict[Location, str] = {}
    for source in (source for source in sources if not _is_pattern(source)):
        place = Location.of(source)
        if place in named:
            raise DataError(f"{source}: given twice")
        if place.holds(answers):
            raise DataError(f"{answers}: lies in {source}, which is read: name another folder")
        named[place] = source
    for source in filter(_is_pattern, sources):
        inside = _fixed_folder(Location.of(source))
        outer = next((folder for place, folder in named.items() if place.holds(inside)), None)
        if outer is not None:
            raise DataError(f"{source}: lies in {outer}, which is given, too: give one of them")
    for place, source in named.items():
        above = place.path
        while "/" in above:
            above = above.rpartition("/")[0]
            outer = named.get(Location(place.root, above or "/"))
            if outer is not None:
                raise DataError(f"{source}: lies in {outer}, which is given, too: give one of them")


def _files_of(sources: Sequence[str], ignored: "Counter[str]") -> Iterator[Location]:
    for source in sources:
        files = _files_in(source, ignored)
        first = next(files, None)
        if first is not None:
            yield first
            yield from files
        elif len(sources) > 1:  # (Its answer will be that there is nothing to read, as in predict.)
            yield Location.of(source.removeprefix("@"))


def _files_in(source: str, ignored: "Counter[str]") -> Iterator[Location]:
    if source.startswith("@"):
        yield from _listed(Location.of(source[1:]))
    elif _is_pattern(source):
        yield from _matching(source, ignored)
    elif is_folder(place := Location.of(source)):
        yield from _walk(place, ignored)
    elif source.lower().endswith(_LISTS):
        yield from _listed(place)
    else:
        yield place


def _is_pattern(source: str) -> bool:
    return bool(_MAGIC.search(source)) and not os.path.exists(source)  # noqa: PTH110


def _listed(file: Location) -> Iterator[Location]:
    """Yield the files that a list names; what is relative lies beside it."""
    folder = Location(file.root, file.path.rpartition("/")[0])
    try:
        given = read_lines(file)
        lines = chain([next(given).removeprefix(_MARK)], given)
        for path in _column(lines) if file.path.lower().endswith(".csv") else lines:
            if path:
                absolute = path.startswith("/") or "://" in path
                yield Location.of(path) if absolute else folder / path
    except OSError as error:
        raise DataError(f"{file}: the list cannot be read ({in_one_line(error)})") from error


def _column(lines: Iterator[str]) -> Iterator[str]:
    """Yield the paths of a CSV table: of the column that is called so, else of the first."""
    first = next(lines)
    delimiter, skipped = delimiter_of(first)
    if skipped:
        first = next(lines, "")
    names = next(csv.reader([first], delimiter=delimiter), [])
    named = [at for at, name in enumerate(names) if plain_column(name.strip()) in SPELLINGS["file"]]
    if not named and not skipped:
        delimiter = ","
    column = named[0] if named else 0
    for cells in csv.reader(lines if named else chain([first], lines), delimiter=delimiter):
        if column < len(cells):
            yield cells[column]


def _matching(pattern: str, ignored: "Counter[str]") -> Iterator[Location]:
    """Yield the files below the pattern's fixed folders whose whole path it matches."""
    place = Location.of(pattern)
    try:
        wanted = re.compile(_as_expression(place.path), re.DOTALL)
    except re.error as error:
        raise DataError(f"{pattern}: no pattern of names ({error})") from None
    for file in _walk(_fixed_folder(place), ignored):
        if wanted.fullmatch(file.path):
            yield file


def _fixed_folder(pattern: Location) -> Location:
    """Return the folder that all files lie in that a pattern can match."""
    fixed = pattern.path[: _MAGIC.search(pattern.path).start()].rpartition("/")[0]  # type: ignore[union-attr]
    return Location(pattern.root, fixed or "/")


def _as_expression(pattern: str) -> str:
    """Return a shell's pattern as a regular expression."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        known.get(part) or (part.replace("[!", "[^", 1) if number % 2 else re.escape(part))
        for number, part in enumerate(parts)
    )


def _walk(folder: Location, ignored: "Counter[str]") -> Iterator[Location]:
    for found in _walk_store(folder) if folder.root else walk_files(folder.path):
        if isinstance(found, Ignored):
            ignored[found.kind] += 1
        else:
            yield Location(folder.root, found)


def _walk_store(folder: Location) -> Iterator[str | Ignored]:
    """List the files of a store's folder as `walk_files` does those of a disk's."""
    waiting = [folder.path]
    while waiting:
        here = waiting.pop()
        try:
            inside = entries(Location(folder.root, here))
        except OSError as error:
            place = Location(folder.root, here)
            raise DataError(f"{place}: cannot be listed ({in_one_line(error)})") from error
        folders = []
        names = {entry.base_name.lower() for entry in inside}
        for entry in sorted(inside, key=_order):
            name, is_file = entry.base_name, entry.type != FileType.Directory
            kind = why_file_ignored(name) if is_file else why_folder_ignored(name)
            if is_file and header_of(name.lower(), names):
                kind = PART
            if kind:
                yield Ignored(entry.path, kind)
            elif is_file:
                yield entry.path
            else:
                folders.append(entry.path)
        waiting += reversed(folders)


def _order(entry: FileInfo) -> tuple[object, str]:
    return natural_key(entry.base_name), entry.base_name
