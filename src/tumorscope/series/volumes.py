"""Parts slices of one plane into volumes in which each place stands once, in order."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tumorscope.images.listing import natural_key
from tumorscope.images.slice_header import SliceHeader

_Traits: TypeAlias = tuple[tuple[str, str], ...]

_SAME_PLACE: Final = 0.05
"""Slices that lie closer together, in mm along the normal, are at one place."""

_WHOLE_SHARE: Final = 0.5
"""What parts a stack into volumes leaves each, in the mean, more than this share of its places."""

_WEIGHTY: Final = frozenset(("temporal position", "echo", "echo time", "b-value", "image type"))
"""What parts slices even where their places are unknown."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Volume:
    """Neighbouring slices.

    Attributes:
        members: Which slices, in order, by their place among those given.
        positions: Where they lie along the normal, mm; None where one does not say.
        traits: What tells the volume from the others.
    """

    members: tuple[int, ...]
    positions: NDArray[np.float64] | None
    traits: _Traits


def split_volumes(headers: Sequence[SliceHeader]) -> list[Volume]:
    """Part slices of one plane into volumes, and put each in order along the body.

    Where a place stands several times, what differs there tells the volumes apart: temporal
    position, echo, b-value and so on; where nothing does, the first images at each place are one
    volume, the second another. Without positions, the instance numbers are the places, and without
    these the order given.

    Args:
        headers: What the files say, in the order of their instance numbers, else of their names.
    """
    heights = _heights(headers)
    if heights is not None and (len(headers) == 1 or _says_something(headers, heights)):
        parts = _parts(headers, heights, list(range(len(headers))), ())
        order: Sequence[float] = heights
    else:
        order, heights = _numbered(headers), None
        parts = [
            volume
            for traits, members in _by_weight(headers)
            for volume in _parts(headers, order, members, traits)
        ]
    volumes = []
    for traits, part in parts:
        members = tuple(sorted(part, key=order.__getitem__))
        positions = None if heights is None else np.array([heights[index] for index in members])
        volumes.append(Volume(members=members, positions=positions, traits=traits))
    return volumes


def name_order(header: SliceHeader) -> tuple[Any, ...]:
    """Return what slices are sorted by where only their names say an order: 2 before 10."""
    name = os.path.basename(header.file)  # noqa: PTH119  (names of uploads are no paths)
    frame = -1 if header.frame is None else header.frame
    return natural_key(name), frame, header.file, header.upload


def normal_of(header: SliceHeader) -> NDArray[np.float64] | None:
    """Return a slice's normal, towards the side where its longest part is positive."""
    if header.orientation is None:
        return None
    normal = np.cross(header.orientation[:3], header.orientation[3:])
    normal = normal / np.linalg.norm(normal)
    return np.asarray(normal if normal[np.argmax(abs(normal))] > 0 else -normal)


def _heights(headers: Sequence[SliceHeader]) -> list[float] | None:
    """Return where slices lie along their normal, the same number for one place; None if unsaid."""
    known = [header.position for header in headers if header.position is not None]
    if not known:
        return _locations(headers)
    if len(known) < len(headers):
        return None
    positions = np.array(known)
    normals = [normal for normal in map(normal_of, headers) if normal is not None]
    normal = normals[0] if normals else np.eye(3)[int(np.argmax(np.ptp(positions, axis=0)))]
    return _as_places(positions @ normal)


def _locations(headers: Sequence[SliceHeader]) -> list[float] | None:
    """Return the places along the stack that older files say instead; None if one does not."""
    known = [header.location for header in headers if header.location is not None]
    return _as_places(np.array(known)) if len(known) == len(headers) else None


def _as_places(heights: NDArray[np.float64]) -> list[float]:
    """Return heights, those of one place as the same number."""
    order = np.argsort(heights, kind="stable")
    place = float(heights[order[0]])
    for index in order.tolist():
        if heights[index] - place > _SAME_PLACE:
            place = float(heights[index])
        heights[index] = place
    return [float(height) for height in heights]


def _says_something(headers: Sequence[SliceHeader], heights: Sequence[float]) -> bool:
    """Tell whether positions can be believed: some files give one and the same to all slices."""
    return len(set(heights)) > 1 or any(
        len({_value(header, name) for header in headers}) > 1 for name in _WEIGHTY
    )


def _numbered(headers: Sequence[SliceHeader]) -> list[float]:
    """Return the places of slices by their instance and frame numbers, else by their names."""
    keys: list[Any] = [(header.instance, header.frame or 0) for header in headers]
    one_file = len({(header.file, header.upload) for header in headers}) == 1
    numbered = one_file or all(header.instance is not None for header in headers)
    if not numbered or len(set(keys)) == 1:
        keys = [name_order(header) for header in headers]
    ranks = {key: float(rank) for rank, key in enumerate(sorted(set(keys)))}
    return [ranks[key] for key in keys]


def _by_weight(headers: Sequence[SliceHeader]) -> list[tuple[_Traits, list[int]]]:
    """Part slices whose places are unknown by what weighs most, where the parts are alike."""
    parts: list[tuple[_Traits, list[int]]] = [((), list(range(len(headers))))]
    for name in (name for name, _ in headers[0].attributes if name in _WEIGHTY):
        parts = [
            (traits + trait, members)
            for traits, whole in parts
            for trait, members in _alike(name, _by_value(headers, name, whole), whole)
        ]
    return parts


def _alike(
    name: str, values: dict[str, list[int]], whole: list[int]
) -> list[tuple[_Traits, list[int]]]:
    sizes = [len(members) for members in values.values()]
    if len(sizes) == 1 or min(sizes) < 2 or max(sizes) > 2 * min(sizes):
        return [((), whole)]
    return [(((name, value),), members) for value, members in values.items()]


def _by_value(
    headers: Sequence[SliceHeader], name: str, members: Sequence[int]
) -> dict[str, list[int]]:
    """Return which slices have each value of an attribute, the values in order."""
    values: dict[str, list[int]] = {}
    for index in members:
        values.setdefault(_value(headers[index], name), []).append(index)
    return {value: values[value] for value in sorted(values, key=natural_key)}


def _value(header: SliceHeader, name: str) -> str:
    return next((value for known, value in header.attributes if known == name), "")


def _parts(
    headers: Sequence[SliceHeader], places: Sequence[float], members: list[int], traits: _Traits
) -> list[tuple[_Traits, list[int]]]:
    """Part slices until no place stands twice, by the weightiest attribute that differs there."""
    by_place: dict[float, list[int]] = {}
    for index in members:
        by_place.setdefault(places[index], []).append(index)
    if len(by_place) == len(members):
        return [(traits, members)]
    for name, _ in headers[members[0]].attributes:
        if not any(len(_by_value(headers, name, here)) > 1 for here in by_place.values()):
            continue
        values = _by_value(headers, name, members)
        covered = sum(len({places[index] for index in part}) for part in values.values())
        if covered > _WHOLE_SHARE * len(values) * len(by_place):
            return [
                volume
                for value, part in values.items()
                for volume in _parts(headers, places, part, (*traits, (name, value)))
            ]
    most = max(len(here) for here in by_place.values())
    return [
        (
            (*traits, ("repetition", str(rank + 1))),
            [here[rank] for here in by_place.values() if rank < len(here)],
        )
        for rank in range(most)
    ]
