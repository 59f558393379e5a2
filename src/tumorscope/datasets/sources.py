"""Folders and tables come in, a catalogue of their slices goes out.

Five layouts are known: the Kaggle set (told by its file names, checked against the manifest),
figshare's index with outlines, an index of healthy people and their volumes, a tree with one
folder a class, and a table: a CSV file, or the `index.csv` of a folder where it names classes.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tumorscope.classes import CLASSES, class_name
from tumorscope.datasets import manifest
from tumorscope.datasets.catalogue import Catalogue, Skipped, Slice, Split
from tumorscope.datasets.groups import group_near_duplicates
from tumorscope.datasets.pictures import volume_slices
from tumorscope.errors import DataError
from tumorscope.images import PICTURE_SUFFIXES, UnreadableImageError
from tumorscope.progress import Progress, silent

_SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
}
_TABLE_NAME = "slices.csv"
_INDEX_NAME = "index.csv"
_VOLUMES = "volumes"
_PLANES = ("axial", "coronal", "sagittal")


def read_data(paths: Sequence[Path], *, progress: Progress = silent) -> Catalogue:
    """Read one or more data sets as one catalogue.

    Slices whose group is not known, and slices of several sets, are compared with each other:
    twins are put in one group.

    Args:
        paths: Folders or CSV files, each a data set of its own.
        progress: Shows how far the reading is.

    Returns:
        The catalogue; every slice has a group.

    Raises:
        DataError: A path is missing, holds no picture, or holds one of unknown class.
    """
    return join_sets([read_set(path, progress=progress) for path in paths], progress=progress)


def read_set(path: Path, *, progress: Progress = silent) -> Catalogue:
    """Read one data set, as it is: some or all of its slices may have no group.

    Args:
        path: A folder or a CSV file.
        progress: Shows how far the reading is.

    Returns:
        The catalogue; all slices have one source.

    Raises:
        DataError: The path is missing, holds no picture, or holds one of unknown class.
    """
    if not path.exists():
        raise DataError(f"{path}: no such folder or table; --data names a data set")
    if path.is_file():
        catalogue = _read_table(path)
    elif (path / _TABLE_NAME).is_file():
        catalogue = _read_table(path / _TABLE_NAME)
    elif (path / _INDEX_NAME).is_file():
        catalogue = _read_index(path)
    elif _is_kaggle(path):
        catalogue = _read_kaggle(path, progress)
    else:
        catalogue = _read_class_folders(path)
    if not catalogue.slices and catalogue.skipped:
        first = catalogue.skipped[0]
        raise DataError(
            f"{path}: none of its {len(catalogue.skipped):,} pictures can be used; "
            f"{first.name}: {first.reason}"
        )
    if not catalogue.slices:
        raise DataError(
            f"{path}: no JPEG or PNG picture found; a data set is a folder with one folder a class "
            f"({', '.join(CLASSES)}), figshare's index.csv with images/, or a CSV table"
        )
    return catalogue


def join_sets(parts: Sequence[Catalogue], *, progress: Progress = silent) -> Catalogue:
    """Make one catalogue of several data sets, in which twins have one group.

    Args:
        parts: What `read_set` returned.
        progress: Shows how far the comparing is.

    Returns:
        The catalogue; every slice has a group.

    Raises:
        DataError: Two sets have one name.
    """
    sources = [part.slices[0].source for part in parts]
    for source in sources:
        if sources.count(source) > 1:
            raise DataError(
                f"two data sets are called '{source}': give one of them, or rename one's folder"
            )
    joined = Catalogue(
        tuple(item for part in parts for item in part.slices),
        tuple(item for part in parts for item in part.skipped),
    )
    if len(parts) > 1 or any(not item.group for item in joined.slices):
        joined = group_near_duplicates(joined, progress=progress)
    return joined


def _is_kaggle(folder: Path) -> bool:
    """Tell the Kaggle set from other trees: most of its file names stand in the manifest."""
    known = {Path(file).name for file in manifest.kaggle_manifest()}
    names = [path.name for path in _pictures(folder)]
    return bool(names) and sum(name in known for name in names) > len(names) / 2


def _read_kaggle(folder: Path, progress: Progress) -> Catalogue:
    match = manifest.match(folder, progress=progress)
    masks = folder.resolve().parent / "figshare" / "masks"
    slices = [
        Slice(
            path=path,
            name=row.file,
            label=row.label,
            source="kaggle",
            group=row.group,
            cluster=f"kaggle-{row.twin_cluster}",
            split=row.official_split,
            fold=row.fold,
            doubt=row.label_doubt,
            mask=_outline(masks, row),
            mirrored=bool(row.mirrored),
        )
        for path, row in match.matched
    ]
    skipped = [Skipped(str(name), "not in the manifest of version 1") for name in match.unknown]
    skipped += [
        Skipped(str(name), "another picture than the manifest's of this name")
        for name in match.different
    ]
    skipped += [Skipped(item.name, item.reason) for item in match.unreadable]
    if match.missing:
        first, *others = match.missing
        also = f", nor are {len(others):,} others" if others else ""
        skipped.append(Skipped(first, f"in the manifest, but not there{also}"))
    return Catalogue(tuple(slices), tuple(skipped))


def _outline(masks: Path, row: manifest.ManifestRow) -> Path | None:
    """Return the outline that figshare's radiologists drew, where that set lies beside Kaggle's."""
    if row.figshare_index is None or not masks.is_dir():
        return None
    mask = masks / f"{row.figshare_index:04d}.png"
    return mask if mask.is_file() else None


def _read_index(folder: Path) -> Catalogue:
    """Read a folder by its index: figshare's numbers slices, a table's names classes."""
    with (folder / _INDEX_NAME).open(newline="", encoding="utf-8-sig") as file:
        columns = next(csv.reader(file), [])
    if "index" in columns:
        return _read_figshare(folder)
    if "class" in columns:
        return _read_table(folder / _INDEX_NAME)
    return _read_healthy(folder)


def _read_figshare(folder: Path) -> Catalogue:
    slices, skipped = [], []
    for row in _rows(folder / _INDEX_NAME, ("index", "class", "patient", "fold")):
        name = f"images/{row.whole('index'):04d}.jpg"
        if not (folder / name).is_file():
            skipped.append(Skipped(name, "in the index, but there is no such file"))
            continue
        mask = folder / "masks" / f"{row.whole('index'):04d}.png"
        slices.append(
            Slice(
                path=folder / name,
                name=name,
                label=row.label(),
                source="figshare",
                group=row["patient_prefix"] or row["patient"],
                cluster=f"figshare-{row['index']}",
                fold=row.whole("fold"),
                mask=mask if mask.is_file() else None,
            )
        )
    return Catalogue(tuple(slices), tuple(skipped))


def _read_healthy(folder: Path) -> Catalogue:
    """Read an index of people without a tumour: columns `file, subject`, T1 without contrast.

    Volumes of the same people, in `volumes/SUBJECT.nii.gz`, give their slices at every level.
    """
    slices, skipped = [], []
    hospitals: dict[str, str] = {}
    for row in _rows(folder / _INDEX_NAME, ("file", "subject")):
        if not (folder / row["file"]).is_file():
            skipped.append(Skipped(row["file"], "in the index, but there is no such file"))
            continue
        slices.append(
            Slice(
                path=folder / row["file"],
                name=row["file"],
                label="notumor",
                source=folder.resolve().name,
                group=f"{Path(row['file']).parent.name}/{row['subject']}",
                sequence="T1",
                plane=row["plane"].lower(),
                hospital=Path(row["file"]).parent.name,
            )
        )
        hospitals[row["subject"]] = Path(row["file"]).parent.name
    for path in sorted((folder / _VOLUMES).glob("*.nii*")):
        subject = path.name.split(".")[0]
        try:
            slices += _volume(path, folder, f"{hospitals.get(subject, _VOLUMES)}/{subject}")
        except UnreadableImageError as error:
            skipped.append(Skipped(f"{_VOLUMES}/{path.name}", str(error)))
    return Catalogue(tuple(slices), tuple(skipped))


def _volume(path: Path, folder: Path, group: str) -> list[Slice]:
    """Return the slices of a healthy head in three planes, from the neck to the vertex."""
    return [
        Slice(
            path=path,
            name=f"{_VOLUMES}/{path.name}/{plane}_{number:03d}",
            label="notumor",
            source=folder.resolve().name,
            group=group,
            sequence="T1",
            hospital=_VOLUMES,
            plane=plane,
            number=number,
        )
        for plane in _PLANES
        for number in volume_slices(path, plane)
    ]


def _read_class_folders(folder: Path) -> Catalogue:
    pictures = _pictures(folder)
    places = [path.relative_to(folder).parts for path in pictures]
    # The SARTAJ set is told by its class folders; other trees are called as their folder.
    sartaj = any(part.endswith("_tumor") for parts in places for part in parts[:-1])
    return Catalogue(
        tuple(
            Slice(
                path=path,
                name="/".join(parts),
                label=_label_of(path, (*_last_word(folder), *parts[:-1])),
                source="sartaj" if sartaj else folder.resolve().name,
                split=next(
                    (
                        _SPLIT_FOLDERS[part.lower()]
                        for part in parts
                        if part.lower() in _SPLIT_FOLDERS
                    ),
                    "",
                ),
            )
            for path, parts in zip(pictures, places, strict=True)
        )
    )


def _last_word(folder: Path) -> tuple[str, ...]:
    """Return the last word of a folder's name: `br35h_tumour` may hold its pictures itself."""
    return tuple(folder.resolve().name.split("_")[1:][-1:])


