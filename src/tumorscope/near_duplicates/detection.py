"""Finds near-duplicate slices and their clusters.

Twins are copies, mirrored, turned and contrast-changed pictures of one slice. Each is seen in two
views, cropped to the head and whole, because either frame may differ between copies. Brightness
and contrast are taken out of both locally, so that anatomy alone is compared.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tumorscope.images import prepare
from tumorscope.near_duplicates.candidates import (
    AS_IT_IS,
    LEFT_TO_RIGHT,
    Halves,
    Match,
    Pictures,
    better,
    search,
)
from tumorscope.progress import Progress, silent

Kind = Literal["exact", "near", "mirrored", "flipped", "contrast"]

KINDS: Final[tuple[Kind, ...]] = ("exact", "near", "mirrored", "flipped", "contrast")


@dataclass(frozen=True)
class _View:
    """From which correlations a pair is looked at closely, and from which it is certain."""

    likely: float
    certain: float


_VIEWS: Final = (_View(likely=0.6, certain=0.84), _View(likely=0.7, certain=0.88))
"""Head and whole slice.

The whole slice shows less of the anatomy and more of the outline, so more is asked of it. In the
Kaggle set, pairs of different patients reach 0.70 and 0.81, neighbouring slices of one patient
hardly ever pass, and copies that were squashed, mirrored and compressed again reach 0.96 and more
in the better view; heavily sharpened ones lie lower.
"""

_CONTRAST_CHANGE: Final = 8.0
"""Grey levels by which two copies differ before the contrast counts as changed; in the Kaggle set,
copies that were only saved again differ by 2 at most."""

_QUANTILES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)

_SIDE: Final = 64


@dataclass(frozen=True)
class Descriptor:
    """What is kept of one slice to compare it with others (about 20 KiB).

    Attributes:
        digest: SHA-256 of the grey pixels and their shape: equal for exact copies.
        form: Coarse anatomy in two views (head, whole), float16 `[2, 32, 32]`.
        detail: Fine anatomy in the same views, float16 `[2, 64, 64]`.
        levels: Grey values (0 to 255) of the head at five quantiles, float32 `[5]`.
    """

    digest: bytes
    form: Halves
    detail: Halves
    levels: NDArray[np.float32]


@dataclass(frozen=True)
class NearDuplicate:
    """Two pictures that show the same slice.

    Attributes:
        first: Position of one descriptor in the sequence that was searched.
        second: Position of the other, greater than `first`.
        kind: `exact` (same grey pixels), `near` (same picture, saved again or resized),
            `mirrored` (left to right), `flipped` (up-down or by half a turn), `contrast` (same
            picture with other brightness or contrast).
        similarity: Correlation of the fine anatomy, at most 1.
    """

    first: int
    second: int
    kind: Kind
    similarity: float


def describe(grey: NDArray[np.uint8]) -> Descriptor:
    """Describe a slice so that copies of it are found.

    Args:
        grey: Grey values 0 to 255, uint8, shape `[height, width]`.

    Returns:
        The descriptor.

    Raises:
        ValueError: The slice is not two-dimensional uint8.
    """
    views = np.stack([prepare(grey, _SIDE).astype(np.float32), _whole(grey)])
    coarse = _local_contrast(views, radius=4).reshape(2, _SIDE // 2, 2, _SIDE // 2, 2)
    return Descriptor(
        digest=hashlib.sha256(f"{grey.shape}".encode() + grey.tobytes()).digest(),
        form=coarse.mean((2, 4)).astype(np.float16),
        detail=_local_contrast(views, radius=2).astype(np.float16),
        levels=_levels(grey),
    )


def _whole(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the whole slice as a square of 64 pixels, its contrast stretched."""
    square = Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    picture = np.asarray(square, dtype=np.float32)
    dark, bright = np.percentile(picture, (1, 99))
    return (picture - np.float32(dark)) * np.float32(255 / max(bright - dark, 1))


def _local_contrast(views: NDArray[np.float32], *, radius: float) -> NDArray[np.float32]:
    """Return each pixel's difference from its surroundings in units of their local spread."""
    radii = (0, radius, radius)
    difference = views - gaussian_filter(views, radii)
    spread = np.sqrt(gaussian_filter(difference * difference, radii))
    # Below some grey levels of spread there is only noise, which must not be blown up.
    result: NDArray[np.float32] = difference / (spread + 8)
    return result


def _levels(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return quantiles of the grey values that are not background, so that padding is left out."""
    counts = np.bincount(grey.ravel(), minlength=256)
    bright = np.searchsorted(np.cumsum(counts), 0.99 * grey.size)
    counts[: round(0.12 * bright) + 1] = 0
    shares = np.cumsum(counts) / max(1, counts.sum())
    return np.searchsorted(shares, _QUANTILES).astype(np.float32)


def find_near_duplicates(
    descriptors: Sequence[Descriptor], *, progress: Progress = silent
) -> list[NearDuplicate]:
    """Find all pairs of slices that show the same slice.

    Args:
        descriptors: From `describe`, in any order.
        progress: Shows how far the comparing is.

    Returns:
        The pairs, sorted by position. Every pair within a set of exact copies is there.
    """
    # Exact copies are compared once, by their first, and share its answers.
    copies: dict[bytes, list[int]] = {}
    for place, descriptor in enumerate(descriptors):
        copies.setdefault(descriptor.digest, []).append(place)
    members = list(copies.values())
    pairs = [
        NearDuplicate(first, second, "exact", 1.0)
        for same in members
        for first, second in combinations(same, 2)
    ]
    unique = [descriptors[same[0]] for same in members]
    for (one, other), match in _matches(unique, progress).items():
        kind = _kind(unique[one], unique[other], match)
        pairs += [
            NearDuplicate(min(first, second), max(first, second), kind, match.similarity)
            for first, second in product(members[one], members[other])
        ]
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def _matches(unique: Sequence[Descriptor], progress: Progress) -> dict[tuple[int, int], Match]:
    """Search both views and keep each pair's better match."""
    matches: dict[tuple[int, int], Match] = {}
    if not unique:
        return matches
    for number, view in enumerate(_VIEWS):
        pictures = Pictures(
            np.stack([descriptor.form[number] for descriptor in unique]),
            np.stack([descriptor.detail[number] for descriptor in unique]),
        )
        found = search(pictures, likely=view.likely, certain=view.certain, progress=progress)
        for pair, match in found.items():
            matches[pair] = better(matches.get(pair, match), match)
    return matches


def _kind(one: Descriptor, other: Descriptor, match: Match) -> Kind:
    if match.turn != AS_IT_IS:
        return "mirrored" if match.turn == LEFT_TO_RIGHT else "flipped"
    changed = float(np.abs(one.levels - other.levels).max()) > _CONTRAST_CHANGE
    return "contrast" if changed else "near"


def near_duplicate_clusters(count: int, pairs: Sequence[NearDuplicate]) -> NDArray[np.intp]:
    """Number the sets of slices that pairs join, directly or through others.

    Args:
        count: Number of slices.
        pairs: From `find_near_duplicates`.

    Returns:
        The cluster of each slice, from 0 in the order of their first slices, shape `[count]`.
    """
    first = np.array([pair.first for pair in pairs], dtype=np.intp)
    second = np.array([pair.second for pair in pairs], dtype=np.intp)
    joined = coo_array((np.ones(len(pairs), dtype=np.int8), (first, second)), shape=(count, count))
    _, clusters = connected_components(joined, directed=False)
    _, places, numbers = np.unique(clusters, return_index=True, return_inverse=True)
    result: NDArray[np.intp] = np.argsort(np.argsort(places))[numbers]
    return result
