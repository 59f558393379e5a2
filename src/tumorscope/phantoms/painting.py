"""Paints heads and tumours into their outlines.

Pictures here are canvases of the head's coordinates with levels from 0 (air) to about 1 (fat), as
in a T1-weighted scan with contrast agent.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.random import Generator
from PIL import Image

from tumorscope.phantoms.outlines import CANVAS, EXTENT, Anatomy, Map, canvas_grid

PIXEL: Final = 2 * EXTENT / CANVAS
"""Side of a pixel of the canvas in head units."""

_SOFT: Final = 1.5 * PIXEL
"""Width of the step between two tissues."""


def smooth_field(random: Generator, wavelength: float, step: float) -> Map:
    """Draw a random field of one coarseness that drifts from slice to slice.

    White noise is filtered to a band round the wavelength, on a grid just fine enough for it.

    Args:
        random: The stream to draw from; always the same number of values for one wavelength.
        wavelength: In head units.
        step: How far this slice is from the patient's middle one.

    Returns:
        Mean 0 and standard deviation 1, `[CANVAS, CANVAS]`.
    """
    band = _band(wavelength)
    noise = random.standard_normal((2, len(band), len(band)), dtype=np.float32)
    drifting = np.cos(step) * noise[0] + np.sin(step) * noise[1]
    field = np.fft.irfft2(np.fft.rfft2(drifting) * band, s=drifting.shape)
    return enlarge((field / field.std()).astype(np.float32), CANVAS)


@cache
def _band(wavelength: float) -> Map:
    """Return the weight of each frequency: a bell round one over the wavelength."""
    side = min(CANVAS, 1 << int(np.ceil(np.log2(2 * EXTENT / wavelength * 4))))
    pixel = 2 * EXTENT / side
    frequency = np.hypot(np.fft.fftfreq(side, pixel)[:, None], np.fft.rfftfreq(side, pixel))
    band: Map = np.exp(-0.5 * ((frequency * wavelength - 1) / 0.35) ** 2).astype(np.float32)
    return band


def enlarge(grid: Map, side: int) -> Map:
    """Return a coarse grid as a smooth square of that side."""
    picture = Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.float32)


def sample(picture: Map, x: Map, y: Map) -> Map:
    """Return the canvas at other places, given in head units (bilinear; its rim outside)."""
    column = np.clip((x + EXTENT) / PIXEL - 0.5, 0, CANVAS - 1.001)
    row = np.clip((y + EXTENT) / PIXEL - 0.5, 0, CANVAS - 1.001)
    left, top = column.astype(np.int32), row.astype(np.int32)
    across, down = (column - left).astype(np.float32), (row - top).astype(np.float32)
    values, index = picture.ravel(), top * CANVAS + left
    upper = values[index] * (1 - across) + values[index + 1] * across
    lower = values[index + CANVAS] * (1 - across) + values[index + CANVAS + 1] * across
    mixed: Map = upper * (1 - down) + lower * down
    return mixed


def paint_head(head: Anatomy, random: Generator, step: float) -> Map:
    """Paint one patient's head without a tumour."""
    tissue = _draw_tissues(random)
    coarse = np.clip(smooth_field(random, 0.5, step), -2, 2)
    middle = smooth_field(random, 0.16, step)
    fine = smooth_field(random, 0.085, step)
    skin = head.skin + 0.006 * coarse
    septa = _edge(np.abs(coarse + 0.7 * middle) - 0.12, 0.3)
    muscle = tissue["muscle"] + 0.03 * middle + 0.03 * fine
    muscle += septa * 0.5 * (0.7 * tissue["fat"] - muscle)
    picture = _fill(np.zeros_like(skin), skin, muscle)
    fat = random.uniform(0.055, 0.085) * (1 + 0.1 * coarse)
    picture = _fill(
        picture,
        np.maximum(skin + 0.014, -skin - fat),
        tissue["fat"] * (0.9 + 0.04 * fine + 0.04 * middle),
    )
    for name, distance in head.face:
        picture = _fill(picture, distance + 0.005 * middle, tissue[name] * (1 + 0.06 * fine))
    bone = random.uniform(0.065, 0.095) * (1 + 0.1 * coarse)
    picture = _fill(picture, head.cavity - bone, tissue["bone"])
    diploe = np.abs(head.cavity - 0.55 * bone) - 0.14 * bone * (1 + 0.5 * middle)
    picture = _fill(picture, diploe, 0.5 * tissue["marrow"])
    picture = _fill(picture, head.cavity, tissue["csf"])
    picture = _fill(picture, np.abs(head.cavity) - 0.005, 0.9 * tissue["grey"])
    folds, opening = smooth_field(random, 0.20, step), smooth_field(random, 0.3, step)
    depth = np.minimum(-head.cavity - random.uniform(0.012, 0.030), head.falx - 0.008)
    cortex = _cortex(depth, head.plane.fold_depth, folds, opening, tissue, random)
    picture = _fill(picture, -depth, cortex + 0.008 * fine)
    for name, distance in head.brain:
        level = _folia(distance, tissue, folds) if name == "folia" else tissue[name]
        edge = distance + 0.004 * random.normal() + 0.005 * opening
        picture = _fill(picture, edge, level + 0.008 * fine)
    return picture


