"""Folders of pictures come in, what is wrong with them as a data set goes out.

Found are unreadable files, twins (copies, mirrored, turned and contrast-changed pictures of one
slice), twins on both sides of a split, one slice under two labels, the class balance, and how well
file facts alone predict the class.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Final

from tumorscope.classes import CLASSES, class_name
from tumorscope.data.catalogue import Skipped
from tumorscope.data.file_facts import FileFacts, file_facts, odd_files
from tumorscope.data.shortcuts import Shortcut, find_shortcuts
from tumorscope.data.threads import in_threads
from tumorscope.data.twins import (
    KINDS,
    Descriptor,
    TwinPair,
    describe,
    find_twins,
    twin_clusters,
)
from tumorscope.errors import DataError
from tumorscope.images import PICTURE_SUFFIXES, UnreadableImageError, read_slice
from tumorscope.progress import Progress, silent

SPLIT_NAMES: Final = frozenset(
    {"train", "training", "test", "testing", "val", "valid", "validation"}
)
"""Folders that are a side of a split, in small letters."""


@dataclass(frozen=True, kw_only=True)
class AuditedFile:
    """A picture that was read.

    Attributes:
        path: The file.
        name: Its name inside the folder that was audited, with `/`.
        label: One of `CLASSES`, or the folder's name where that is no known class, or empty.
        split: Name of the folder that is its side of the split (`Training`), or empty.
        cluster: Number of its twin cluster; files with the same one show the same slice.
        facts: What the file tells without looking at the brain.
    """

    path: Path
    name: str
    label: str
    split: str
    cluster: int
    facts: FileFacts


@dataclass(frozen=True)
class BalanceRow:
    """How many files, and how many different slices, one side of the split has of a class."""

    split: str
    label: str
    files: int
    slices: int


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found.

    Attributes:
        folders: What was audited.
        files: The pictures that were read, by name.
        unreadable: The files that were not, and why.
        pairs: All pairs of files that show the same slice; positions in `files`.
        odd: Reasons, by position in `files`, why a file looks unlike the rest.
        shortcuts: How well file facts predict the class, all together first; empty where there
            are too few classes.
        notes: What the reader must know about how the folder was read.
    """

    folders: tuple[Path, ...]
    files: tuple[AuditedFile, ...]
    unreadable: tuple[Skipped, ...]
    pairs: tuple[TwinPair, ...]
    odd: dict[int, str]
    shortcuts: tuple[Shortcut, ...]
    notes: tuple[str, ...]

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The sides of the split, empty when there are fewer than two."""
        names = tuple(sorted({item.split for item in self.files if item.split}))
        return names if len(names) > 1 else ()

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels, known classes first."""
        present = {item.label for item in self.files if item.label}
        return tuple(sorted(present, key=lambda name: (name not in CLASSES, name)))

    @cached_property
    def unique_slices(self) -> int:
        """The number of different slices."""
        return len({item.cluster for item in self.files})

    @cached_property
    def pairs_across_splits(self) -> tuple[TwinPair, ...]:
        """Twins on different sides of the split."""
        return self._differing(lambda item: item.split)

    @cached_property
    def label_conflicts(self) -> tuple[TwinPair, ...]:
        """Twins under different labels."""
        return self._differing(lambda item: item.label)

    def _differing(self, attribute: Callable[[AuditedFile], str]) -> tuple[TwinPair, ...]:
        """Return the pairs that have an attribute both, and not the same."""
        values = [attribute(item) for item in self.files]
        return tuple(
            pair
            for pair in self.pairs
            if values[pair.first]
            and values[pair.second]
            and values[pair.first] != values[pair.second]
        )

    def leaked(self, split: str) -> int:
        """Return how many files of one side show a slice that is on another side as well."""
        sides: defaultdict[int, set[str]] = defaultdict(set)
        for item in self.files:
            if item.split:
                sides[item.cluster].add(item.split)
        return sum(item.split == split and len(sides[item.cluster]) > 1 for item in self.files)

    def balance(self) -> tuple[BalanceRow, ...]:
        """Count files and different slices of each class, on each side and in all (empty side)."""
        return tuple(
            BalanceRow(split, label, len(chosen), len({item.cluster for item in chosen}))
            for split in dict.fromkeys((*self.splits, ""))
            for label in self.labels
            if (
                chosen := [
                    item
                    for item in self.files
                    if item.label == label and (not split or item.split == split)
                ]
            )
        )

    def groups(self) -> Iterator[dict[str, str]]:
        """Return the rows of a table of groups: `file, class, twin_cluster, group`.

        The group is the twin cluster: patients cannot be seen in the pictures.
        """
        for item in self.files:
            yield {
                "file": item.name,
                "class": item.label,
                "twin_cluster": str(item.cluster),
                "group": f"twins-{item.cluster}",
            }

    def as_dict(self) -> dict[str, object]:
        """Return everything as plain values for JSON."""
        return {
            "files": len(self.files),
            "unique_slices": self.unique_slices,
            "unreadable": [asdict(item) for item in self.unreadable],
            "twins": {kind: sum(pair.kind == kind for pair in self.pairs) for kind in KINDS},
            "across_splits": {
                name: {
                    "files": sum(item.split == name for item in self.files),
                    "leaked": self.leaked(name),
                }
                for name in self.splits
            },
            "balance": [asdict(row) for row in self.balance()],
            "shortcuts": [asdict(item) for item in self.shortcuts],
            "odd": [
                {"name": self.files[place].name, "reason": reason}
                for place, reason in self.odd.items()
            ],
            "label_conflicts": [self._pair(pair) for pair in self.label_conflicts],
            "notes": list(self.notes),
            "pairs": [self._pair(pair) for pair in self.pairs],
        }

    def _pair(self, pair: TwinPair) -> dict[str, object]:
        return {
            "first": self.files[pair.first].name,
            "second": self.files[pair.second].name,
            "kind": pair.kind,
            "similarity": round(pair.similarity, 3),
        }


