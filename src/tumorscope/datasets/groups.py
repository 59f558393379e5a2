"""Puts near-duplicates, and the patients they belong to, in one group."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from scipy.cluster.hierarchy import DisjointSet

from tumorscope.datasets.catalogue import Catalogue, Skipped, Slice, slice_name
from tumorscope.datasets.pictures import read_picture
from tumorscope.errors import DataError
from tumorscope.images import UnreadableImageError
from tumorscope.near_duplicates.detection import (
    Descriptor,
    describe,
    find_near_duplicates,
    near_duplicate_clusters,
)
from tumorscope.parallel import map_ordered
from tumorscope.progress import Progress, silent


def group_near_duplicates(catalogue: Catalogue, *, progress: Progress = silent) -> Catalogue:
    """Put slices that show the same slice in one cluster and their groups in one group.

    Args:
        catalogue: Slices with or without groups.
        progress: Shows how far the reading is.

    Returns:
        The catalogue with a cluster and a group for every slice; new ones are called as the first
        slice in them by name, of the first set, whatever the order of a table's rows. Unreadable
        files are skipped. Groups are those of a data set: patient 1 of another is somebody else.

    Raises:
        DataError: No picture of some class can be read.
    """
    described = list(
        progress(
            map_ordered(_describe, catalogue.slices),
            total=len(catalogue),
            label="looking for near-duplicates",
        )
    )
    kept = [
        (item, found)
        for item, found in zip(catalogue.slices, described, strict=True)
        if not isinstance(found, str)
    ]
    skipped = [
        Skipped(item.name, found)
        for item, found in zip(catalogue.slices, described, strict=True)
        if isinstance(found, str)
    ]
    slices = [item for item, _ in kept]
    _check_classes(catalogue.slices, slices, skipped)
    numbers = near_duplicate_clusters(
        len(slices), find_near_duplicates([found for _, found in kept])
    )
    order = _by_name(slices)
    first: dict[int, str] = {}
    for place in order:
        first.setdefault(int(numbers[place]), slice_name(slices[place]))
    clusters = _join(slices, [first[int(number)] for number in numbers], "cluster", order)
    groups = _join(slices, clusters, "group", order)
    grouped = (
        replace(item, cluster=cluster, group=group)
        for item, cluster, group in zip(slices, clusters, groups, strict=True)
    )
    return replace(catalogue, slices=tuple(grouped), skipped=(*catalogue.skipped, *skipped))


def _describe(item: Slice) -> Descriptor | str:
    try:
        return describe(read_picture(item))
    except UnreadableImageError as error:
        return str(error).removeprefix(f"{item.path}: ")


def _check_classes(
    before: Sequence[Slice], after: Sequence[Slice], skipped: Sequence[Skipped]
) -> None:
    """Make sure that no class of a set vanishes because none of its pictures can be read."""
    present = {(item.source, item.label) for item in after}
    reasons = {item.name: item.reason for item in skipped}
    for item in before:
        if present and (item.source, item.label) not in present:
            raise DataError(
                f"{item.source}: no picture of class '{item.label}' can be read; the first, "
                f"{item.name}: {reasons[item.name]}"
            )


def patient_space(source: str) -> str:
    """Return whose numbers a data set's groups are: two sets may well number patients alike.

    Kaggle's patients are figshare's, and a folder in a set (`healthy_t1/volumes`) has the set's.
    """
    name = source.partition("/")[0]
    return "figshare" if name == "kaggle" else name


def _by_name(slices: Sequence[Slice]) -> list[int]:
    """Return the places of slices in the order of their names; the sets keep theirs."""
    sets = list(dict.fromkeys(item.source for item in slices))
    return sorted(range(len(slices)), key=lambda n: (sets.index(slices[n].source), slices[n].name))


def _join(slices: list[Slice], keys: list[str], attribute: str, order: list[int]) -> list[str]:
    """Unite what the slices' own attribute joins with what the keys join; name the unions.

    The first slice in the order that has a name gives it.
    """
    # A kind beside each name: keys, and names of several sets, may look alike.
    joined: DisjointSet[tuple[str, str]] = DisjointSet()
    spaces: defaultdict[str, set[str]] = defaultdict(set)
    names: dict[tuple[str, str], tuple[str, str]] = {}
    for item, key in zip(slices, keys, strict=True):
        joined.add(("key", key))
        name = getattr(item, attribute)
        if name:
            space = patient_space(item.source)
            spaces[name].add(space)
            joined.add((f"set {space}", name))
            joined.merge(("key", key), (f"set {space}", name))
    for place in order:
        item, key = slices[place], keys[place]
        if getattr(item, attribute):
            own = f"set {patient_space(item.source)}", getattr(item, attribute)
            names.setdefault(joined[("key", key)], own)

    def named(key: str) -> str:
        space, name = names.get(joined[("key", key)], ("", key))
        return f"{space.removeprefix('set ')}/{name}" if len(spaces[name]) > 1 else name

    return [named(key) for key in keys]