def _label_of(path: Path, folders: Sequence[str]) -> str:
    """Return the class that the innermost folder with a class's name means."""
    for name in reversed(folders):
        with suppress(DataError):
            return class_name(name)
    raise DataError(f"{path}: stands in no folder called like a class ({', '.join(CLASSES)})")


def _read_table(path: Path) -> Catalogue:
    slices, skipped = [], []
    kept_back: defaultdict[str, list[str]] = defaultdict(list)
    is_index = path.name in (_TABLE_NAME, _INDEX_NAME)
    for row in _rows(path, ("file", "class")):
        file = path.parent / row["file"]
        if row["part"] not in ("", "train"):
            kept_back[row["part"]].append(row["file"])
            continue
        if not file.is_file():
            name = row["file"] or f"row {row.number}"
            skipped.append(Skipped(name, "in the table, but there is no such file"))
            continue
        slices.append(
            Slice(
                path=file,
                name=row["file"],
                label=row.label(),
                source=path.resolve().parent.name if is_index else path.stem,
                group=row["group"] or row["patient"],
                cluster=row["twin_cluster"],
                split=row.split(),
                fold=row.whole("fold"),
                mask=path.parent / row["mask"] if row["mask"] else None,
                sequence=row["sequence"],
                plane=row["plane"].lower(),
                hospital=row["site"] or row["hospital"],
            )
        )
    for part, files in kept_back.items():
        others = f", as are {len(files) - 1:,} others" if len(files) > 1 else ""
        skipped.append(Skipped(files[0], f"of part '{part}', which is not for training{others}"))
    return Catalogue(tuple(slices), tuple(skipped))


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
            raise self._error(str(error)) from None

    def split(self) -> Split:
        text = self["split"]
        if text and text.lower() not in _SPLIT_FOLDERS:
            raise self._error(f"split is '{text}', not train or test")
        return _SPLIT_FOLDERS[text.lower()] if text else ""

    def whole(self, column: str) -> int:
        text = self[column]
        if text and not text.isdecimal():
            raise self._error(f"{column} is '{text}', not a whole number")
        return int(text or 0)

    def _error(self, message: str) -> DataError:
        return DataError(f"{self.path}, row {self.number}: {message}")


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[_Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path}: the table has no column '{missing[0]}'")
            for row in reader:
                values = {name: (row[name] or "").strip() for name in row if name}
                yield _Row(path, reader.line_num, values)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV table in UTF-8 ({error})") from None


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    )