def _draw_tissues(random: Generator) -> dict[str, float]:
    """Draw a patient's level of every tissue."""
    white = random.uniform(0.50, 0.62)
    grey = white - random.uniform(0.07, 0.15)
    return {
        "air": 0.02,
        "bone": 0.05,
        "csf": random.uniform(0.12, 0.22),
        "grey": grey,
        "deep": white - 0.7 * (white - grey),
        "white": white,
        "callosum": white + 0.04,
        "stem": white - 0.02,
        "gland": white + 0.05,
        "muscle": random.uniform(0.26, 0.36),
        "tongue": random.uniform(0.34, 0.44),
        "fat": random.uniform(0.70, 1.0),
        "marrow": random.uniform(0.36, 0.56),
    }


def _cortex(
    depth: Map,
    fold_depth: float,
    folds: Map,
    opening: Map,
    tissue: dict[str, float],
    random: Generator,
) -> Map:
    """Return the levels of white matter, the grey ribbon round it and the folds between.

    The folds (sulci) run where a random field changes sign, which gives lines that wind side by
    side; the field's value over its slope is nearly the distance to such a line.
    """
    down, across = np.gradient(folds, PIXEL)
    slope = np.hypot(down, across)
    sulcus = np.abs(folds) / (slope + 0.35 * slope.mean()) + np.maximum(0, depth - fold_depth)
    pia = np.minimum(depth, sulcus - 0.003 - random.uniform(0, 0.006) - 0.003 * opening)
    ribbon = _edge(pia - random.uniform(0.034, 0.044), 0.026)
    tissue_level = tissue["white"] + (tissue["grey"] - tissue["white"]) * ribbon
    level: Map = tissue_level + (tissue["csf"] - tissue_level) * _edge(pia, 0.018)
    return level


def _folia(distance: Map, tissue: dict[str, float], folds: Map) -> Map:
    """Return the cerebellum's levels: fine leaves round a white core."""
    leaves = 0.5 + 0.5 * np.sin(distance * (2 * np.pi / 0.042) + 1.2 * folds)
    shade = tissue["grey"] + 0.45 * leaves * (tissue["csf"] - tissue["grey"])
    core = _edge(distance + 0.12 + 0.03 * folds, 0.04)
    mixed: Map = shade + core * (tissue["white"] - shade)
    return mixed


def _edge(distance: Map, softness: float = _SOFT) -> Map:
    """Return 1 where the distance is negative and 0 where it is positive, with a soft step."""
    step: Map = np.clip(0.5 - distance / softness, 0, 1)
    return step


def _fill(picture: Map, distance: Map, level: Map | float, softness: float = _SOFT) -> Map:
    """Return the picture with the inside of an outline painted over."""
    return picture + _edge(distance, softness) * (level - picture)


@dataclass(frozen=True)
class Painted:
    """A canvas and how much of each of its pixels is tumour, 0 to 1."""

    picture: Map
    tumour: Map


def paint_glioma(picture: Map, head: Anatomy, random: Generator, step: float) -> Painted:
    """Paint an irregular mass in the white matter: enhancing rim, dead core, swelling round it."""
    x, y = canvas_grid()
    centre = _white_matter_spot(head, random)
    radius = _radius(random, 0.15, 0.23, step)
    lumps, fingers = smooth_field(random, 0.30, step), smooth_field(random, 0.12, step)
    picture = _push(picture, head, centre, radius, 0.5)
    inside = head.cavity + 0.04
    distance = np.hypot(x - centre[0], y - centre[1]) - radius * (1 + 0.16 * lumps)
    distance = np.maximum(distance + 0.008 * fingers, inside)
    swelling = np.maximum(distance - random.uniform(0.09, 0.18) + 0.04 * fingers, inside)
    dark = random.uniform(0.26, 0.34)
    oedema = random.uniform(0.7, 0.95) * _edge(swelling, 0.06)
    picture = picture + oedema * (dark - picture)
    rim = random.uniform(0.70, 0.95) * (1 + 0.08 * fingers)
    patchy = np.clip(random.uniform(0.8, 1.4) + 0.3 * lumps, 0.35, 1)
    picture = picture + patchy * _edge(distance, 0.025) * (rim - picture)
    width = random.uniform(0.045, 0.075) * (1 + 0.3 * np.clip(fingers, -1.5, 1.5))
    core = random.uniform(0.18, 0.32) + 0.04 * fingers
    return Painted(_fill(picture, distance + width, core, 0.035), _edge(distance))


