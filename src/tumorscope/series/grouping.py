"""Groups slices into series, and each series into stacks of neighbours in their order."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tumorscope.images.slice_header import SliceHeader
from tumorscope.series.volumes import name_order, normal_of, split_volumes

_Key: TypeAlias = tuple[str, ...]

_SAME_PLANE: Final = 0.9995
"""Cosine between the normals of slices of one stack (1.8 degrees)."""

_PLANES: Final = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, eq=False, kw_only=True)
class Stack:
    """Slices that are neighbours: of one plane and one volume, each place once.

    Attributes:
        slices: Which slices, in their order along the body, by their place among those given.
        positions: Where they lie along the normal, mm; None where a file does not say.
        traits: What tells the stack from the others of the series: names and values.
    """

    slices: tuple[int, ...]
    positions: NDArray[np.float64] | None
    traits: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """The traits in words."""
        return ", ".join(
            value if name == "plane" else f"{name} {value or 'missing'}"
            for name, value in self.traits
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Series:
    """Slices that belong together.

    Attributes:
        name: What names the series: its UID, else its number; empty for a folder or a volume.
        stacks: The slices, where several planes or volumes are among them apart.
        copies: Slices that are left out because they stand among the others already.
    """

    name: str
    stacks: tuple[Stack, ...]
    copies: tuple[int, ...]

    @property
    def slices(self) -> tuple[int, ...]:
        """All slices but the copies, stack by stack."""
        return tuple(number for stack in self.stacks for number in stack.slices)


def group_series(headers: Sequence[SliceHeader]) -> list[Series]:
    """Put together the slices that belong together, and put them in order.

    Slices are of one series when Study and Series Instance UID say so; without them by patient,
    study and series number (a number alone not across folders that contradict one another);
    without these, and pictures, by folder. A volume's file is a series of its own. Nothing depends
    on the order in which the slices come.

    Args:
        headers: What the files say about the slices.

    Returns:
        The series, in the order in which each is met first.
    """
    groups: dict[_Key, list[int]] = {}
    for number, header in enumerate(headers):
        groups.setdefault(_series_key(header), []).append(number)
    return [
        _in_stacks(headers, members)
        for key, group in groups.items()
        for members in (_by_folder(headers, group) if _is_weak(key) else [group])
    ]


def is_grouped_by_folder(header: SliceHeader) -> bool:
    """Tell whether nothing but its folder says what a slice belongs to."""
    return _series_key(header)[0] == "folder"


def may_be_beside(header: SliceHeader, members: Sequence[SliceHeader]) -> bool:
    """Tell whether a slice of which no more is known than its header may be of a series.

    Args:
        header: What is known: no more than its folder, where even the header was damaged.
        members: The headers of the series' slices, one at least.
    """
    if members[0].is_volume or not is_grouped_by_folder(header):
        return _series_key(header) == _series_key(members[0])
    return _folder(header) in {_folder(member) for member in members}


def _series_key(header: SliceHeader) -> _Key:
    if header.is_volume:
        return "file", header.file, str(header.upload)
    if header.series:
        return "uid", header.study, header.series
    if header.numbers:
        return "number", *header.numbers
    if header.frame is not None:
        return "file", header.file, str(header.upload)
    return "folder", _folder(header)


def _is_weak(key: _Key) -> bool:
    """Tell whether a series number is all that there is: other patients' may be the same."""
    return key[0] == "number" and not any(key[1:-1])


def _by_folder(headers: Sequence[SliceHeader], members: list[int]) -> list[list[int]]:
    """Part slices by folder where two folders hold different slices at one place."""
    folders: dict[str, list[int]] = {}
    digests: dict[tuple[Any, ...], str] = {}
    clash = False
    for number in members:
        header = headers[number]
        folders.setdefault(_folder(header), []).append(number)
        places = (header.position, header.location, header.instance)
        place = (next((one for one in places if one is not None), None), header.attributes)
        clash |= digests.setdefault(place, header.digest) != header.digest
    return list(folders.values()) if clash else [members]


def _folder(header: SliceHeader) -> str:
    return os.path.dirname(header.file)  # noqa: PTH120  (names of uploads are no paths)


def _in_stacks(headers: Sequence[SliceHeader], members: list[int]) -> Series:
    kept: list[int] = []
    copies: list[int] = []
    known: set[Any] = set()
    for number in sorted(members, key=lambda member: _file_order(headers[member])):
        identity = _identity(headers[number])
        (copies if identity in known else kept).append(number)
        if headers[number].digest:
            known.add(identity)
    planes = _by_plane(headers, kept)
    stacks = []
    for plane, in_plane in planes:
        trait = (("plane", plane),) if len(planes) > 1 else ()
        for volume in split_volumes([headers[number] for number in in_plane]):
            slices = tuple(in_plane[index] for index in volume.members)
            stacks.append(
                Stack(slices=slices, positions=volume.positions, traits=trait + volume.traits)
            )
    first = headers[members[0]]
    name = first.series or (f"series {first.numbers[-1]}" if first.numbers else "")
    return Series(name=name, stacks=tuple(stacks), copies=tuple(sorted(copies)))


def _identity(header: SliceHeader) -> tuple[Any, ...]:
    """Return what copies of a slice have in common: pixels, place, and what tells volumes apart."""
    place: tuple[Any, ...] = (header.instance, header.frame, header.location)
    if header.position is not None:
        place = tuple(round(length, 2) for length in header.position)
    return header.digest, header.orientation, place, header.attributes


def _file_order(header: SliceHeader) -> tuple[Any, ...]:
    """Return what slices are sorted by before their places are known: names count last."""
    numbered = header.instance is not None
    return (
        not numbered,
        header.instance or 0,
        header.frame or 0,
        header.digest if numbered else "",
        *name_order(header),
    )


def _by_plane(headers: Sequence[SliceHeader], members: list[int]) -> list[tuple[str, list[int]]]:
    """Part slices by their orientation; those that have none stand with the others if they can."""
    normals = {number: normal_of(headers[number]) for number in members}
    centres: list[NDArray[np.float64]] = []
    known = [normal for normal in normals.values() if normal is not None]
    for candidate in sorted({tuple(normal.round(6).tolist()) for normal in known}):
        # (Halfway between two planes, rounding decides to which side a normal points.)
        if not any(abs(np.dot(candidate, centre)) > _SAME_PLANE for centre in centres):
            centres.append(np.array(candidate))
    parts: dict[int, list[int]] = {}
    for number in members:
        normal = normals[number]
        if normal is None:
            part = 0 if len(centres) == 1 else -1
        else:
            part = int(np.argmax([abs(np.dot(normal, centre)) for centre in centres]))
        parts.setdefault(part, []).append(number)
    return [
        (_PLANES[int(np.argmax(abs(centres[part])))] if part >= 0 else "unknown plane", parts[part])
        for part in sorted(parts)
    ]
