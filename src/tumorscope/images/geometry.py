"""Computes from a DICOM header where its slice lies in the patient."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset


def place_in_patient(header: "Dataset") -> NDArray[np.float64] | None:
    """Return what turns a pixel of the slice into mm (DICOM PS3.3, C.7.6.2.1.1).

    Args:
        header: The data set; of an enhanced file, after the frame's own elements were put in.

    Returns:
        A matrix `[4, 4]` for (column, row, slice, 1), with axes towards right, front and top; None
        when the file does not say, or what it says makes no sense.
    """
    spacing = header.get("PixelSpacing")
    position, orientation = (
        header.get("ImagePositionPatient"),
        header.get("ImageOrientationPatient"),
    )
    if not spacing or not position or not orientation:
        return None
    try:
        between_rows, between_columns = (float(length) for length in spacing)
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
