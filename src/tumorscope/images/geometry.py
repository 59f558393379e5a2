"""Computes from a DICOM header where its slice lies in the patient."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset


def pixel_spacing(header: "Dataset") -> tuple[float, float] | None:
    """Return the distance of rows and of columns in mm; None when it is missing or damaged.

    Args:
        header: As for `place_in_patient`.
    """
    try:
        between_rows, between_columns = (float(length) for length in header.PixelSpacing)
    except (AttributeError, ValueError, TypeError):
        return None
    sensible = 0 < between_rows < math.inf and 0 < between_columns < math.inf
    return (between_rows, between_columns) if sensible else None


def place_in_patient(header: "Dataset") -> NDArray[np.float64] | None:
    """Return what turns a pixel of the slice into mm (DICOM PS3.3, C.7.6.2.1.1).

    Args:
        header: The data set; of an enhanced file, after the frame's own elements were put in.

    Returns:
        A matrix `[4, 4]` for (column, row, slice, 1), with axes towards right, front and top; None
        when the file does not say, or what it says makes no sense.
    """
    spacing = pixel_spacing(header)
    position, orientation = (
        header.get("ImagePositionPatient"),
        header.get("ImageOrientationPatient"),
    )
    if not spacing or not position or not orientation:
        return None
    try:
        between_rows, between_columns = spacing
        along_row, along_column = np.array(orientation, dtype=np.float64).reshape(2, 3)
        origin = np.array(position, dtype=np.float64).reshape(3)
        step = float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1)
    except (ValueError, TypeError):
        return None
    matrix = np.eye(4)
    matrix[:3, 0] = along_row * between_columns
    matrix[:3, 1] = along_column * between_rows
    matrix[:3, 2] = np.cross(along_row, along_column) * step
    matrix[:3, 3] = origin
    matrix[:2] *= -1  # DICOM counts towards left and back.
    sensible = np.isfinite(matrix).all() and abs(np.linalg.det(matrix)) > 1e-9
    return matrix if sensible else None
