"""Drawn heads, each drawn once a process: many tests want the same few."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorscope.phantoms.drawing import draw_phantom


@cache
def head(seed: int, *, label: str = "glioma", size: int = 72, **view: Any) -> NDArray[np.uint8]:
    """Return a head slice, not to be written to: another seed, another head."""
    where = {"plane": "axial", "slice_number": 2, **view}
    image = draw_phantom(label, patient_seed=seed, size=size, **where).image.copy()
    image.flags.writeable = False
    return image
