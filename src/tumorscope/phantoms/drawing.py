"""Draws head slices with known tumours.

Phantoms stand in for real slices where a test or the demo must run without any data. Nothing but
the tumour depends on the class: anatomy, contrast, noise, position and size come from random
streams that do not know it.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tumorscope.classes import CLASSES
from tumorscope.errors import DataError
from tumorscope.files import whole_file, write_text
from tumorscope.parallel import map_ordered
from tumorscope.phantoms.outlines import PLANES, Map, anatomy
from tumorscope.phantoms.painting import (
    Painted,
    enlarge,
    paint_glioma,
    paint_head,
    paint_meningioma,
    paint_pituitary,
    sample,
)
from tumorscope.progress import Progress, silent

FOLDS: Final = 5

_TUMOURS: Final = {
    "glioma": paint_glioma,
    "meningioma": paint_meningioma,
    "pituitary": paint_pituitary,
}
_SIDES: Final = (176, 192, 208)
"""Sides of the written pictures; the slices of one patient share one."""

_MIDDLE: Final = 2.5
"""Number of the slice through the middle of the tumour."""

_VIEW: Final = 1.04
"""Half the side of a picture in head units, before the head's own scale."""

_SLICE_STEP: Final = 0.09
"""How far the anatomy drifts from slice to slice."""


@dataclass(frozen=True)
class Phantom:
    """A drawn slice.

    Attributes:
        image: Grey values 0 to 255, uint8, `[size, size]`.
        mask: The tumour, 0 and 255, uint8, `[size, size]`; all 0 where there is none.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def draw_phantom(
    label: str, *, plane: str, patient_seed: int, slice_number: int, size: int = 192
) -> Phantom:
    """Draw one slice of a head.

    Args:
        label: One of `CLASSES`.
        plane: `axial`, `coronal` or `sagittal`.
        patient_seed: Slices of one patient, whatever their number, show one head and one tumour.
        slice_number: Number of the slice, from 0; the tumour is widest between 2 and 3.
        size: Side of the picture in pixels.

    Returns:
        The slice and the tumour's outline.

    Raises:
        ValueError: The plane or the label is unknown.
    """
    if label not in CLASSES:
        raise ValueError(f"unknown class '{label}': the classes are {', '.join(CLASSES)}")
    body, tumour, scanner = (np.random.default_rng([patient_seed, part]) for part in range(3))
    noise = np.random.default_rng([patient_seed, 3, slice_number])
    head = anatomy(plane)
    step = _SLICE_STEP * (slice_number - _MIDDLE)
    picture = paint_head(head, body, step)
    painted = Painted(picture, np.zeros_like(picture))
    if label in _TUMOURS:
        painted = _TUMOURS[label](picture, head, tumour, step)
    x, y = _place(scanner, step, size)
    image = _scan(sample(painted.picture, x, y), scanner, noise)
    mask = np.where(sample(painted.tumour, x, y) > 0.5, 255, 0).astype(np.uint8)
    return Phantom(image, mask)


def _place(random: Generator, step: float, size: int) -> tuple[Map, Map]:
    """Draw how the head lies: for each pixel, where in the head it is."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * np.float32(_VIEW)
    x, y = np.meshgrid(axis, axis)
    angle = np.radians(random.uniform(-9, 9))
    scale = random.uniform(0.92, 1.12) * (1 + 0.12 * abs(step))
    wide = random.uniform(0.94, 1.06)
    x, y = x - random.uniform(-0.05, 0.05), y - random.uniform(-0.05, 0.05)
    bend_x, bend_y = random.normal(0, 0.02, (2, 6, 6)).astype(np.float32)
    across = (np.cos(angle) * x + np.sin(angle) * y) * scale * wide + enlarge(bend_x, size)
    down = (np.cos(angle) * y - np.sin(angle) * x) * scale / wide + enlarge(bend_y, size)
    return across.astype(np.float32), down.astype(np.float32)


def _scan(picture: Map, random: Generator, noise: Generator) -> NDArray[np.uint8]:
    """Turn tissue levels into grey values: coil shading, contrast, Rician noise, blur."""
    size = len(picture)
    shading = np.exp(enlarge(random.normal(0, 0.12, (3, 3)).astype(np.float32), size))
    signal = np.clip(picture * shading, 0, None) ** random.uniform(0.8, 1.25)
    level, blur = random.uniform(0.012, 0.045), random.uniform(0.2, 0.7)
    real, imaginary = noise.normal(0, level, (2, size, size))
    magnitude = np.hypot(signal + real, imaginary) * random.uniform(160, 250)
    grey = Image.fromarray(np.clip(np.rint(magnitude), 0, 255).astype(np.uint8))
    return np.asarray(grey.filter(ImageFilter.GaussianBlur(blur)))


def write_phantoms(
    folder: Path,
    *,
    patients_per_class: int = 12,
    slices_per_patient: int = 6,
    seed: int = 0,
    progress: Progress = silent,
) -> Path:
    """Draw a whole data set: pictures, masks and the table that describes them.

    Every class gets the same planes and sizes. Split and fold go by patient: one in five patients
    of a class is for testing.

    Args:
        folder: Where `images/`, `masks/` and `slices.csv` go; made when missing.
        patients_per_class: At least 2, so that each class is on both sides of the split.
        slices_per_patient: At least 1.
        seed: The same seed gives the same data set.
        progress: Told of every patient.

    Returns:
        The path of `slices.csv`, with the columns `file, class, patient, split, fold, mask`.

    Raises:
        DataError: There are too few patients or slices.
        OSError: The folder cannot be written.
    """
    if patients_per_class < 2 or slices_per_patient < 1:
        raise DataError("a phantom data set needs at least 2 patients a class with 1 slice each")
    random = np.random.default_rng(seed)
    patients = [(label, number) for label in CLASSES for number in range(patients_per_class)]
    order = random.permutation(len(patients))
    seeds = random.integers(2**31, size=len(patients))

    def draw(position: int) -> list[tuple[str | int, ...]]:
        label, number = patients[order[position]]
        patient = f"P{position + 1:03}"
        plane, size = PLANES[number % len(PLANES)], _SIDES[(number // len(PLANES)) % len(_SIDES)]
        split = "test" if number % FOLDS == 0 else "train"
        # Shifted by one after each round, so that the test patients spread over the folds.
        fold = (number + number // FOLDS) % FOLDS + 1
        rows: list[tuple[str | int, ...]] = []
        for slice_ in range(slices_per_patient):
            phantom = draw_phantom(
                label,
                plane=plane,
                patient_seed=int(seeds[position]),
                slice_number=slice_,
                size=size,
            )
            name = f"{patient}_{slice_ + 1}.png"
            _write_picture(folder / "images" / name, phantom.image)
            _write_picture(folder / "masks" / name, phantom.mask)
            rows.append((f"images/{name}", label, patient, split, fold, f"masks/{name}"))
        return rows

    drawn = map_ordered(draw, range(len(patients)))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("file", "class", "patient", "split", "fold", "mask"))
    for rows in progress(drawn, total=len(patients), label="Drawing patients"):
        writer.writerows(rows)
    write_text(folder / "slices.csv", table.getvalue())
    return folder / "slices.csv"


def _write_picture(path: Path, grey: NDArray[np.uint8]) -> None:
    with whole_file(path) as temporary:
        Image.fromarray(grey).save(temporary)