def paint_meningioma(picture: Map, head: Anatomy, random: Generator, step: float) -> Painted:
    """Paint a smooth, evenly bright mass on a broad base of dura, with a tail along it."""
    x, y = canvas_grid()
    base, inwards = _dura_spot(head, random)
    radius = _radius(random, 0.13, 0.21, step)
    sink = random.uniform(0.3, 0.6) * radius
    centre = (base[0] + sink * inwards[0], base[1] + sink * inwards[1])
    dx, dy = x - centre[0], y - centre[1]
    deep, along = dx * inwards[0] + dy * inwards[1], dy * inwards[0] - dx * inwards[1]
    lumps = smooth_field(random, 0.5, step)
    distance = np.hypot(deep / random.uniform(0.75, 1.0), along) - radius * (1 + 0.05 * lumps)
    distance = np.maximum(distance, head.cavity + 0.008)
    picture = _push(picture, head, centre, radius, 0.7)
    cleft = np.maximum(distance - 0.018, head.cavity)
    picture = picture + 0.7 * _edge(cleft, 0.02) * (0.17 - picture)
    level = random.uniform(0.70, 0.92) + 0.02 * smooth_field(random, 0.085, step)
    tail = np.maximum(np.abs(head.cavity + 0.010) - 0.010, distance - 0.10)
    picture = _fill(picture, tail, level, 0.02)
    return Painted(_fill(picture, distance, level, 0.025), _edge(distance))


def paint_pituitary(picture: Map, head: Anatomy, random: Generator, step: float) -> Painted:
    """Paint a small bright ball in the sella, with a smaller one above where the plane shows it."""
    x, y = canvas_grid()
    radius = _radius(random, 0.085, 0.135, step)
    centre = head.plane.sella
    dx, dy = x - centre[0], y - centre[1] + head.plane.upwards * 0.2 * radius
    lumps = smooth_field(random, 0.4, step)
    distance = np.hypot(dx, dy) - radius * (1 + 0.06 * lumps)
    lean, smaller = 0.02 * random.normal(), random.uniform(0.5, 0.85)
    above = np.hypot(dx - lean, dy + head.plane.upwards * radius) - smaller * radius
    distance = np.minimum(distance, above)
    picture = _push(picture, head, centre, radius, 0.4)
    picture = picture + 0.6 * _edge(distance - 0.015, 0.02) * (0.17 - picture)
    level = random.uniform(0.68, 0.92) + 0.03 * smooth_field(random, 0.085, step)
    return Painted(_fill(picture, distance, level, 0.025), _edge(distance))


def _radius(random: Generator, smallest: float, largest: float, step: float) -> float:
    """Draw a tumour's radius in this slice: a ball is widest in the patient's middle slice."""
    return float(random.uniform(smallest, largest) * np.sqrt(max(0.3, 1 - (1.6 * step) ** 2)))


def _white_matter_spot(head: Anatomy, random: Generator) -> tuple[float, float]:
    """Draw a place deep in the white matter, away from the midline, the sella and the stem."""
    x, y = canvas_grid()
    sella = head.plane.sella
    free = (head.cavity < -0.20) & (np.hypot(x - sella[0], y - sella[1]) > 0.32)
    free &= head.falx > 0.12
    for name, distance in head.brain:
        if name in ("stem", "folia", "callosum"):
            free &= distance > 0.10
    spots = np.argwhere(free)
    row, column = spots[random.integers(len(spots))]
    return float(x[row, column]), float(y[row, column])


def _dura_spot(head: Anatomy, random: Generator) -> tuple[tuple[float, float], tuple[float, float]]:
    """Draw a place on the dura of the vault, and the direction that leads inwards from it."""
    x, y = canvas_grid()
    first, last = head.plane.vault
    angle = np.degrees(np.arctan2(y, x))
    spots = np.argwhere(
        (np.abs(head.cavity + 0.01) < 0.01) & ((angle - first) % 360 <= last - first)
    )
    row, column = spots[random.integers(len(spots))]
    across = float(head.cavity[row, column - 1] - head.cavity[row, column + 1])
    down = float(head.cavity[row - 1, column] - head.cavity[row + 1, column])
    steepness = math.hypot(across, down)
    spot = (float(x[row, column]), float(y[row, column]))
    return spot, (across / steepness, down / steepness)


def _push(
    picture: Map, head: Anatomy, centre: tuple[float, float], radius: float, strength: float
) -> Map:
    """Return the picture with the brain pushed away from a mass; the skull stays."""
    x, y = canvas_grid()
    dx, dy = x - centre[0], y - centre[1]
    distance = np.hypot(dx, dy) + 1e-6
    shift = strength * radius * np.exp(-((distance / (2.2 * radius)) ** 2))
    shift = np.minimum(shift * np.clip(-head.cavity / 0.15, 0, 1), 0.9 * distance)
    return sample(picture, x - dx / distance * shift, y - dy / distance * shift)
