"""The outlines of a head, cut in three planes, as distance maps.

Coordinates are those of the head: x to the right, y downwards, the head about one unit round the
middle; a canvas covers `-EXTENT` to `EXTENT`. In axial and coronal slices left mirrors right, so
their outlines are drawn for the right half. In sagittal slices the face looks to the left.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Map = NDArray[np.floating[Any]]
Points = tuple[tuple[float, float], ...]

PLANES: Final = ("axial", "coronal", "sagittal")
CANVAS: Final = 256
"""Side of every map in pixels."""

EXTENT: Final = 1.3
"""Half the side of the canvas in head units."""

_COARSE: Final = 128
"""Side of the grid on which distances are measured before they are interpolated."""


@dataclass(frozen=True)
class Part:
    """A closed outline, or a line of some width, filled with one tissue.

    Attributes:
        tissue: Name of the tissue that fills it.
        points: Corners of a smooth outline, or points of a smooth line.
        width: Half the width of the line; 0 for a closed outline.
    """

    tissue: str
    points: Points
    width: float = 0.0


@dataclass(frozen=True)
class Plane:
    """The outlines of one plane.

    Attributes:
        skin: The head with face and neck.
        cavity: The inside of the skull.
        face: What lies outside the skull, from back to front.
        brain: What lies inside the brain, from back to front.
        sella: Where the pituitary sits.
        falx: The line of dura in the middle; empty where the slice lies along it.
        fold_depth: How far the folds reach into the brain.
        vault: Directions from the middle, in degrees clockwise from the right, in which the dura
            lies free of the skull base.
        upwards: 1 where up in the picture is up in the head, 0 where one looks along that axis.
        symmetric: Whether left mirrors right.
    """

    skin: Points
    cavity: Points
    face: tuple[Part, ...]
    brain: tuple[Part, ...]
    sella: tuple[float, float]
    falx: Points
    fold_depth: float
    vault: tuple[float, float]
    upwards: float
    symmetric: bool


@dataclass(frozen=True)
class Anatomy:
    """A plane as maps: signed distances in head units, negative inside, `[CANVAS, CANVAS]`."""

    plane: Plane
    skin: Map
    cavity: Map
    face: tuple[tuple[str, Map], ...]
    brain: tuple[tuple[str, Map], ...]
    falx: Map


def canvas_grid() -> tuple[Map, Map]:
    """Return x and y of every pixel of the canvas."""
    axis = _axis(CANVAS)
    x, y = np.meshgrid(axis, axis)
    return x, y


@cache
def anatomy(name: str) -> Anatomy:
    """Return the anatomy of one of `PLANES`.

    Raises:
        ValueError: The plane is unknown.
    """
    if name not in _BY_NAME:
        raise ValueError(f"unknown plane '{name}': the planes are {', '.join(PLANES)}")
    plane = _BY_NAME[name]
    x, y = np.meshgrid(_axis(_COARSE), _axis(_COARSE))
    if plane.symmetric:
        x = np.abs(x)

    def outline(points: Points) -> Map:
        return _to_canvas(_signed_distance(x, y, _closed(points, mirrored=plane.symmetric)))

    def part(item: Part) -> tuple[str, Map]:
        if item.width:
            return item.tissue, _to_canvas(_distance(x, y, _smooth(item.points)) - item.width)
        return item.tissue, _to_canvas(_signed_distance(x, y, _closed(item.points)))

    falx = _distance(x, y, _smooth(plane.falx)) if plane.falx else np.full_like(x, 9.0)
    return Anatomy(
        plane=plane,
        skin=outline(plane.skin),
        cavity=outline(plane.cavity),
        face=tuple(part(item) for item in plane.face),
        brain=tuple(part(item) for item in plane.brain),
        falx=_to_canvas(falx),
    )


def _axis(side: int) -> Map:
    return ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1) * np.float32(EXTENT)


def _to_canvas(coarse: Map) -> Map:
    picture = Image.fromarray(coarse).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.float32)


def _closed(points: Points, *, mirrored: bool = False) -> Map:
    """Return a smooth closed line; a half outline is completed by its mirror image."""
    corners = list(points)
    if mirrored:
        corners += [(-x, y) for x, y in reversed(points) if x > 0]
    ring = corners[-1:] + corners + corners[:2]
    return _spline(np.asarray(ring, dtype=np.float32))


def _smooth(points: Points) -> Map:
    """Return a smooth open line."""
    ends = (points[0], *points, points[-1])
    return _spline(np.asarray(ends, dtype=np.float32))


def _spline(points: Map, steps: int = 5) -> Map:
    """Return a Catmull-Rom spline through all points but the first and the last, `[n, 2]`."""
    before, start, end, after = points[:-3], points[1:-2], points[2:-1], points[3:]
    pieces = [
        0.5
        * (
            2 * start
            + (end - before) * t
            + (2 * before - 5 * start + 4 * end - after) * t**2
            + (3 * start - before - 3 * end + after) * t**3
        )
        for t in np.arange(steps, dtype=np.float32) / steps
    ]
    line = np.stack(pieces, axis=1).reshape(-1, 2)
    return np.concatenate([line, end[-1:]])


def _distance(x: Map, y: Map, line: Map) -> Map:
    """Return the distance of every pixel to a line of straight pieces."""
    nearest = np.full(x.shape, np.inf, dtype=np.float32)
    for (x0, y0), (x1, y1) in pairwise(line):
        dx, dy = x1 - x0, y1 - y0
        along = ((x - x0) * dx + (y - y0) * dy) / max(float(dx * dx + dy * dy), 1e-9)
        along = np.clip(along, 0, 1)
        np.minimum(nearest, (x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2, out=nearest)
    return np.sqrt(nearest)


def _signed_distance(x: Map, y: Map, ring: Map) -> Map:
    """Return the distance to a closed line, negative inside (even-odd rule)."""
    inside = np.zeros(x.shape, dtype=np.bool_)
    for (x0, y0), (x1, y1) in pairwise(ring):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    distance = _distance(x, y, ring)
    return np.where(inside, -distance, distance)


# One number a line would hide the shapes.
# fmt: off
_AXIAL = Plane(
    skin=((0.0, -0.97), (0.26, -0.94), (0.5, -0.8), (0.67, -0.54), (0.74, -0.22), (0.77, 0.1),
        (0.76, 0.36), (0.66, 0.68), (0.45, 0.9), (0.2, 0.98), (0.0, 0.99)),
    cavity=((0.0, -0.79), (0.22, -0.77), (0.4, -0.66), (0.52, -0.45), (0.58, -0.2), (0.61, 0.06),
        (0.61, 0.32), (0.53, 0.58), (0.36, 0.76), (0.14, 0.83), (0.0, 0.82)),
    face=(
        Part("air", ((0.0, -0.88), (0.1, -0.885), (0.13, -0.855), (0.06, -0.835), (0.0, -0.84))),
    ),
    brain=(
        Part("csf", ((0.61, -0.2), (0.48, -0.14), (0.36, -0.13), (0.24, -0.11),
            (0.12, -0.11)), 0.009),
        Part("csf", ((0.36, -0.13), (0.33, -0.22), (0.34, -0.32)), 0.01),
        Part("deep", ((0.13, -0.42), (0.2, -0.38), (0.2, -0.28), (0.14, -0.24), (0.1, -0.32))),
        Part("deep", ((0.24, -0.33), (0.29, -0.26), (0.28, -0.18), (0.22, -0.17), (0.21, -0.26))),
        Part("csf", ((0.02, -0.42), (0.08, -0.46), (0.1, -0.4), (0.07, -0.3), (0.02, -0.28))),
        Part("csf", ((0.0, -0.2), (0.04, -0.14), (0.13, -0.12), (0.11, -0.06), (0.1, 0.02),
            (0.05, -0.02), (0.0, 0.01), (-0.05, -0.02), (-0.04, -0.14))),
        Part("stem", ((0.0, 0.03), (0.06, 0.01), (0.14, 0.04), (0.17, 0.13), (0.13, 0.22),
            (0.07, 0.27), (0.0, 0.26), (-0.07, 0.27), (-0.07, 0.01))),
        Part("csf", ((0.0, 0.3), (0.07, 0.31), (0.15, 0.26), (0.2, 0.18), (0.19, 0.08)), 0.009),
        Part("csf", ((0.0, 0.205), (0.0, 0.215)), 0.016),
        Part("folia", ((0.0, 0.35), (0.1, 0.37), (0.22, 0.46), (0.29, 0.58), (0.2, 0.66),
            (0.0, 0.68), (-0.1, 0.6))),
        Part("csf", ((0.0, 0.34), (0.12, 0.355), (0.25, 0.46), (0.33, 0.6)), 0.009),
        Part("csf", ((0.36, 0.1), (0.39, 0.16), (0.38, 0.25), (0.34, 0.3)), 0.014),
    ),
    sella=(0.0, -0.09),
    falx=((0.0, -0.8), (0.0, -0.48)),
    fold_depth=0.2,
    vault=(-180.0, 180.0),
    upwards=0.0,
    symmetric=True,
)

_CORONAL = Plane(
    skin=((0.0, -0.98), (0.28, -0.94), (0.53, -0.8), (0.7, -0.54), (0.765, -0.22), (0.76, 0.08),
        (0.72, 0.32), (0.66, 0.56), (0.6, 0.78), (0.52, 1.0), (0.46, 1.4), (0.0, 1.4)),
    cavity=((0.0, -0.82), (0.25, -0.79), (0.46, -0.65), (0.59, -0.42), (0.63, -0.14), (0.61, 0.1),
        (0.54, 0.29), (0.4, 0.38), (0.27, 0.34), (0.2, 0.22), (0.12, 0.13), (0.06, 0.15),
        (0.0, 0.16)),
    face=(
        Part("marrow", ((0.0, 0.2), (0.16, 0.22), (0.28, 0.4), (0.2, 0.5), (0.0, 0.52),
            (-0.1, 0.35))),
        Part("air", ((0.02, 0.27), (0.1, 0.27), (0.17, 0.35), (0.13, 0.43), (0.02, 0.44))),
        Part("air", ((0.0, 0.54), (0.1, 0.55), (0.13, 0.62), (0.05, 0.68), (0.0, 0.68),
            (-0.08, 0.6))),
        Part("fat", ((0.32, 0.5), (0.37, 0.58), (0.38, 0.68), (0.34, 0.78)), 0.01),
        Part("bone", ((0.52, 0.46), (0.55, 0.6), (0.5, 0.8)), 0.03),
        Part("marrow", ((0.52, 0.48), (0.55, 0.6), (0.5, 0.78)), 0.012),
        Part("tongue", ((0.0, 0.76), (0.2, 0.78), (0.28, 0.9), (0.22, 1.1), (0.0, 1.15),
            (-0.1, 0.9))),
    ),
    brain=(
        Part("csf", ((0.63, 0.03), (0.5, 0.02), (0.4, -0.02), (0.38, -0.14)), 0.013),
        Part("csf", ((0.4, -0.02), (0.37, 0.06), (0.3, 0.12)), 0.013),
        Part("deep", ((0.22, -0.16), (0.31, -0.14), (0.34, -0.03), (0.27, 0.06), (0.19, -0.02))),
        Part("deep", ((0.03, -0.1), (0.12, -0.14), (0.15, -0.05), (0.1, 0.03), (0.03, 0.04))),
        Part("deep", ((0.2, -0.3), (0.24, -0.27), (0.23, -0.2), (0.18, -0.18))),
        Part("callosum", ((0.0, -0.345), (0.1, -0.355), (0.2, -0.4), (0.28, -0.46)), 0.032),
        Part("csf", ((0.012, -0.3), (0.09, -0.31), (0.18, -0.33), (0.19, -0.27), (0.13, -0.2),
            (0.05, -0.17), (0.012, -0.19))),
        Part("csf", ((0.0, -0.12), (0.0, 0.05)), 0.014),
        Part("csf", ((0.0, 0.07), (0.06, 0.08), (0.15, 0.11), (0.22, 0.2), (0.14, 0.18),
            (0.0, 0.17), (-0.08, 0.12))),
        Part("csf", ((0.3, 0.2), (0.34, 0.17), (0.38, 0.19)), 0.014),
        Part("gland", ((0.0, 0.135), (0.05, 0.14), (0.07, 0.175), (0.0, 0.2), (-0.06, 0.17))),
        Part("bone", ((0.115, 0.165), (0.116, 0.17)), 0.032),
    ),
    sella=(0.0, 0.135),
    falx=((0.0, -0.83), (0.0, -0.4)),
    fold_depth=0.22,
    vault=(-190.0, 10.0),
    upwards=1.0,
    symmetric=True,
)

_SAGITTAL = Plane(
    skin=((-0.12, -1.0), (-0.46, -0.9), (-0.7, -0.66), (-0.79, -0.36), (-0.78, -0.12),
        (-0.83, 0.02), (-0.94, 0.2), (-0.89, 0.29), (-0.82, 0.33), (-0.87, 0.4), (-0.84, 0.46),
        (-0.865, 0.52), (-0.8, 0.58), (-0.83, 0.68), (-0.76, 0.8), (-0.55, 0.82), (-0.36, 0.88),
        (-0.3, 1.05), (-0.3, 1.5), (0.5, 1.5), (0.48, 1.0), (0.52, 0.72), (0.62, 0.48),
        (0.76, 0.26), (0.83, -0.08), (0.79, -0.42), (0.62, -0.74), (0.28, -0.96)),
    cavity=((-0.62, -0.14), (-0.625, -0.38), (-0.5, -0.64), (-0.22, -0.8), (0.12, -0.82),
        (0.42, -0.68), (0.61, -0.42), (0.67, -0.12), (0.63, 0.1), (0.52, 0.28), (0.36, 0.4),
        (0.22, 0.46), (0.16, 0.6), (0.04, 0.6), (0.0, 0.44), (-0.05, 0.24), (-0.1, 0.1),
        (-0.15, 0.13), (-0.2, 0.14), (-0.25, 0.07), (-0.38, 0.05), (-0.54, 0.02)),
    face=(
        Part("air", ((-0.7, -0.1), (-0.665, -0.16), (-0.66, -0.04), (-0.69, 0.01))),
        Part("bone", ((-0.06, 0.2), (-0.22, 0.17), (-0.46, 0.1), (-0.6, 0.12), (-0.4, 0.24),
            (-0.14, 0.36), (0.0, 0.54))),
        Part("air", ((-0.37, 0.13), (-0.22, 0.19), (-0.16, 0.25), (-0.22, 0.3), (-0.34, 0.27),
            (-0.4, 0.19))),
        Part("marrow", ((-0.1, 0.22), (-0.06, 0.3), (-0.02, 0.44)), 0.03),
        Part("air", ((-0.8, 0.24), (-0.62, 0.3), (-0.4, 0.34), (-0.24, 0.37)), 0.028),
        Part("muscle", ((-0.7, 0.225), (-0.55, 0.25), (-0.42, 0.285)), 0.022),
        Part("bone", ((-0.76, 0.385), (-0.55, 0.4), (-0.36, 0.42)), 0.02),
        Part("tongue", ((-0.7, 0.5), (-0.55, 0.44), (-0.36, 0.47), (-0.24, 0.58), (-0.26, 0.76),
            (-0.46, 0.78), (-0.66, 0.66))),
        Part("air", ((-0.24, 0.37), (-0.17, 0.48), (-0.17, 0.64), (-0.2, 0.8),
            (-0.19, 1.2)), 0.026),
        Part("bone", ((-0.76, 0.62), (-0.75, 0.72)), 0.045),
        Part("marrow", ((-0.76, 0.63), (-0.75, 0.71)), 0.024),
        Part("bone", ((0.02, 0.62), (0.0, 0.9), (0.02, 1.2)), 0.085),
        Part("marrow", ((-0.02, 0.62), (0.05, 0.62), (0.04, 0.74), (-0.03, 0.74))),
        Part("marrow", ((-0.05, 0.79), (0.05, 0.79), (0.05, 0.9), (-0.05, 0.9))),
        Part("marrow", ((-0.05, 0.95), (0.05, 0.95), (0.06, 1.06), (-0.05, 1.06))),
        Part("csf", ((0.13, 0.58), (0.14, 0.8), (0.16, 1.2)), 0.048),
        Part("stem", ((0.12, 0.5), (0.14, 0.8), (0.16, 1.2)), 0.026),
        Part("bone", ((0.23, 0.66), (0.32, 0.7)), 0.022),
        Part("bone", ((0.24, 0.84), (0.34, 0.9)), 0.022),
    ),
    brain=(
        Part("csf", ((-0.08, 0.08), (-0.03, 0.12), (-0.01, 0.3), (0.05, 0.5), (0.12, 0.62),
            (0.2, 0.46), (0.3, 0.42), (0.2, 0.1), (0.06, -0.02))),
        Part("csf", ((-0.3, -0.2), (-0.22, -0.31), (-0.02, -0.36), (0.14, -0.3), (0.16, -0.2),
            (0.02, -0.16), (-0.16, -0.14), (-0.24, -0.1))),
        Part("deep", ((-0.1, -0.17), (0.04, -0.2), (0.14, -0.14), (0.1, -0.04), (-0.04, -0.02),
            (-0.12, -0.08))),
        Part("callosum", ((-0.2, -0.1), (-0.31, -0.14), (-0.34, -0.25), (-0.24, -0.36),
            (-0.04, -0.41), (0.14, -0.37), (0.24, -0.26), (0.19, -0.19)), 0.038),
        Part("callosum", ((0.16, -0.24), (0.0, -0.26), (-0.12, -0.18), (-0.17, -0.08)), 0.014),
        Part("stem", ((-0.06, -0.02), (0.08, -0.04), (0.14, 0.02), (0.13, 0.12), (0.13, 0.28),
            (0.12, 0.44), (0.15, 0.66), (0.09, 0.66), (0.04, 0.42), (-0.02, 0.3), (-0.03, 0.2),
            (0.02, 0.1))),
        Part("csf", ((0.13, 0.1), (0.2, 0.22), (0.14, 0.33), (0.125, 0.22))),
        Part("folia", ((0.17, 0.03), (0.32, 0.02), (0.48, 0.1), (0.53, 0.22), (0.42, 0.34),
            (0.26, 0.41), (0.17, 0.36), (0.21, 0.22), (0.16, 0.12))),
        Part("csf", ((0.15, 0.0), (0.3, -0.03), (0.48, 0.04), (0.62, 0.13)), 0.01),
        Part("csf", ((0.26, -0.06), (0.36, -0.22), (0.46, -0.42)), 0.011),
        Part("csf", ((-0.34, -0.06), (-0.42, -0.24), (-0.32, -0.42), (-0.06, -0.5), (0.16, -0.47),
            (0.28, -0.56)), 0.01),
        Part("gland", ((-0.22, 0.09), (-0.16, 0.085), (-0.14, 0.12), (-0.19, 0.135))),
    ),
    sella=(-0.175, 0.085),
    falx=(),
    fold_depth=0.45,
    vault=(-185.0, -10.0),
    upwards=1.0,
    symmetric=False,
)
# fmt: on

_BY_NAME: Final = {"axial": _AXIAL, "coronal": _CORONAL, "sagittal": _SAGITTAL}
