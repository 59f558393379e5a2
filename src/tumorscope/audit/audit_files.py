"""A folder or a table comes in, its pictures with label, side of the split and group go out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tumorscope.classes import class_name
from tumorscope.datasets.catalogue import Skipped
from tumorscope.datasets.sources import read_set
from tumorscope.errors import DataError
from tumorscope.images import PICTURE_SUFFIXES

SPLIT_NAMES: Final = frozenset(
    {"train", "training", "test", "testing", "val", "valid", "validation"}
)
"""Folders that are a side of a split, in small letters."""


@dataclass(frozen=True, kw_only=True)
class ListedFile:
    """A picture and what its place or its table says about it.

    Attributes:
        path: The file.
        name: Its name inside the folder, with `/`.
        label: One of `CLASSES`, or the folder's name where that is no known class, or empty.
        split: Its side of the split, or empty.
        group: Its patient, where a table tells it, or empty.
    """

    path: Path
    name: str
    label: str
    split: str
    group: str


def list_files(place: Path) -> tuple[list[ListedFile], list[Skipped]]:
    """List the pictures of a data set, whatever its folders are called.

    Args:
        place: A table (`.csv`), a folder with `slices.csv`, figshare's folder, or any folder with
            pictures at any depth. There, the nearest folder round a picture that names a class is
            its label, and a folder on top named `train`, `Testing`… its side of the split.

    Returns:
        The pictures by name, and the files that a table names but that are not there.

    Raises:
        DataError: The place is missing, or its table cannot be used.
    """
    if _has_table(place):
        catalogue = read_set(place)
        listed = [
            ListedFile(
                path=item.path,
                name=item.name,
                label=item.label,
                split=item.split,
                group=item.group,
            )
            for item in catalogue.slices
        ]
        return listed, list(catalogue.skipped)
    if not place.is_dir():
        raise DataError(f"{place}: no such folder; give one with pictures in it")
    paths = sorted(
        path
        for path in place.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    )
    listed = [
        ListedFile(
            path=path,
            name=path.relative_to(place).as_posix(),
            label=_label(path.relative_to(place).parts[:-1]),
            split=_split(place, path),
            group="",
        )
        for path in paths
    ]
    return listed, []


def _has_table(place: Path) -> bool:
    if place.is_file():
        return True
    figshare = (place / "index.csv").is_file() and (place / "images").is_dir()
    return figshare or (place / "slices.csv").is_file()


def _label(folders: tuple[str, ...]) -> str:
    """Return the class that the nearest folder names, else the nearest folder's own name."""
    for name in reversed(folders):
        try:
            return class_name(name)
        except DataError:
            continue
    return folders[-1] if folders and folders[-1].lower() not in SPLIT_NAMES else ""


def _split(place: Path, path: Path) -> str:
    """Return the folder on top, or the whole place, if it is called like a side of a split."""
    for name in (path.relative_to(place).parts[0], place.name):
        if name.lower() in SPLIT_NAMES:
            return name
    return ""
