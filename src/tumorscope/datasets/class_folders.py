"""Reads data sets that have a folder for each class."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tumorscope.classes import ANY_TUMOUR, CLASSES, class_name
from tumorscope.datasets.catalogue import Catalogue, Skipped, Slice, Split
from tumorscope.datasets.locations import SPLIT_NAMES
from tumorscope.datasets.masks import Masks, find_masks
from tumorscope.datasets.patients import Patients, find_patients
from tumorscope.datasets.pictures import DICOM_FILE, VOLUME_ENDINGS, cut_volume
from tumorscope.errors import DataError
from tumorscope.images import PICTURE_SUFFIXES
from tumorscope.images.dicom import is_dicom

_SHOWN: Final = 6
"""So many folder names are given as an example of what was seen."""


@dataclass(frozen=True)
class _Place:
    """What the folders round a file say.

    Attributes:
        label: The class; empty where no folder is called like one.
        below: The folders between the class's folder and the file.
        above: The folders round the class's folder.
        split: The side of the split, or empty.
    """

    label: str
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
    labels = {name: place.label or _folder_name(name) for name, place in places.items()}
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
    if strict:
        _check_classes(root, names, kept, skipped, where)
    notes = tuple(f"{source}: {note}" for note in (found.note, _about(masks)) if note)
    return Catalogue(tuple(kept), tuple(skipped), notes=notes, grouped=False)


def _places(root: Path, names: Iterable[str]) -> Callable[[str], _Place]:
    """Return what tells, by the name of a file, what the folders round it say."""
    folders = {name.rpartition("/")[0] for name in names}
    own = SPLIT_NAMES.get(root.resolve().name.lower(), "")
    paths = {tuple(folder.split("/")) for folder in folders if folder}
    labels = {
        parts[: depth + 1]: label
        for parts in paths
        for depth in range(len(parts))
        if (label := _class_of(parts[depth]))
    }
    # A folder that holds folders of classes is called after the data set, not after a class.
    holders = {parts[:depth] for parts in labels for depth in range(len(parts))}
    places = {"": _Place("", (), (), own)}
    for parts in paths:
        depth = max((n for n in range(1, len(parts) + 1) if parts[:n] in labels), default=0)
        label = labels.get(parts[:depth], "") if parts[:depth] not in holders else ""
        below, above = parts[depth:], parts[: max(0, depth - 1)]
        if label == ANY_TUMOUR and any(name.isalpha() and len(name) > 3 for name in _words(below)):
            label = ""  # brain_tumor/healthy_controls: the outer folder is the data set's
        sides = (SPLIT_NAMES[part.lower()] for part in parts if part.lower() in SPLIT_NAMES)
        places["/".join(parts)] = _Place(label, below, above, next(sides, own))
    return lambda name: places[name.rpartition("/")[0]]


def _words(folders: Sequence[str]) -> list[str]:
    """Return the folders' names that say what is in them: no number, no part, no plane."""
    plain = {*SPLIT_NAMES, "images", "image", "pictures", "slices", "axial", "coronal", "sagittal"}
    return [name.replace("_", "") for name in folders if name.lower() not in plain]


def _class_of(folder: str) -> str:
    try:
        return class_name(folder)
    except DataError:
        return ""


def _folder_name(name: str) -> str:
    """Return what a picture without a known class is labelled with: the folder that it is in."""
    folder = name.rpartition("/")[0].rpartition("/")[2]
    return "" if folder.lower() in SPLIT_NAMES else folder


def _cut(slices: Sequence[Slice]) -> tuple[list[Slice], list[Skipped]]:
    """Replace volumes by their slices; those of tumours, of which some show none, are left out."""
    kept: list[Slice] = []
    skipped: list[Skipped] = []
    for item in slices:
        if not item.name.lower().endswith(VOLUME_ENDINGS):
            kept.append(item)
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


def _about(masks: Masks) -> str:
    count = len(masks.outlines) + len(masks.unpaired)
    if not count:
        return ""
    return f"{count:,} masks beside the pictures; {len(masks.outlines):,} are used as outlines"


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
) -> None:
    """Make sure that no class vanishes because none of its files can be used."""
    present = {item.label for item in kept}
    reasons = {item.name: item.reason for item in skipped}
    lost: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        if where(name).label not in present and name in reasons:
            lost[where(name).label].append(name)
    for label, files in lost.items():
        if label and present:
            raise DataError(
                f"{root}: none of the {len(files):,} files of class {label} can be used; the "
                f"first, {files[0]}: {reasons[files[0]]}"
            )
    if not present or set(CLASSES) <= present:
        return
    full = {folder for name in names for folder in Path(name).parents}
    for folder in sorted(path for path in root.rglob("*") if path.is_dir()):
        label = _class_of(folder.name)
        if label in CLASSES and label not in present and folder.relative_to(root) not in full:
            raise DataError(
                f"{folder}: this folder of class {label} holds no picture; add some, or remove it"
            )
