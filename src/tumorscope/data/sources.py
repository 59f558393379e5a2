"""Folders and tables come in, a catalogue of their slices goes out.

Four layouts are known: the Kaggle set (told by its file names, checked against the manifest),
figshare's index with outlines, a tree with one folder a class, and a CSV table.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from tumorscope.classes import CLASSES, class_name
from tumorscope.data import manifest
from tumorscope.data.catalogue import Catalogue, Skipped, Slice, Split
from tumorscope.data.grouping import group_by_twins
from tumorscope.errors import DataError
from tumorscope.images import PICTURE_SUFFIXES
from tumorscope.progress import Progress, silent

_SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
}
_TABLE_NAME = "slices.csv"


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
    parts = [_read_one(path, progress) for path in paths]
    sources = [part.slices[0].source for part in parts]
    for source in sources:
        if sources.count(source) > 1:
            raise DataError(f"two data sets are called '{source}': rename one of the folders")
    joined = Catalogue(
        tuple(item for part in parts for item in part.slices),
        tuple(item for part in parts for item in part.skipped),
    )
    if len(parts) > 1 or any(not item.group for item in joined.slices):
        joined = group_by_twins(joined, progress=progress)
    return joined


def _read_one(path: Path, progress: Progress) -> Catalogue:
    if not path.exists():
        raise DataError(f"{path}: no such folder or table; --data names a data set")
    if path.is_file():
        catalogue = _read_table(path)
    elif (path / _TABLE_NAME).is_file():
        catalogue = _read_table(path / _TABLE_NAME)
    elif (path / "index.csv").is_file() and (path / "images").is_dir():
        catalogue = _read_figshare(path)
    elif _is_kaggle(path):
        catalogue = _read_kaggle(path, progress)
    else:
        catalogue = _read_class_folders(path)
    if not catalogue.slices:
        raise DataError(
            f"{path}: no JPEG or PNG picture found; a data set is a folder with one folder a class "
            f"({', '.join(CLASSES)}), figshare's index.csv with images/, or a CSV table"
        )
    return catalogue


def _is_kaggle(folder: Path) -> bool:
    """Tell the Kaggle set from other trees: most of its file names stand in the manifest."""
    known = {Path(file).name for file in manifest.kaggle_manifest()}
    names = [path.name for path in _pictures(folder)]
    return bool(names) and sum(name in known for name in names) > len(names) / 2


def _read_kaggle(folder: Path, progress: Progress) -> Catalogue:
    match = manifest.match(folder, progress=progress)
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
        )
        for path, row in match.matched
    ]
    skipped = [Skipped(str(name), "not in the manifest of version 1") for name in match.unknown]
    skipped += [
        Skipped(str(name), "another picture than the manifest's of this name")
        for name in match.different
    ]
    skipped += [Skipped(item.name, item.reason) for item in match.unreadable]
    return Catalogue(tuple(slices), tuple(skipped))


def _read_figshare(folder: Path) -> Catalogue:
    slices, skipped = [], []
    for number, row in _rows(folder / "index.csv", ("index", "class", "patient", "fold")):
        name = f"images/{_whole(row['index'], 'index', number):04d}.jpg"
        if not (folder / name).is_file():
            skipped.append(Skipped(name, "in the index, but there is no such file"))
            continue
        mask = folder / "masks" / f"{int(row['index']):04d}.png"
        slices.append(
            Slice(
                path=folder / name,
                name=name,
                label=class_name(row["class"]),
                source="figshare",
                group=row.get("patient_prefix") or row["patient"],
                cluster=f"figshare-{row['index']}",
                fold=_whole(row["fold"], "fold", number),
                mask=mask if mask.is_file() else None,
            )
        )
    return Catalogue(tuple(slices), tuple(skipped))


def _read_class_folders(folder: Path) -> Catalogue:
    slices = []
    for path in _pictures(folder):
        parts = path.relative_to(folder).parts
        if len(parts) < 2:
            raise DataError(f"{path}: stands in no class folder ({', '.join(CLASSES)})")
        slices.append(
            Slice(
                path=path,
                name="/".join(parts),
                label=class_name(parts[-2]),
                source=_tree_name(folder, parts[-2]),
                split=_SPLIT_FOLDERS.get(parts[0].lower(), "") if len(parts) > 2 else "",
            )
        )
    return Catalogue(tuple(slices))


def _tree_name(folder: Path, class_folder: str) -> str:
    """Tell the SARTAJ set by its class folders; other trees are called as their folder."""
    return "sartaj" if class_folder.endswith("_tumor") else folder.resolve().name


def _read_table(path: Path) -> Catalogue:
    slices, skipped = [], []
    for number, row in _rows(path, ("file", "class")):
        file = path.parent / row["file"]
        if not file.is_file():
            skipped.append(Skipped(row["file"], "in the table, but there is no such file"))
            continue
        split = row.get("split") or ""
        if split and split.lower() not in _SPLIT_FOLDERS:
            raise DataError(f"{path}: row {number}: split is '{split}', not train or test")
        slices.append(
            Slice(
                path=file,
                name=row["file"],
                label=class_name(row["class"]),
                source=path.resolve().parent.name if path.name == _TABLE_NAME else path.stem,
                group=row.get("group") or row.get("patient") or "",
                cluster=row.get("twin_cluster") or "",
                split=_SPLIT_FOLDERS[split.lower()] if split else "",
                fold=_whole(row.get("fold") or "0", "fold", number),
                mask=path.parent / row["mask"] if row.get("mask") else None,
            )
        )
    return Catalogue(tuple(slices), tuple(skipped))


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path}: the table has no column '{missing[0]}'")
            for number, row in enumerate(reader, start=2):
                yield number, {name: (row[name] or "").strip() for name in row if name}
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a CSV table in UTF-8") from None


def _whole(text: str, column: str, number: int) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"row {number}: {column} is '{text}', not a whole number") from None


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    )
