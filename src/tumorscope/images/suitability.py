"""Tells slices that show nothing to classify.

Every deployment bundle carries this file, so it keeps to Python 3.6 and NumPy.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLANK_RANGE = 8
"""A slice whose grey values lie closer together than this shows nothing."""

_MASK_VALUES = 4
"""So few different grey values make a mask or a drawing."""

_EVERY = 8
"""In one pixel of so many across and down a scan shows more values already."""


def why_unsuitable(grey: "NDArray[np.uint8]") -> str:
    """Return why there is nothing to classify on a slice; empty when there is.

    Args:
        grey: Grey values 0 to 255, uint8, shape `[height, width]`, at least one pixel.
    """
    if int(grey.max()) - int(grey.min()) < _BLANK_RANGE:
        return "a blank slice: nothing stands out from the background"
    if len(np.unique(grey[::_EVERY, ::_EVERY])) > _MASK_VALUES:
        return ""
    values = np.count_nonzero(np.bincount(grey.ravel(), minlength=256))
    if values <= _MASK_VALUES:
        return f"only {values} different grey values: a mask or a drawing, not a scan"
    return ""
