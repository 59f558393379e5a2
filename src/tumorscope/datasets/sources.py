"""Reads data sets, whatever their layout, as catalogues of slices.

Known are the Kaggle, SARTAJ and Br35H sets (told by their file names), tables (`tables.py`) and
folders with one folder a class (`class_folders.py`).
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tumorscope.classes import ANY_TUMOUR, CLASSES
from tumorscope.datasets import manifest
from tumorscope.datasets.catalogue import Catalogue, Skipped, Slice
from tumorscope.datasets.class_folders import read_class_folders
from tumorscope.datasets.groups import group_near_duplicates
from tumorscope.datasets.locations import DataSource, with_splits
from tumorscope.datasets.pictures import VOLUME_ENDINGS, cut_volume
from tumorscope.datasets.tables import find_table, is_figshare_index, is_healthy_index, read_table
from tumorscope.errors import DataError
from tumorscope.images import PICTURE_SUFFIXES
from tumorscope.images.listing import Ignored, list_files, names_inside
from tumorscope.progress import Progress, silent

_SARTAJ: Final = re.compile(r"(gg|m\d?|p|image|no\.?) ?\(?\d+\)?\.jpg")
"""What SARTAJ's files are called, in small letters."""

_BR35H: Final = re.compile(r"y\d+\.jpe?g")
"""What the tumours of Br35H are called, in small letters."""


def read_data(
    sources: Sequence[DataSource | Path | str], *, progress: Progress = silent
) -> Catalogue:
    """Read one or more data sets as one catalogue.

    Slices whose group is not known, and slices of several sets, are compared with each other:
    near-duplicates are put in one group.

    Args:
        sources: Folders or CSV files, each a data set of its own.
        progress: Shows how far the reading is.

    Returns:
        The catalogue; every slice has a group.

    Raises:
        DataError: A path is missing, holds no picture, or holds one of unknown class.
    """
    return join_sets([read_set(source, progress=progress) for source in sources], progress=progress)


def read_set(
    source: DataSource | Path | str, *, strict: bool = True, progress: Progress = silent
) -> Catalogue:
    """Read one data set, as it is: some or all of its slices may have no group.

    Every file of a folder is a slice, an outline of one, skipped with a reason, or ignored.

    Args:
        source: A folder or a CSV file.
        strict: Whether pictures without a known class are refused; else they are labelled with
            the name of their folder.
        progress: Shows how far the reading is.

    Returns:
        The catalogue; all slices have one source.

    Raises:
        DataError: The path is missing, holds no picture, or holds one of unknown class.
    """
    source = DataSource.of(source)
    if not source.path.exists():
        raise DataError(f"{source.path}: no such folder or table; --data names a data set")
    if source.path.is_file():
        catalogue = _read_file(source)
    else:
        catalogue = _read_folder(source, strict=strict, progress=progress)
    if not catalogue.slices and catalogue.skipped:
        first = catalogue.skipped[0]
        raise DataError(
            f"{source.path}: none of its {len(catalogue.skipped):,} pictures can be used; "
            f"{first.name}: {first.reason}"
        )
    if not catalogue.slices:
        raise DataError(
            f"{source.path}: no picture found ({', '.join(PICTURE_SUFFIXES)}); a data set is a "
            f"folder with one folder a class ({', '.join(CLASSES)}), figshare's index.csv with "
            "images/, or a CSV table with the columns file and class"
        )
    return catalogue


def _read_file(source: DataSource) -> Catalogue:
    if source.path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        raise DataError(
            f"{source.path}: neither a folder nor a CSV table; unpack archives, and give the "
            "folder that pictures lie in"
        )
    return read_table(source.path, source.called)


def _read_folder(source: DataSource, *, strict: bool, progress: Progress) -> Catalogue:
    root = source.path
    listing = list_files(root)
    names = sorted(names_inside(root, listing.files))
    table = find_table(root)
    parent_index = root.resolve().parent / "index.csv"
    if table:
        named = source.name or ("figshare" if is_figshare_index(table) else source.called)
        catalogue = read_table(table, named)
        if is_healthy_index(table):
            volumes = [name for name in names if _only_volumes([name])]
            slices, skipped = _cut_volumes(catalogue, root, volumes, named)
            catalogue = replace(
                catalogue,
                slices=(*catalogue.slices, *slices),
                skipped=(*catalogue.skipped, *skipped),
            )
        catalogue = _with_rest(catalogue, root, names, table.name)
    elif _is_kaggle(root, names):
        catalogue = _read_kaggle(root, names, source.name or "kaggle", progress)
    elif _is_br35h(names):
        catalogue = _read_br35h(root, names, source.called)
    elif is_healthy_index(parent_index) and _only_volumes(names):
        catalogue = _read_healthy_volumes(root, names, source, parent_index)
    else:
        catalogue = read_class_folders(
            root,
            names,
            source.name or ("sartaj" if _is_sartaj(names) else source.called),
            patients=source.patients,
            strict=strict,
        )
    ignored = [
        Ignored(name, item.kind)
        for item in listing.ignored
        for name in names_inside(root, [item.path])
        if not table or name != table.name
    ]
    return replace(catalogue, ignored=tuple(ignored))


