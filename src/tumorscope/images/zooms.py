"""Shows a model its inputs at other zooms: test-time augmentation."""

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Real = TypeVar("Real", bound=np.floating)

ZOOMS: Final = (0.85, 1.15)
"""Besides the input itself; all lie within what `edge` is trained with."""


def zoomed(grey: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield inputs `[N, S, S]` at each of `ZOOMS`, about their middle; what is outside is black.

    Args:
        grey: Grey values 0 to 255, `[N, S, S]`, as `prepare` makes them.
    """
    for zoom in ZOOMS:
        yield np.stack([_zoom(picture, zoom) for picture in grey])


def mean_over_zooms(
    grey: NDArray[np.uint8],
    probabilities: NDArray[Real],
    ask: Callable[[NDArray[np.uint8]], NDArray[Real]],
) -> NDArray[Real]:
    """Return the mean of a network's probabilities for inputs and for the same at other zooms.

    It is more often right than the probabilities for one view (Krizhevsky et al. 2012,
    https://doi.org/10.1145/3065386, section 4.1).

    Args:
        grey: Grey values 0 to 255, `[N, S, S]`, N at least 1.
        probabilities: The network's for these, `[N, classes]`.
        ask: Returns the network's probabilities for other inputs.
    """
    views = [probabilities, *(ask(view) for view in zoomed(grey))]
    mean: NDArray[Real] = np.mean(views, axis=0)
    return mean


def _zoom(grey: NDArray[np.uint8], zoom: float) -> NDArray[np.uint8]:
    side = len(grey)
    first = side / 2 * (1 - 1 / zoom)
    map_back = (1 / zoom, 0.0, first, 0.0, 1 / zoom, first)
    picture = Image.fromarray(grey).transform(
        (side, side), Image.Transform.AFFINE, map_back, Image.Resampling.BILINEAR
    )
    return np.asarray(picture)
