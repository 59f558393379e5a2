"""Inputs of a model come in, the same inputs at other zooms go out: for test-time augmentation."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ZOOMS: Final = (0.85, 1.15)
"""Besides the input itself; all lie within what `edge` is trained with."""


def zoomed(grey: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield inputs `[N, S, S]` at each of `ZOOMS`, about their middle; what is outside is black.

    The mean of a network's answers to several views of a picture is more often right than its
    answer to one (Krizhevsky et al. 2012, https://doi.org/10.1145/3065386, section 4.1).

    Args:
        grey: Grey values 0 to 255, `[N, S, S]`, as `prepare` makes them.
    """
    for zoom in ZOOMS:
        yield np.stack([_zoom(picture, zoom) for picture in grey])


def _zoom(grey: NDArray[np.uint8], zoom: float) -> NDArray[np.uint8]:
    side = len(grey)
    first = side / 2 * (1 - 1 / zoom)
    map_back = (1 / zoom, 0.0, first, 0.0, 1 / zoom, first)
    picture = Image.fromarray(grey).transform(
        (side, side), Image.Transform.AFFINE, map_back, Image.Resampling.BILINEAR
    )
    return np.asarray(picture)
