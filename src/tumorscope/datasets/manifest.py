"""Knows each picture of the Kaggle set: its patient, near-duplicates, group and fold.

The manifest is a table inside the package with a row for each picture of version 1 of Kaggle's
"Brain Tumor MRI Dataset". A name alone proves nothing (version 2 uses the same names for other
pictures), so a row counts only where the perceptual hash of the picture agrees.
"""

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final, Literal

from tumorscope.classes import class_name
from tumorscope.datasets.catalogue import Skipped
from tumorscope.datasets.locations import SPLIT_FOLDERS, find_splits
from tumorscope.errors import DataError
from tumorscope.images import PICTURE_SUFFIXES, UnreadableImageError
from tumorscope.images.listing import list_files, names_inside
from tumorscope.near_duplicates.perceptual_hash import TOLERANCE, distance, hash_file
from tumorscope.parallel import map_ordered
from tumorscope.progress import Progress, silent

_SPLITS: Final[Mapping[str, Literal["train", "test"]]] = {"training": "train", "testing": "test"}


@dataclass(frozen=True)
class ManifestRow:
    """What is known about one picture of the Kaggle set.

    Attributes:
        file: The published name, `Training/glioma/Tr-gl_0010.jpg`.
        label: One of `CLASSES`, as published.
        official_split: Kaggle's own split.
        figshare_index: The figshare slice (1 to 3064) that the picture shows, where it is one.
        patient: The figshare patient; empty where unknown.
        mirrored: Whether it shows that slice mirrored left to right; None where unknown.
        twin_cluster: Pictures with the same one show the same slice.
        group: Patient prefix where known, else near-duplicate cluster; never to stand in two parts.
        fold: The project's own patient-wise fold, 1 to 5.
        label_doubt: Why the label is doubted; empty where it is not.
        hash: `perceptual_hash` of the picture.
    """

    file: str
    label: str
    official_split: Literal["train", "test"]
    figshare_index: int | None
    patient: str
    mirrored: bool | None
    twin_cluster: str
    group: str
    fold: int
    label_doubt: str
    hash: int


@dataclass(frozen=True)
class ManifestMatch:
    """How the pictures in a folder agree with the manifest.

    Attributes:
        root: The folder that holds `Training` and `Testing`; all names are relative to it.
        matched: Pictures that are what the manifest says, with their rows.
        unknown: Pictures whose names the manifest lacks.
        different: Pictures with a known name that show something else.
        missing: Files of the manifest that are not there.
        unreadable: Files with a known name that cannot be read, and why.
    """

    root: Path
    matched: tuple[tuple[Path, ManifestRow], ...]
    unknown: tuple[str, ...]
    different: tuple[str, ...]
    missing: tuple[str, ...]
    unreadable: tuple[Skipped, ...]


@functools.cache
def kaggle_manifest() -> Mapping[str, ManifestRow]:
    """Return the manifest of Kaggle's version 1, by the published file names."""
    table = resources.files("tumorscope.datasets") / "manifests" / "kaggle_v1.csv"
    rows = [_row(fields) for fields in csv.DictReader(table.read_text("utf-8").splitlines())]
    return MappingProxyType({row.file: row for row in rows})


@functools.cache
def kaggle_names() -> frozenset[str]:
    """Return the published file names without their folders."""
    return frozenset(file.rpartition("/")[2] for file in kaggle_manifest())


def match(folder: Path, *, progress: Progress = silent) -> ManifestMatch:
    """Compare the pictures in a folder with the manifest.

    Size, JPEG quality and colour mode of the pictures do not matter, nor do capitals in names and
    the spelling of class folders (`no_tumor`).

    Args:
        folder: The folder that holds `Training` and `Testing`, at any depth.
        progress: Shows how far the reading is.

    Returns:
        What matched and what did not, each in the order of the names.

    Raises:
        DataError: There is no such folder, or more than one.
    """
    root = find_splits(folder)
    rows = {_key(name): row for name, row in kaggle_manifest().items()}
    unknown: list[str] = []
    known: list[tuple[str, ManifestRow]] = []
    for name in _pictures(root):
        row = rows.get(_key(name))
        if row is None:
            unknown.append(name)
        else:
            known.append((name, row))
    matched, different, unreadable = _compare(root, known, progress)
    present = {row.file for _, row in known}
    return ManifestMatch(
        root=root,
        matched=tuple(matched),
        unknown=tuple(unknown),
        different=tuple(different),
        missing=tuple(name for name in kaggle_manifest() if name not in present),
        unreadable=tuple(unreadable),
    )


def _compare(
    root: Path, known: list[tuple[str, ManifestRow]], progress: Progress
) -> tuple[list[tuple[Path, ManifestRow]], list[str], list[Skipped]]:
    matched: list[tuple[Path, ManifestRow]] = []
    different: list[str] = []
    unreadable: list[Skipped] = []
    hashes = map_ordered(_hash_or_reason, [root / name for name, _ in known])
    seen = progress(zip(known, hashes, strict=True), total=len(known), label="checking")
    for (name, row), found in seen:
        if isinstance(found, str):
            unreadable.append(Skipped(name, found))
        elif distance(found, row.hash) > TOLERANCE:
            different.append(name)
        else:
            matched.append((root / name, row))
    return matched, different, unreadable


def _hash_or_reason(path: Path) -> int | str:
    try:
        return hash_file(path)
    except UnreadableImageError as error:
        return str(error)


def _pictures(root: Path) -> list[str]:
    """Return the names of all pictures in the two split folders."""
    return sorted(
        f"{split.name}/{name}"
        for split in root.iterdir()
        if split.name.casefold() in SPLIT_FOLDERS
        for name in names_inside(split, list_files(split).files)
        if name.lower().endswith(PICTURE_SUFFIXES)
    )


def _key(name: str) -> str:
    """Return a spelling in which capitals and the class folder's other names do not matter."""
    parts = PurePosixPath(name).parts
    try:
        label = class_name("/".join(parts[1:-1]))
    except DataError:
        return name
    return f"{parts[0]}/{label}/{parts[-1]}".casefold()


def _row(fields: dict[str, str]) -> ManifestRow:
    return ManifestRow(
        file=fields["file"],
        label=fields["class"],
        official_split=_SPLITS[fields["official_split"].casefold()],
        figshare_index=int(fields["figshare_index"]) if fields["figshare_index"] else None,
        patient=fields["patient"],
        mirrored=fields["mirrored"] == "1" if fields["mirrored"] else None,
        twin_cluster=fields["twin_cluster"],
        group=fields["group"],
        fold=int(fields["fold"]),
        label_doubt=fields["label_doubt"],
        hash=int(fields["hash"], 16),
    )
