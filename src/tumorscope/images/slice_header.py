"""What a file says about a slice: its series, its place in the stack, what tells volumes apart."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class SliceHeader:
    """What a file says about a slice; what it does not say is empty or None.

    Attributes:
        file: The file's path or name.
        upload: Which upload it is, from 1: names of uploads may be equal; 0 for files on a disk.
        frame: The slice or frame in a file that holds several, from 0.
        is_volume: Whether the file is a volume of its own, which belongs to no series of files.
        study: Study Instance UID.
        series: Series Instance UID.
        numbers: Patient, study and series number, where the file gives the last.
        position: Where the middle of the first pixel lies, in mm.
        location: The slice's place along the stack in mm, of files without a position.
        orientation: Directions of the rows and of the columns, as Image Orientation (Patient).
        instance: Instance number.
        attributes: Name and value of what may tell images at one place apart, the weightiest
            first; the value is empty where the file does not say.
        digest: A hash of the grey values; empty when there are none.
        imageless: What kind of DICOM object a file is that is meant to hold no image; else empty.
    """

    file: str = ""
    upload: int = 0
    frame: int | None = None
    is_volume: bool = False
    study: str = ""
    series: str = ""
    numbers: tuple[str, ...] = ()
    position: tuple[float, float, float] | None = None
    location: float | None = None
    orientation: tuple[float, ...] | None = None
    instance: int | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    digest: str = ""
    imageless: str = ""


def digest_of(grey: NDArray[np.uint8] | None) -> str:
    """Return a hash of grey values and their shape; empty when there are none."""
    if grey is None:
        return ""
    content = hashlib.blake2b(str(grey.shape).encode(), digest_size=16)
    content.update(np.ascontiguousarray(grey).data)
    return content.hexdigest()


def direction(values: Any) -> tuple[float, ...] | None:
    """Return six numbers as the directions of rows and columns; None when they make no sense."""
    try:
        rows, columns = np.array([float(value) for value in values]).reshape(2, 3)
    except (ValueError, TypeError):
        return None
    normal = np.cross(rows, columns)
    if not np.isfinite(normal).all() or np.linalg.norm(normal) < 0.5:
        return None
    return (*rows.tolist(), *columns.tolist())
