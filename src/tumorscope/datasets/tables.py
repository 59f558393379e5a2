"""Reads data sets that a CSV table describes: any hospital's, figshare's, healthy people's."""

import csv
import itertools
import os
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Final

from tumorscope.classes import class_name
from tumorscope.datasets.catalogue import Catalogue, Skipped, Slice, Split
from tumorscope.datasets.figshare_folds import figshare_folds
from tumorscope.datasets.locations import SPLIT_NAMES
from tumorscope.datasets.patients import one_spelling
from tumorscope.errors import DataError

TABLE_NAMES: Final = ("slices.csv", "index.csv")
"""A folder with one of them is read by it."""

SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "file": ("file", "image", "filename", "file_name", "path", "filepath", "image_path"),
    "class": ("class", "label", "diagnosis", "category", "tumor_type", "tumour_type"),
    "patient": (
        "patient",
        "patient_id",
        "patientid",
        "subject",
        "subject_id",
        "case",
        "case_id",
        "participant_id",
    ),
    "group": ("group",),
    "twin_cluster": ("twin_cluster", "cluster"),
    "split": ("split", "part", "subset", "partition"),
    "fold": ("fold",),
    "mask": ("mask", "mask_path", "outline", "segmentation"),
    "sequence": ("sequence", "modality"),
    "plane": ("plane", "view", "orientation"),
    "hospital": ("hospital", "site", "institution", "centre", "center"),
}
"""What a column may be called; capitals, spaces and dashes do not matter."""

_KNOWN: Final = {name for spellings in SPELLINGS.values() for name in spellings}

_NOTHING: Final = ("nan", "NaN", "None", "<NA>", "null", "NULL")
"""What programs write where a value is missing."""

_FIGSHARE: Final = {"index", "class", "patient", "fold"}
_HEALTHY: Final = {"file", "subject", "plane"}

_HELD_BACK: Final = "external"
"""Rows whose split begins so are kept for tests of other hospitals: nothing may train on them."""


def find_table(folder: Path) -> Path | None:
    """Return the table that describes a folder's pictures, where there is one."""
    for name in TABLE_NAMES:
        path = folder / name
        if path.is_file() and (name == TABLE_NAMES[0] or describes_slices(path)):
            return path
    return None


def describes_slices(path: Path) -> bool:
    """Tell whether the columns of a table are those of a data set."""
    named = {"file", "class"} <= set(_meanings(path))
    return named or is_figshare_index(path) or is_healthy_index(path)


def is_healthy_index(path: Path) -> bool:
    """Tell whether a table is an `index.csv` with the columns `file, subject, plane` only."""
    return path.name == "index.csv" and path.is_file() and set(_columns(path)) == _HEALTHY


def is_figshare_index(path: Path) -> bool:
    """Tell whether a table is figshare's: it names slices by their published number, not a file."""
    return set(_columns(path)) >= _FIGSHARE and "file" not in _meanings(path)


def read_table(path: Path, name: str) -> Catalogue:
    """Read the data set that a table describes.

    Args:
        path: The table; files in it are relative to its folder.
        name: What the data set is called.

    Returns:
        The catalogue; files that the table names but that are not there are skipped.

    Raises:
        DataError: It is no table of slices, a value cannot be understood, or of a class that it
            lists no file is there.
    """
    if is_healthy_index(path):
        return _read_healthy(path, name)
    if is_figshare_index(path):
        return _read_figshare(path, name)
    return _read_slices(path, name)


def _read_slices(path: Path, name: str) -> Catalogue:
    """Read a table with a row a file: columns `file, class` and whatever else is known."""
    slices: dict[str, Slice] = {}
    skipped: list[Skipped] = []
    lost: dict[str, Skipped] = {}
    for row in _rows(path, ("file", "class")):
        file, label, split = _on_this_system(row["file"], path), row.label(), row.split()
        if split is None:
            skipped.append(Skipped(file, f"held back by the table ({row['split']})"))
        elif not file or not os.path.isfile(path.parent / file):  # noqa: PTH113  (20,000 at a time)
            missing = Skipped(
                file or f"row {row.number}", "in the table, but there is no such file"
            )
            skipped.append(missing)
            lost.setdefault(label, missing)
        elif file in slices:
            if slices[file].label != label:
                raise row.error(f"{file} is {label} here and {slices[file].label} further up")
            skipped.append(Skipped(f"{file} (row {row.number})", "in the table more than once"))
        else:
            mask = path.parent / _on_this_system(row["mask"], path) if row["mask"] else None
            if mask and not mask.is_file():
                reason = f"in the table, but there is no such outline; {file} is used without it"
                skipped.append(Skipped(row["mask"], reason))
                mask = None
            slices[file] = Slice(
                path=path.parent / file,
                name=file,
                label=label,
                source=name,
                group=row["group"] or row["patient"],
                patient=row["patient"],
                cluster=row["twin_cluster"],
                split=split,
                fold=row.whole("fold"),
                mask=mask,
                sequence=row["sequence"],
                plane=row["plane"].lower(),
                hospital=row["hospital"],
            )
    spelled, notes = _spelled_once(slices.values(), path, name)
    _check_patients(spelled, path)
    present = {item.label for item in slices.values()}
    for label, missing in lost.items():
        if present and label not in present:
            raise DataError(
                f"{path}: of class {label} no file is there; the first is {missing.name}"
            )
    return Catalogue(tuple(spelled), tuple(skipped), notes=tuple(notes))