def audit(folders: Sequence[Path], *, progress: Progress = silent) -> Audit:
    """Audit folders of pictures as one data set.

    Args:
        folders: Folders with pictures at any depth. A folder round a picture that names a class
            is its label; a folder on top named `train`, `Testing`… is its side of the split.
        progress: Shows how far the reading and comparing are.

    Returns:
        What was found.

    Raises:
        DataError: A folder is missing, or there is no picture that can be read.
    """
    found = [(folder, path) for folder in folders for path in _pictures(folder)]
    if not found:
        where = ", ".join(map(str, folders))
        raise DataError(f"{where}: no pictures ({', '.join(PICTURE_SUFFIXES)}) in it")
    paths = [path for _, path in found]
    answers = list(in_threads(_read, paths, total=len(paths), progress=progress, label="reading"))
    read: list[tuple[Path, Path, Descriptor, FileFacts]] = []
    unreadable: list[Skipped] = []
    several = len(folders) > 1
    for (folder, path), answer in zip(found, answers, strict=True):
        if isinstance(answer, str):
            reason = answer.removeprefix(f"{path}: ")
            unreadable.append(Skipped(_name(folder, path, several=several), reason))
        else:
            read.append((folder, path, *answer))
    if not read:
        raise DataError(
            f"none of {len(found)} pictures can be read, the first because: {answers[0]}"
        )
    pairs = find_twins([descriptor for _, _, descriptor, _ in read], progress=progress)
    clusters = twin_clusters(len(read), pairs)
    files = tuple(
        AuditedFile(
            path=path,
            name=_name(folder, path, several=several),
            label=_label(folder, path),
            split=_split(folder, path),
            cluster=int(cluster),
            facts=facts,
        )
        for (folder, path, _, facts), cluster in zip(read, clusters, strict=True)
    )
    return Audit(
        folders=tuple(folders),
        files=files,
        unreadable=tuple(unreadable),
        pairs=tuple(pairs),
        odd=_odd([descriptor for _, _, descriptor, _ in read], files),
        shortcuts=_shortcuts(files),
        notes=tuple(_notes(files)),
    )


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give one with pictures in it")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    )


def _read(path: Path) -> tuple[Descriptor, FileFacts] | str:
    try:
        grey = read_slice(path)
        return describe(grey), file_facts(path, grey)
    except UnreadableImageError as error:
        return str(error)


def _name(folder: Path, path: Path, *, several: bool) -> str:
    return (path if several else path.relative_to(folder)).as_posix()


def _label(folder: Path, path: Path) -> str:
    """Return the class that the nearest folder names, else the nearest folder's own name."""
    names = path.relative_to(folder).parts[:-1]
    for name in reversed(names):
        try:
            return class_name(name)
        except DataError:
            continue
    return names[-1] if names and names[-1].lower() not in SPLIT_NAMES else ""


def _split(folder: Path, path: Path) -> str:
    for name in (path.relative_to(folder).parts[0], folder.name):
        if PurePath(name).name.lower() in SPLIT_NAMES:
            return name
    return ""


def _odd(descriptors: Sequence[Descriptor], files: Sequence[AuditedFile]) -> dict[int, str]:
    reasons = odd_files([item.facts for item in files])
    for place, descriptor in enumerate(descriptors):
        if not descriptor.form.any():
            reasons[place] = "nothing to see: one grey value all over"
    return dict(sorted(reasons.items()))


def _shortcuts(files: Sequence[AuditedFile]) -> tuple[Shortcut, ...]:
    labelled = [item for item in files if item.label]
    return find_shortcuts(
        [item.facts for item in labelled],
        [item.label for item in labelled],
        [item.cluster for item in labelled],
    )


def _notes(files: Sequence[AuditedFile]) -> Iterator[str]:
    unknown = sorted({item.label for item in files if item.label} - set(CLASSES))
    if unknown:
        yield (
            f"{', '.join(unknown)}: no class that tumorscope knows ({', '.join(CLASSES)}); "
            "audited under the folder's name"
        )
    without = sum(not item.label for item in files)
    if without:
        yield f"{without} files stand in no class folder: left out where classes are compared"
    if len({item.split for item in files if item.split}) < 2:
        yield "no split (folders such as Training and Testing on top): nothing to compare across"