def _with_rest(catalogue: Catalogue, root: Path, names: Sequence[str], table: str) -> Catalogue:
    """Name the files of a folder that its table does not."""
    used = [path for item in catalogue.slices for path in (item.path, item.mask) if path]
    known = {path.relative_to(root).as_posix() for path in used if path.is_relative_to(root)}
    known |= {item.name for item in catalogue.skipped}
    skipped = [Skipped(name, f"not in {table}") for name in names if name not in known]
    return replace(catalogue, skipped=(*catalogue.skipped, *skipped))


def join_sets(parts: Sequence[Catalogue], *, progress: Progress = silent) -> Catalogue:
    """Make one catalogue of several data sets, in which near-duplicates have one group.

    Args:
        parts: What `read_set` returned.
        progress: Shows how far the comparing is.

    Returns:
        The catalogue; every slice has a group.

    Raises:
        DataError: Two sets have one name, or no picture of a class can be read.
    """
    sources = [part.slices[0].source for part in parts]
    for source in sources:
        if sources.count(source) > 1:
            raise DataError(
                f"two data sets are called '{source}': call one of them otherwise, "
                f"--data NAME=PATH, or give the folder that holds both"
            )
    joined = Catalogue(
        tuple(item for part in parts for item in part.slices),
        tuple(item for part in parts for item in part.skipped),
        tuple(item for part in parts for item in part.ignored),
        tuple(note for part in parts for note in part.notes),
    )
    known = all(part.grouped for part in parts) and all(item.group for item in joined.slices)
    if len(parts) > 1 or not known:
        joined = group_near_duplicates(joined, progress=progress)
    return joined


def _is_kaggle(root: Path, names: Sequence[str]) -> bool:
    """Tell the Kaggle set from other trees: most of its file names stand in the manifest."""
    known = manifest.kaggle_names()
    pictures = [name.rpartition("/")[2] for name in names if _is_picture(name)]
    found = sum(name in known for name in pictures)
    return found > len(pictures) / 2 and len(list(with_splits(root))) == 1


def _is_sartaj(names: Sequence[str]) -> bool:
    """Tell the SARTAJ set: its class folders in both parts, and its file names in most of them."""
    pictures = [name.lower() for name in names if _is_picture(name)]
    folders = {tuple(name.split("/")[-3:-1]) for name in pictures}
    known = sum(bool(_SARTAJ.fullmatch(name.rpartition("/")[2])) for name in pictures)
    parts = {"training", "testing"}
    return known > len(pictures) / 2 and {(part, "no_tumor") for part in parts} <= folders


def _is_br35h(names: Sequence[str]) -> bool:
    return bool(names) and all(_BR35H.fullmatch(name.lower()) for name in names)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURE_SUFFIXES)


def _only_volumes(names: Sequence[str]) -> bool:
    return bool(names) and all(name.lower().endswith(VOLUME_ENDINGS) for name in names)


def _read_br35h(root: Path, names: Sequence[str], source: str) -> Catalogue:
    slices = (Slice(path=root / name, name=name, label=ANY_TUMOUR, source=source) for name in names)
    note = f"{source}: called as Br35H's tumours are: all are taken as tumours of unknown kind"
    return Catalogue(tuple(slices), notes=(note,))


def _read_healthy_volumes(
    root: Path, names: Sequence[str], source: DataSource, index: Path
) -> Catalogue:
    """Read whole heads of people whom the index in the folder above lists, by their subject."""
    named = source.name or source.path.resolve().parent.name
    known = read_table(index, named)
    slices, skipped = _cut_volumes(known, root, names, f"{named}/{root.name}")
    return replace(known, slices=slices, skipped=skipped)


def _cut_volumes(
    known: Catalogue, root: Path, names: Sequence[str], source: str
) -> tuple[tuple[Slice, ...], tuple[Skipped, ...]]:
    """Return the slices of healthy people's volumes, `SUBJECT.nii.gz`, and what has none."""
    groups = {item.patient: item.group for item in known.slices}
    slices: list[Slice] = []
    skipped: list[Skipped] = []
    for name in names:
        subject = name.rpartition("/")[2].split(".")[0]
        volume = Slice(
            path=root / name,
            name=name,
            label="notumor",
            source=source,
            group=groups.get(subject, f"volumes/{subject}"),
            patient=subject,
            sequence="T1",
            hospital="volumes",
        )
        cut, why = cut_volume(volume)
        slices += cut
        skipped += why
    return tuple(slices), tuple(skipped)


def _read_kaggle(root: Path, names: Sequence[str], source: str, progress: Progress) -> Catalogue:
    match = manifest.match(root, progress=progress)
    masks = root.resolve().parent / "figshare" / "masks"
    slices = [
        Slice(
            path=path,
            name=row.file,
            label=row.label,
            source=source,
            group=row.group,
            patient=row.patient,
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
    inside = len(match.root.relative_to(root).as_posix().removeprefix(".") + "/")
    listed = {item.name for item in slices} | {item.name for item in skipped}
    listed |= {path.relative_to(match.root).as_posix() for path, _ in match.matched}
    skipped += [
        Skipped(name, "no picture of the manifest")
        for name in names
        if name not in listed and name[inside if inside > 1 else 0 :] not in listed
    ]
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