def _spelled_once(
    slices: Collection[Slice], path: Path, name: str
) -> tuple[list[Slice], list[str]]:
    """Return slices with one spelling of each patient, and what is to be said about patients."""
    table = f"{name}: {path.name}"
    names = {name for item in slices for name in (item.group, item.patient)}
    spelling = one_spelling(names)
    notes = []
    others = sorted(name for name in names if spelling[name] != name)
    if others:
        notes.append(
            f"{table} spells {len(others):,} patients in several ways, such as "
            f"{spelling[others[0]]} and {others[0]}: each is one"
        )
    without = sum(not item.group for item in slices)
    if slices and without == len(slices):
        unread = [column for column in _columns(path) if column and column not in _KNOWN]
        columns = f"; columns that are not read: {', '.join(unread)}" if unread else ""
        notes.append(
            f"{table} names no patients (in a column 'patient'): near-duplicates are in one group, "
            f"but other slices of one patient may not be{columns}"
        )
    elif without:
        notes.append(
            f"{table} names no patient of {without:,} of {len(slices):,} slices: their near-"
            "duplicates are in one group, but other slices of one patient may not be"
        )
    return [
        replace(item, group=spelling[item.group], patient=spelling[item.patient]) for item in slices
    ], notes


def _check_patients(slices: Iterable[Slice], path: Path) -> None:
    """Make sure that no patient is in two groups.

    Raises:
        DataError: One is.
    """
    groups: dict[str, str] = {}
    for item in slices:
        if item.patient and groups.setdefault(item.patient, item.group) != item.group:
            raise DataError(
                f"{path}: patient {item.patient} is in the groups {groups[item.patient]} and "
                f"{item.group}: one patient's slices belong in one"
            )


def _read_figshare(path: Path, name: str) -> Catalogue:
    slices, skipped = [], []
    published = figshare_folds()
    for row in _rows(path, tuple(_FIGSHARE)):
        number = row.whole("index")
        file, mask = f"images/{number:04d}.jpg", path.parent / "masks" / f"{number:04d}.png"
        if not (path.parent / file).is_file():
            skipped.append(Skipped(file, "in the index, but there is no such file"))
            continue
        folds = published.get(row["patient"])
        slices.append(
            Slice(
                path=path.parent / file,
                name=file,
                label=row.label(),
                source=name,
                group=row["patient_prefix"] or row["patient"],
                patient=row["patient"],
                cluster=f"figshare-{row['index']}",
                fold=folds.cvind5fold if folds else row.whole("fold"),
                cvind=folds.cvind if folds else row.whole("cvind"),
                mask=mask if mask.is_file() else None,
                sequence="T1c",
            )
        )
    return Catalogue(tuple(slices), tuple(skipped))


def _read_healthy(path: Path, name: str) -> Catalogue:
    slices, skipped = [], []
    for row in _rows(path, ("file", "subject")):
        if not (path.parent / row["file"]).is_file():
            skipped.append(Skipped(row["file"], "in the index, but there is no such file"))
            continue
        hospital = Path(row["file"]).parent.name
        slices.append(
            Slice(
                path=path.parent / row["file"],
                name=row["file"],
                label="notumor",
                source=name,
                group=f"{hospital}/{row['subject']}",
                patient=row["subject"],
                sequence="T1",
                plane=row["plane"].lower(),
                hospital=hospital,
            )
        )
    note = f"{name}: {path.name} lists subjects and no class: all are taken as notumor"
    return Catalogue(tuple(slices), tuple(skipped), notes=(note,))


