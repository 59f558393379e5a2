"""Reads data sets that have a folder for each class."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tumorscope.classes import ANY_TUMOUR, CLASSES, class_name
from tumorscope.datasets.catalogue import Catalogue, Skipped, Slice, Split
from tumorscope.datasets.locations import SPLIT_NAMES
from tumorscope.datasets.masks import Masks, find_masks, is_named_mask
from tumorscope.datasets.patients import (
    SAFE_FOLDERS,
    Patients,
    find_patients,
    is_patient,
    some,
)
from tumorscope.datasets.pictures import DICOM_FILE, VOLUME_ENDINGS, cut_volume
from tumorscope.errors import DataError
from tumorscope.images import PICTURE_SUFFIXES
from tumorscope.images.dicom import is_dicom
from tumorscope.images.listing import why_folder_ignored

_SHOWN: Final = 6
"""So many folder names are given as an example of what was seen."""


@dataclass(frozen=True)
class _Place:
    """What the folders round a file say.

    Attributes:
        label: The class; empty where no folder is called like one.
        folder: What a picture without a known class is labelled with: the folder that it is in,
            less those of a part of the split or a patient.
        below: The folders between the class's folder and the file.
        above: The folders round the class's folder.
        split: The side of the split, or empty.
    """

    label: str
    folder: str
    below: tuple[str, ...]
    above: tuple[str, ...]
    split: Split


def read_class_folders(
    root: Path, names: Sequence[str], source: str, *, patients: bool, strict: bool
) -> Catalogue:
    """Read a tree in which a folder round each picture is called like its class.

    The name of the root is never a class: it is what somebody called the data set.

    Args:
        root: The folder.
        names: Its files that may hold slices, relative to it, with `/`.
        source: What the data set is called.
        patients: Whether patients are taken from folder and file names.
        strict: Whether a picture without a known class is refused; else it is labelled with the
            name of its folder.

    Returns:
        The catalogue.

    Raises:
        DataError: Strict, and a picture stands in no class's folder, or of a class's folder no
            file can be used.
    """
    readable = [name for name in names if name.lower().endswith(PICTURE_SUFFIXES)]
    masks = find_masks(root, readable)
    volumes = [name for name in names if name.lower().endswith(VOLUME_ENDINGS)]
    where = _places(root, names)
    places = {name: where(name) for name in (*masks.pictures, *volumes)}
    unlabelled = [name for name, place in places.items() if not place.label]
    if unlabelled and strict:
        raise _no_class(root, unlabelled)
    labels = {name: place.label or place.folder for name, place in places.items()}
    found = Patients()
    if patients:
        found = find_patients(
            {name: place.below for name, place in places.items()},
            {name: place.above for name, place in places.items()},
            labels,
        )
    slices = [
        Slice(
            path=root / name,
            name=name,
            label=labels[name],
            source=source,
            group=found.of.get(name, ""),
            patient=found.of.get(name, ""),
            split=place.split,
            mask=root / masks.outlines[name] if name in masks.outlines else None,
        )
        for name, place in places.items()
    ]
    kept, skipped = _cut(slices)
    skipped += [Skipped(name, "a mask that belongs to no picture") for name in masks.unpaired]
    unknown = set(names).difference(readable, volumes)
    skipped += [Skipped(name, _why_unknown(root / name)) for name in sorted(unknown)]
    empty = _empty_folders(root, names)
    if strict:
        _check_classes(root, names, kept, skipped, where, empty)
    notes = tuple(f"{source}: {note}" for note in (*_about(masks, empty), *found.notes))
    return Catalogue(tuple(kept), tuple(skipped), notes=notes, grouped=False)


def _places(root: Path, names: Iterable[str]) -> Callable[[str], _Place]:
    """Return what tells, by the name of a file, what the folders round it say."""
    folders = {name.rpartition("/")[0] for name in names}
    own = SPLIT_NAMES.get(root.resolve().name.lower(), "")
    paths = {tuple(folder.split("/")) for folder in folders if folder}
    labels = _labels(paths)
    # A folder that holds folders of classes is called after the data set, not after a class.
    holders = {parts[:depth] for parts in labels for depth in range(len(parts))}
    shallowest = min(map(len, paths), default=1)
    differs = [len(set(level)) > 1 for level in zip(*paths, strict=False)]
    shared = min(shallowest - 1, [*differs, True].index(True))
    places = {"": _Place("", "", (), (), own)}
    for parts in paths:
        depth = max((n for n in range(1, len(parts) + 1) if parts[:n] in labels), default=0)
        label = labels.get(parts[:depth], "") if parts[:depth] not in holders else ""
        if label == ANY_TUMOUR and any(
            name.isalpha() and len(name) > 3 for name in _words(parts[depth:])
        ):
            label = ""  # brain_tumor/healthy_controls: the outer folder is the data set's
        if not label:
            depth = _unknown_class(parts, shared)
        below, above = parts[depth:], parts[: max(0, depth - 1)]
        sides = (SPLIT_NAMES[part.lower()] for part in parts if part.lower() in SPLIT_NAMES)
        folder = "".join(parts[depth - 1 : depth])
        places["/".join(parts)] = _Place(label, folder, below, above, next(sides, own))
    return lambda name: places[name.rpartition("/")[0]]


def _labels(paths: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Return the classes that folders are called like, by the folder.

    With a number in its name one is a class's (`0_glioma`) unless it stands in another class's or
    beside a second one of its class: those are patients (`glioma/glioma_001`).
    """
    folders = {parts[: depth + 1] for parts in paths for depth in range(len(parts))}
    labels = {parts: label for parts in folders if (label := _class_of(parts[-1]))}
    numbered = {parts for parts in labels if any(map(str.isdigit, parts[-1]))}
    beside = Counter((parts[:-1], labels[parts]) for parts in numbered)

    def is_class(parts: tuple[str, ...]) -> bool:
        round_ = {labels[outer] for n in range(1, len(parts)) if (outer := parts[:n]) in labels}
        own = labels[parts]
        return beside[parts[:-1], own] == 1 and round_ <= {ANY_TUMOUR} - {own}

    return {parts: own for parts, own in labels.items() if parts not in numbered or is_class(parts)}


