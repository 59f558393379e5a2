"""Describes a data set: a `Slice` for each picture, a `Catalogue` of all of them."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from tumorscope.classes import ANY_TUMOUR, CLASSES
from tumorscope.errors import DataError
from tumorscope.images.listing import Ignored
from tumorscope.parallel import map_ordered

Split = Literal["train", "validation", "test", ""]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One picture of a data set and what is known about it.

    Attributes:
        path: The file: a picture, or a NIfTI volume that the slice is cut from.
        number: The slice's number in a volume, across `plane`, from 0; None for a picture.
        name: The file's name inside its data set (`Training/glioma/Tr-gl_0010.jpg`), with `/`.
        label: One of `CLASSES`, or `ANY_TUMOUR`.
        source: The data set: `kaggle`, `figshare`, `sartaj`, or the name of the folder or table.
        group: Patient where known, else near-duplicate cluster; empty where nothing is known
            yet. Nothing of one group may stand on both sides of a split.
        cluster: Pictures with the same one show the same slice (copies, mirrors, contrast
            changes); empty where nothing is known yet.
        patient: The patient's published ID, where the data set names it.
        split: The publisher's own split: `train`, `validation`, `test` or empty.
        fold: The publisher's fold, from 1; 0 where there is none.
        cvind: figshare's fold in the partition of published results; 0 for other sets.
        mask: The tumour's outline (0 and 255, same pixels as the picture), where there is one.
        mirrored: Whether the mask must be mirrored left to right to fit the picture.
        doubt: Why the label is doubted; empty where it is not.
        sequence: The MR sequence as the data set calls it (`T1`, `T1c`, `FLAIR`…), else empty.
        plane: `axial`, `coronal` or `sagittal` where the data set says, else empty.
        hospital: Where it was acquired, as the data set calls it, else empty.
    """

    path: Path
    name: str
    label: str
    source: str
    number: int | None = None
    group: str = ""
    patient: str = ""
    cluster: str = ""
    split: Split = ""
    fold: int = 0
    cvind: int = 0
    mask: Path | None = None
    mirrored: bool = False
    doubt: str = ""
    sequence: str = ""
    plane: str = ""
    hospital: str = ""


def slice_name(item: Slice) -> str:
    """Return a name that is unique among all data sets: `kaggle/Training/glioma/Tr-gl_0010.jpg`."""
    return f"{item.source}/{item.name}"


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Catalogue:
    """The slices of one or more data sets, and what became of all other files.

    Attributes:
        slices: In the order of their sources and names.
        skipped: Files that could not be used.
        ignored: Files of kinds that hold no slices, by name.
        notes: What a person must know about how the sets were read, a sentence each.
        grouped: Whether the groups are known from the publisher, so that no near-duplicates need
            be looked for.
    """

    slices: tuple[Slice, ...]
    skipped: tuple[Skipped, ...] = field(default=())
    ignored: tuple[Ignored, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    grouped: bool = True

    def __len__(self) -> int:
        return len(self.slices)

    def where(self, condition: Callable[[Slice], bool]) -> "Catalogue":
        """Return the catalogue of the slices that fulfil a condition."""
        return replace(self, slices=tuple(item for item in self.slices if condition(item)))

    def counts(self) -> dict[str, int]:
        """Return the number of slices of each class, in the order of `CLASSES`."""
        counts = Counter(item.label for item in self.slices)
        return {name: counts[name] for name in (*CLASSES, ANY_TUMOUR) if counts[name]}

    def fingerprint(self) -> str:
        """Return a SHA-256 over names, labels, groups and file contents, in hexadecimal.

        The files are read once, the first time.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        paths = dict.fromkeys(item.path for item in self.slices)
        contents = dict(zip(paths, map_ordered(_digest, paths), strict=True))
        digest = hashlib.sha256()
        for item in sorted(self.slices, key=lambda item: (item.source, item.name)):
            words = f"{item.source}\0{item.name}\0{item.label}\0{item.group}\0"
            digest.update(words.encode(errors="surrogateescape"))
            digest.update(contents[item.path])
        return digest.hexdigest()


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def check_groups(parts: dict[str, Iterable[Slice]]) -> None:
    """Make sure that no group stands in two parts.

    Args:
        parts: Slices by the name of the part (`train`, `test`, …).

    Raises:
        DataError: A group is in two parts, or a slice has none; the message names one.
    """
    seen: dict[str, str] = {}
    for part, slices in parts.items():
        for item in slices:
            if not item.group:
                raise DataError(f"{item.name} has no group, so it cannot be split by patient")
            other = seen.setdefault(item.group, part)
            if other != part:
                raise DataError(
                    f"group '{item.group}' stands in both {other} and {part} (see {item.name}): "
                    "put all of a patient's slices on one side"
                )
