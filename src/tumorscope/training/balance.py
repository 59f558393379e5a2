"""How often each slice is shown, so that scan, plane and sharpness say little about the class."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.datasets.catalogue import Slice, slice_name

OTHERS: Final = 0.1
"""The share of a data set that is not named, before all shares are scaled to a sum of 1."""


def slice_weights(slices: Sequence[Slice], shares: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the probability with which each slice is drawn.

    Each data set has its share. Inside a set classes have equal parts, inside a class hospitals,
    and inside a hospital sequences: so none of these is a sign of a class beyond what the choice
    of sets makes it. Of near-duplicates together as many are drawn as the square root of their
    number.

    Args:
        slices: The training part.
        shares: The share of each data set by its source's name; see `OTHERS` for those without.

    Returns:
        Probabilities, shape `[N]`, their sum 1.
    """
    clusters = [item.cluster or slice_name(item) for item in slices]
    copies = Counter(clusters)
    paths = [(item.source, item.label, item.hospital, item.sequence) for item in slices]
    # Of each node of the tree set, class, hospital, sequence: the parts that it has.
    parts: dict[tuple[str, ...], set[str]] = {}
    for path in set(paths):
        for depth in range(1, len(path)):
            parts.setdefault(path[:depth], set()).add(path[depth])
    own = np.array([copies[cluster] ** -0.5 for cluster in clusters])
    totals: Counter[tuple[str, ...]] = Counter()
    for path, weight in zip(paths, own, strict=True):
        totals[path] += weight
    weights = np.array(
        [
            weight
            / totals[path]
            * shares.get(path[0], OTHERS)
            / np.prod([len(parts[path[:depth]]) for depth in range(1, len(path))])
            for path, weight in zip(paths, own, strict=True)
        ]
    )
    return np.asarray(weights / weights.sum())
