"""Colours a picture of a slice by its class map.

Every deployment bundle carries this file, so it keeps to Python 3.6, NumPy and Pillow 5.1.
"""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tumorscope.images.preparation import find_head

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLOURS = np.array(
    [(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)],
    dtype=np.float64,
)
"""Six steps of the colour map Inferno (Smith and van der Walt, CC0): even in brightness."""


def lay_heat(
    enlarged: Image.Image, grey: "NDArray[np.uint8]", heatmap: "NDArray[np.float32]"
) -> Image.Image:
    """Colour a picture of a slice where the map is high; the map covers the head.

    Args:
        enlarged: The slice as an RGB picture of any size.
        grey: The slice, uint8, `[height, width]`.
        heatmap: The label's class map, `[h, w]`; what is not above 0 leaves no colour.

    Returns:
        An RGB picture of the same size.
    """
    shape = (grey.shape[0], grey.shape[1])
    placed = place_heat(heatmap, find_head(grey), shape, enlarged.size)
    level = np.asarray(placed, dtype=np.float64) / 255
    steps = np.linspace(0, 1, len(_COLOURS))
    colour = np.stack([np.interp(level, steps, part) for part in _COLOURS.T], axis=-1)
    share = (0.65 * np.clip(1.25 * level - 0.1, 0, 1))[..., None]
    shown = np.asarray(enlarged, dtype=np.float64) * (1 - share) + colour * share
    return Image.fromarray(np.rint(np.clip(shown, 0, 255)).astype(np.uint8))


def place_heat(
    heatmap: "NDArray[np.float32]",
    head: "tuple[float, float, float, float]",
    shape: "tuple[int, int]",
    size: "tuple[int, int]",
) -> Image.Image:
    """Lay a class map over a whole slice.

    Args:
        heatmap: The label's class map, `[h, w]`; what is not above 0 counts as 0.
        head: What `tumorscope.images.find_head` finds on the slice: what the map covers.
        shape: Height and width of the slice.
        size: Width and height of the result.

    Returns:
        A grey picture, 255 where the map is highest.
    """
    heat = heatmap.astype(np.float64)
    heat = np.clip(np.where(np.isfinite(heat), heat, 0), 0, None)
    heat = heat / max(float(heat.max()), 1e-9)
    width, height = size
    across, down = width / shape[1], height / shape[0]
    top, bottom, left, right = head
    box = (round(left * across), round(top * down), round(right * across), round(bottom * down))
    # (Its other name, Image.Resampling.BICUBIC, is missing from the last Pillow for Python 3.6.)
    bicubic = Image.BICUBIC  # type: ignore[attr-defined]
    smooth = Image.fromarray((255 * heat).astype(np.uint8)).resize(
        (max(1, box[2] - box[0]), max(1, box[3] - box[1])), bicubic
    )
    placed = Image.new("L", size)
    placed.paste(smooth, box[:2])
    return placed