@dataclass(frozen=True)
class _Row:
    """A row of a table; columns that are missing are empty."""

    path: Path
    number: int
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "")

    def label(self) -> str:
        try:
            return class_name(self["class"])
        except DataError as error:
            raise self.error(str(error)) from None

    def split(self) -> Split | None:
        """Return the part; None where the table holds the row back."""
        text = self["split"].lower()
        if text.startswith(_HELD_BACK):
            return None
        if text and text not in SPLIT_NAMES:
            raise self.error(f"split is '{self['split']}', not train, validation or test")
        return SPLIT_NAMES[text] if text else ""

    def whole(self, column: str) -> int:
        text = self[column].removesuffix(".0")  # (as pandas writes columns with gaps)
        if text and not text.isdecimal():
            raise self.error(f"{column} is '{text}', not a whole number")
        return int(text or 0)

    def error(self, message: str) -> DataError:
        return DataError(f"{self.path}, row {self.number}: {message}")


def _on_this_system(file: str, table: Path) -> str:
    """Return a file's path with `/`, also of a table that was written on Windows.

    It is relative to the table's folder where the file lies in there.
    """
    if "\\" in file and not os.path.isfile(table.parent / file):  # noqa: PTH113  (20,000 at a time)
        file = PureWindowsPath(file).as_posix()
    if os.path.isabs(file):  # noqa: PTH117  (20,000 at a time)
        for folder in (whole(table.parent) for whole in (Path.absolute, Path.resolve)):
            if Path(file).is_relative_to(folder):
                file = Path(file).relative_to(folder).as_posix()
                break
    return posixpath.normpath(file) if file else file


def _rows(path: Path, wanted: Sequence[str]) -> Iterator[_Row]:
    columns, meanings = _columns(path), _meanings(path)
    missing = [name for name in wanted if name not in meanings]
    if missing:
        raise DataError(
            f"{path}: the table has no column '{missing[0]}'; its columns are "
            f"{', '.join(filter(None, columns)) or 'none'}, a data set needs file and class"
        )
    for number, values in itertools.islice(read_rows(path), 1, None):
        if any(values):
            row = dict(zip(columns, values, strict=False))
            named = {name: row.get(column, "") for name, column in meanings.items()}
            # ("none" is a class, too.)
            yield _Row(
                path,
                number,
                {
                    name: "" if value in _NOTHING and name != "class" else value
                    for name, value in named.items()
                },
            )


def _meanings(path: Path) -> dict[str, str]:
    """Return the column of a table by what it means.

    Raises:
        DataError: Two columns mean the same.
    """
    columns = _columns(path)
    twice = {name for name in columns if columns.count(name) > 1}
    if twice & _KNOWN:
        raise DataError(f"{path}: two columns are called '{min(twice & _KNOWN)}'")
    meanings = {column: column for column in columns if column}
    for meaning, spellings in SPELLINGS.items():
        found = [name for name in spellings if name in columns]
        if meaning in columns or not found:
            continue
        if len(found) > 1:
            raise DataError(
                f"{path}: the columns {' and '.join(found)} both stand for the {meaning}; "
                f"call one of them {meaning}"
            )
        meanings[meaning] = found[0]
    return meanings


def _columns(path: Path) -> list[str]:
    """Return the names in a table's first row, in small letters, with `_` for spaces and dashes."""
    _, first = next(read_rows(path), (0, []))
    return [plain_column(name) for name in first]


def plain_column(name: str) -> str:
    """Return a column's name in small letters, with `_` for spaces and dashes."""
    return name.lower().replace(" ", "_").replace("-", "_")


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of a table's rows, the first with the names, and each row's last line.

    Raises:
        DataError: The file is no table in UTF-8.
        OSError: It cannot be read.
    """
    delimiter, skipped = _delimiter(path)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for values in itertools.islice(reader, skipped, None):
                yield reader.line_num, [value.strip() for value in values]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"{path}: not a CSV table in UTF-8 ({error}); save it as 'CSV UTF-8'"
            ) from None


def has_decimal_commas(path: Path) -> bool:
    """Tell whether commas in a table are decimal ones: something else parts its columns."""
    return _delimiter(path)[0] != ","


def _delimiter(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return delimiter_of(file.readline(10_000).decode("utf-8-sig", errors="replace"))


def delimiter_of(first: str) -> tuple[str, int]:
    """Return what parts a table's columns, and how many lines only say so (Excel writes `sep=;`).

    Office programs of some countries write no commas.

    Args:
        first: The table's first line.
    """
    separator = re.fullmatch(r"(?i)sep=(.)\s*", first)
    return (separator[1], 1) if separator else (max(",;\t", key=first.count), 0)
