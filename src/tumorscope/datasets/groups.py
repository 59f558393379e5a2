"""A catalogue comes in, the same with twins put in one group goes out."""

from dataclasses import replace

from tumorscope.datasets.catalogue import Catalogue, Skipped, Slice, slice_name
from tumorscope.datasets.pictures import read_picture
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
        slice in them. Unreadable files are skipped.
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
    twins = near_duplicate_clusters(len(slices), find_near_duplicates([found for _, found in kept]))
    first: dict[int, str] = {}
    for item, number in zip(slices, twins, strict=True):
        first.setdefault(int(number), slice_name(item))
    clusters = _join(slices, [first[int(number)] for number in twins], "cluster")
    groups = _join(slices, clusters, "group")
    grouped = (
        replace(item, cluster=cluster, group=group)
        for item, cluster, group in zip(slices, clusters, groups, strict=True)
    )
    return Catalogue(tuple(grouped), catalogue.skipped + tuple(skipped))


def _describe(item: Slice) -> Descriptor | str:
    try:
        return describe(read_picture(item))
    except UnreadableImageError as error:
        return str(error)


def _join(slices: list[Slice], keys: list[str], attribute: str) -> list[str]:
    """Unite what the slices' own attribute joins with what the keys join; name the unions."""
    # Keys and the slices' own names may look alike and yet have nothing in common.
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(name: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for item, key in zip(slices, keys, strict=True):
        own = getattr(item, attribute)
        if own:
            parent[root(("key", key))] = root((attribute, own))
    return [root(("key", key))[1] for key in keys]