def _unknown_class(parts: tuple[str, ...], shared: int) -> int:
    """Return how deep the folder stands that a picture without a known class is labelled with.

    Args:
        parts: The folders round the picture.
        shared: So many of them are round all pictures.
    """
    depths = [
        depth
        for depth, name in enumerate(parts, start=1)
        if depth > shared and name.lower() not in SAFE_FOLDERS
    ]
    named = [depth for depth in depths if not is_patient(parts[depth - 1])]
    return max(named, default=min(depths, default=0))


def _words(folders: Sequence[str]) -> list[str]:
    """Return the folders' names that say what is in them: no number, no part, no plane."""
    plain = {*SPLIT_NAMES, "images", "image", "pictures", "slices", "axial", "coronal", "sagittal"}
    return [name.replace("_", "") for name in folders if name.lower() not in plain]


def _class_of(folder: str) -> str:
    try:
        return class_name(folder)
    except DataError:
        return ""


def _cut(slices: Sequence[Slice]) -> tuple[list[Slice], list[Skipped]]:
    """Replace volumes by their slices; those of tumours, of which some show none, are left out."""
    kept: list[Slice] = []
    skipped: list[Skipped] = []
    for item in slices:
        if not item.name.lower().endswith(VOLUME_ENDINGS):
            kept.append(item)
        elif is_named_mask(item.name):
            skipped.append(Skipped(item.name, "a mask by its name, no head"))
        elif item.label != "notumor":
            reason = "a volume: which of its slices show the tumour is not known; give pictures"
            skipped.append(Skipped(item.name, reason))
        else:
            cut, why = cut_volume(item)
            kept += cut
            skipped += why
    return kept, skipped


def _why_unknown(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return "a link to nothing"
    if path.is_dir():
        return "a folder that cannot be listed"
    if is_dicom(path):
        return DICOM_FILE
    kind = path.suffix.lower() or "no ending"
    return f"not a kind of file that slices are read from here ({kind})"


def _about(masks: Masks, empty: Sequence[str]) -> Iterator[str]:
    count = len(masks.outlines) + len(masks.unpaired)
    if count:
        yield f"{count:,} masks beside the pictures; {len(masks.outlines):,} are used as outlines"
    if empty:
        yield f"class folders without a picture: {some(empty, _SHOWN)}"


def _empty_folders(root: Path, names: Iterable[str]) -> list[str]:
    """Return the folders called like a class in which no file may hold a slice."""
    full = {""}
    for folder in {name.rpartition("/")[0] for name in names}:
        while folder not in full:
            full.add(folder)
            folder = folder.rpartition("/")[0]  # noqa: PLW2901
    empty = []
    for place, folders, _ in os.walk(root):
        folders[:] = sorted(name for name in folders if not why_folder_ignored(name))
        here = [(Path(place) / name).relative_to(root).as_posix() for name in folders]
        empty += [folder for folder in here if folder not in full and _class_of(Path(folder).name)]
    return empty


def _no_class(root: Path, names: Sequence[str]) -> DataError:
    folders = Counter(name.rpartition("/")[0] or "the folder itself" for name in names)
    seen = ", ".join(f"{folder} ({count:,})" for folder, count in folders.most_common(_SHOWN))
    tables = sorted(path.name for path in root.glob("*.csv"))
    hint = (
        f"; if {tables[0]} tells the classes, give it: --data {root / tables[0]}" if tables else ""
    )
    return DataError(
        f"{root / names[0]}: stands in no folder called like a class ({', '.join(CLASSES)}); "
        f"pictures of unknown class: {seen}{hint}"
    )


def _check_classes(
    root: Path,
    names: Sequence[str],
    kept: Sequence[Slice],
    skipped: Sequence[Skipped],
    where: Callable[[str], _Place],
    empty: Sequence[str],
) -> None:
    """Make sure that no class vanishes because none of its files can be used."""
    present = {item.label for item in kept}
    reasons = {item.name: item.reason for item in skipped}
    lost: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        if name in reasons and where(name).label not in present:
            lost[where(name).label].append(name)
    for label, files in lost.items():
        if label and present:
            raise DataError(
                f"{root}: none of the {len(files):,} files of class {label} can be used; the "
                f"first, {files[0]}: {reasons[files[0]]}"
            )
    for folder in empty:
        label = _class_of(Path(folder).name)
        if present and label in CLASSES and label not in present:
            raise DataError(
                f"{root / folder}: this folder of class {label} holds no picture; add some, or "
                "remove it"
            )
