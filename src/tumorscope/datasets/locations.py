"""Finds the folders of data sets: what `--data` names, a variable, or what was downloaded."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from tumorscope.datasets.catalogue import Split
from tumorscope.datasets.splits import protocol_named
from tumorscope.errors import DataError

DATA_VARIABLE: Final = "TUMORSCOPE_DATA"
"""The environment variable that names the folder of the data sets."""

SETS: Final = ("kaggle", "figshare", "sartaj")
"""The public data sets that `tumorscope download` fetches; each is a folder of this name."""

SPLIT_NAMES: Final[Mapping[str, Split]] = MappingProxyType(
    {
        "train": "train",
        "training": "train",
        "val": "validation",
        "valid": "validation",
        "validation": "validation",
        "test": "test",
        "testing": "test",
    }
)
"""What the parts of a split are called, in folders and in tables, in small letters."""

SPLIT_FOLDERS: Final = ("training", "testing")
"""Kaggle's names for the parts of the published split, in small letters."""


_HEALTHY_FOLDERS: Final = {"kaggle": "notumor", "sartaj": "no_tumor"}
"""The class folder whose published spelling tells the two sets with the same layout apart."""


@dataclass(frozen=True)
class DataSource:
    """A data set as it is named with `--data`: `PATH` or `NAME=PATH`.

    Attributes:
        path: A folder or a CSV table.
        name: What it is called; empty: as its folder.
        patients: Whether patients are taken from folder and file names.
    """

    path: Path
    name: str = ""
    patients: bool = True

    @classmethod
    def of(cls, given: "DataSource | Path | str") -> Self:
        """Return what a person or a program named.

        >>> DataSource.of("berlin=scans/2024").name
        'berlin'
        """
        if isinstance(given, cls):
            return given
        name, equals, path = str(given).partition("=")
        if not equals or not name or "/" in name or Path(str(given)).exists():
            return cls(Path(str(given)))
        return cls(Path(path), name)

    def __str__(self) -> str:
        path = str(self.path.resolve())
        return f"{self.name}={path}" if self.name else path

    @property
    def called(self) -> str:
        """The name: the given one, else that of the folder (of a table: that it lies in)."""
        folder = self.path.resolve()
        if self.path.is_file():
            folder = folder.parent
        # The parts of a set (`set/train`, `set/test`) are called as the set.
        return self.name or (folder.parent if folder.name.lower() in SPLIT_NAMES else folder).name


def default_folder() -> Path:
    """Return the user's own folder for downloaded data sets (it need not exist)."""
    from platformdirs import user_cache_path  # noqa: PLC0415  (a plain install has none)

    return user_cache_path("tumorscope", appauthor=False) / "data"


def find_data(given: Path | None) -> Path:
    """Return the folder that holds the data sets (or is one).

    Args:
        given: What the user named with `--data`, or None.

    Returns:
        `given`, else what TUMORSCOPE_DATA names, else the folder that `tumorscope download` fills.

    Raises:
        DataError: The folder named is missing, or none is named and nothing was downloaded.
    """
    named = os.environ.get(DATA_VARIABLE, "")
    if given is not None:
        return _existing(given, "--data")
    if named:
        return _existing(Path(named), DATA_VARIABLE)
    folder = default_folder()
    if not any((folder / name).is_dir() for name in SETS):
        raise DataError(
            f"no data set: name its folder with --data DIR, or with the variable {DATA_VARIABLE}, "
            "or fetch the public ones with 'tumorscope download'"
        )
    return folder


def find_set(root: Path, name: str) -> Path:
    """Return the folder of one of the public data sets.

    Args:
        root: The set itself, or the folder that holds it under its name.
        name: One of `SETS`.

    Returns:
        For `kaggle` and `sartaj` the folder with `Training` and `Testing`, for `figshare` the one
        with `index.csv`.

    Raises:
        DataError: The set is not there.
    """
    inner = root / name
    folder = inner if inner.is_dir() else root
    if name == "figshare":
        found = [folder] if (folder / "index.csv").is_file() else []
        sign = "index.csv"
    else:
        sign = _HEALTHY_FOLDERS[name]
        found = [place for place in with_splits(folder) if _has_class(place, sign)]
        sign = f"Training/{sign}"
    if len(found) != 1:
        count = "no" if not found else "more than one"
        raise DataError(
            f"{root}: {count} {name} set there (a folder with '{sign}'); name its folder, "
            f"or fetch it with 'tumorscope download {name}'; data of your own has "
            "--split grouped-folds or published-split"
        )
    return found[0]


def find_splits(folder: Path) -> Path:
    """Return the folder at or below `folder` that holds both `Training` and `Testing`.

    Raises:
        DataError: There is none, or there are several.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = list(with_splits(folder))
    if not found:
        raise DataError(f"{folder}: no folder with both 'Training' and 'Testing' in it")
    if len(found) > 1:
        raise DataError(
            f"{folder}: several data sets ({found[0].name}, {found[1].name}, ...): name one of them"
        )
    return found[0]


def with_splits(folder: Path) -> Iterator[Path]:
    """Yield the folders at or below `folder` that hold both `Training` and `Testing`."""
    for place, folders, _ in os.walk(folder):
        folders.sort()
        if set(SPLIT_FOLDERS) <= {name.casefold() for name in folders}:
            folders.clear()
            yield Path(place)


def _has_class(root: Path, name: str) -> bool:
    return any(
        inner.name.casefold() == name
        for split in root.iterdir()
        if split.name.casefold() in SPLIT_FOLDERS
        for inner in split.iterdir()
    )


def _existing(folder: Path, said: str) -> Path:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder (named by {said})")
    return folder


def noted(sources: Sequence[DataSource]) -> dict[str, object]:
    """Return data sources as a run or a search notes them in JSON."""
    return {
        "data": [str(source) for source in sources],
        "patients_from_names": all(source.patients for source in sources),
    }


def sources_from(notes: Mapping[str, Any]) -> list[DataSource]:
    """Return the data sources that `noted` wrote."""
    patients = bool(notes.get("patients_from_names", True))
    return [replace(DataSource.of(text), patients=patients) for text in notes["data"]]


def data_sources(given: Sequence[DataSource | Path | str], split: str) -> list[DataSource]:
    """Return the data sets that a split is made from.

    Args:
        given: What `--data` named; nothing: see `find_data`.
        split: The protocol; the set it is for is looked for in each folder named.

    Raises:
        DataError: The protocol is unknown, nothing is named and nothing was downloaded, or the set
            is not there.
    """
    source = protocol_named(split).source
    roots = [DataSource.of(item) for item in given] or [DataSource(find_data(None))]
    if not source:
        return roots
    if len(roots) == 1:
        return [replace(roots[0], path=find_set(find_data(roots[0].path), source))]
    for number, root in enumerate(roots):
        try:
            own = find_set(find_data(root.path), source)
        except DataError:
            continue
        return [replace(root, path=own), *roots[:number], *roots[number + 1 :]]
    raise DataError(f"{split} needs the {source} set, which none of the --data folders holds")
