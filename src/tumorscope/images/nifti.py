"""A NIfTI file comes in, slices of its first volume go out, grey and the right way up.

nibabel is imported when a volume is read.
"""

import math
import os
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.images.reading import UnreadableImageError
from tumorscope.images.slices import (
    AXES,
    SliceChoice,
    SliceImage,
    check_size,
    choose,
    damaged,
    head_shares,
    square_pixels,
    square_shape,
    to_grey,
    why_headless,
)
from tumorscope.images.suitability import why_unsuitable

NIFTI_SUFFIXES: Final = (".nii", ".nii.gz")

MAXIMUM_VOXELS: Final = 80_000_000
"""Larger volumes are refused (7 T at half a millimetre is 64 million)."""

_ACROSS: Final = {"sagittal": 0, "coronal": 1, "axial": 2}
"""The axis, towards right, front and top, along which the slices of a plane lie."""

_THICK: Final = 1.5
"""A volume was acquired slice by slice when its voxels are so much longer in one direction."""


def read_nifti(path: "str | os.PathLike[str]", choice: SliceChoice) -> Iterator[SliceImage]:
    """Read the slices of a volume.

    The volume is turned to the nearest of the standard orientations (nothing is interpolated).
    Axial slices have the front at the top and the patient's right on the left, as radiologists
    see them; coronal ones the top at the top; sagittal ones the nose on the left. Oblong pixels
    are made square. Of a time series the first volume is taken.

    Args:
        path: The file, `.nii` or `.nii.gz`.
        choice: Which slices; left open, the plane is that in which the volume was acquired (axial
            for cubic voxels), and the slices are those with enough head.

    Yields:
        The slices; one without a picture when there is nothing that can be judged.

    Raises:
        UnreadableImageError: The file is missing, damaged or too large.
    """
    name = os.fspath(path)
    try:
        volume, spacing, note = _open(name)
        if volume is None:
            yield SliceImage(name, None, None, unsupported=note)
            return
        axis = choice.axis or _acquired_plane(volume.shape, spacing)
        yield from _cut(name, volume, spacing, axis, choice, note)
    except UnreadableImageError:
        raise
    except FileNotFoundError:
        raise UnreadableImageError(f"{name}: no such file") from None
    except Exception as error:  # nibabel and the decompressors raise nearly anything on damage.
        raise damaged(name, "NIfTI file", error) from error


def _open(name: str) -> tuple[NDArray[Any] | None, tuple[float, float, float], str]:
    """Return the volume, its axes towards right, front and top, its voxel size and a note.

    Instead of a volume that cannot be judged, None comes with the reason as the note.
    """
    import nibabel  # noqa: PLC0415  (only where NIfTI is read)

    image: Any = nibabel.load(name)
    shape = (*image.shape, 1, 1)[: max(3, len(image.shape))]
    if image.get_data_dtype().kind not in "iuf":
        return None, (1, 1, 1), "voxels of colours or complex numbers, not a scan"
    if len(image.shape) < 2 or min(shape) < 1:
        raise UnreadableImageError(f"{name}: a NIfTI file of shape {image.shape}, not a volume")
    if math.prod(shape[:3]) > MAXIMUM_VOXELS:
        raise UnreadableImageError(
            f"{name}: more than {MAXIMUM_VOXELS // 1_000_000} million voxels, refused"
        )
    if not np.isfinite(image.affine).all():
        raise UnreadableImageError(f"{name}: damaged NIfTI file (its orientation is no number)")
    turn = nibabel.io_orientation(image.affine)  # type: ignore[no-untyped-call]
    if np.isnan(turn).any():
        raise UnreadableImageError(f"{name}: damaged NIfTI file (its orientation is degenerate)")
    spatial = (slice(None),) * min(3, len(image.shape))
    first = np.asanyarray(image.dataobj[spatial + (0,) * len(shape[3:])]).reshape(shape[:3])
    stored = nibabel.affines.voxel_sizes(image.affine)  # type: ignore[no-untyped-call]
    x, y, z = (float(stored[axis]) for axis in np.argsort(turn[:, 0]))
    further = math.prod(shape[3:])
    note = f", the first of {further} volumes" if further > 1 else ""
    volume = nibabel.apply_orientation(first, turn)  # type: ignore[no-untyped-call]
    return volume, (x, y, z), note


def _acquired_plane(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> str:
    """Return the plane of a single slice, or of the thickest voxels; axial when they are cubes."""
    planes = {across: plane for plane, across in _ACROSS.items()}
    if 1 in shape:
        return planes[shape.index(1)]
    order = np.argsort(spacing)
    thick = spacing[order[2]] > _THICK * spacing[order[1]]
    return planes[int(order[2])] if thick else AXES[0]


def _cut(
    name: str,
    volume: NDArray[Any],
    spacing: tuple[float, float, float],
    plane: str,
    choice: SliceChoice,
    note: str,
) -> Iterator[SliceImage]:
    """Yield the chosen slices of a volume whose axes point to right, front and top."""
    across = _ACROSS[plane]
    columns, rows = (axis for axis in range(3) if axis != across)
    shape = (volume.shape[rows], volume.shape[columns])
    check_size(name, *square_shape(shape, spacing[rows], spacing[columns]))
    count = volume.shape[across]
    shares = head_shares(volume, across)
    numbers = choose(name, count, choice, shares)
    size = " x ".join(f"{length:.3g}" for length in spacing)
    voxels = " x ".join(map(str, volume.shape))
    about = f"{voxels} voxels of {size} mm, {len(numbers)} of {count} {plane} slices{note}"
    if not numbers:
        reason = "no head stands out from the background in this volume"
        yield SliceImage(name, None, None, reason, volume=about)
    for number in numbers:
        values = np.moveaxis(volume, across, 0)[number].T[::-1, ::-1]
        grey = np.array(values) if values.dtype == np.uint8 else to_grey(values)
        reason = why_unsuitable(grey) or why_headless(shares[number])
        grey = square_pixels(grey, spacing[rows], spacing[columns])
        yield SliceImage(name, number if count > 1 else None, grey, reason, volume=about)
