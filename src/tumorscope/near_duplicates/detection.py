"""Finds near-duplicate slices and their clusters.

Near-duplicates are copies, mirrored, turned and contrast-changed pictures of one slice. Each is
seen in four views, because any frame may differ between copies: cropped to the head, whole, from
the crown down (wherever the lower edge was cut) and upright (however the picture was turned).
Brightness and contrast are taken out of all locally, so that anatomy alone is compared.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
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
from tumorscope.images.preparation import cut_out, find_head
from tumorscope.near_duplicates.candidates import (
    AS_IT_IS,
    LEFT_TO_RIGHT,
    TURNED,
    Match,
    Pictures,
    Small,
    View,
    better,
    search,
)
from tumorscope.progress import Progress, silent

Kind = Literal["exact", "near", "mirrored", "flipped", "turned", "contrast"]

KINDS: Final[tuple[Kind, ...]] = ("exact", "near", "mirrored", "flipped", "turned", "contrast")


_HEAD: Final = View(turns=4, small_turns=False, likely=0.6, certain=0.84)
_WHOLE: Final = View(turns=4, small_turns=True, likely=0.65, certain=0.88)
_CROWN: Final = View(turns=2, small_turns=False, likely=0.6, certain=0.88)
_UPRIGHT: Final = View(turns=4, small_turns=True, likely=0.7, certain=0.93)
_VIEWS: Final = (_HEAD, _WHOLE, _CROWN, _UPRIGHT)
"""The whole slice and its upper part show less of the anatomy and more of the outline, so more is
asked of them, and most of pictures that were turned until they fit. In the Kaggle set, pairs of
different patients reach 0.70 and 0.81 in the first two views, neighbouring slices of one patient
hardly ever pass (0.93 upright), and copies that were squashed, mirrored and compressed again reach
0.96 and more in the better view; heavily sharpened ones lie lower. A lower edge is cut off as the
picture stands, so the view from the crown is not turned upside down.
"""

_CONTRAST_CHANGE: Final = 8.0
"""Grey levels by which two copies differ before the contrast counts as changed; in the Kaggle set,
copies that were only saved again differ by 2 at most."""

_QUANTILES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)

_SIDE: Final = 64

_STEPS: Final = 24
"""Steps of a descriptor's values in one unit of local contrast; 5.3 units are the most."""

_CROWN_HEIGHT: Final = 0.8
"""How much of the head the view from the crown shows, in widths of the head."""

_TISSUE: Final = 40
"""Grey level, after stretching, from which a pixel counts where the head's axes are sought."""

_EXTENT: Final = 2.05
"""Half the upright view's side in standard deviations along the head's axes: an ellipse ends at 2.
"""


@dataclass(frozen=True)
class Descriptor:
    """What is kept of one slice to compare it with others (20 KiB).

    Attributes:
        digest: SHA-256 of the grey pixels and their shape: equal for exact copies.
        form: Coarse anatomy in four views (head, whole, crown, upright), int8 `[4, 32, 32]`.
        detail: Fine anatomy in the same views, int8 `[4, 64, 64]`.
        levels: Grey values (0 to 255) of the head at five quantiles, float32 `[5]`.
    """

    digest: bytes
    form: Small
    detail: Small
    levels: NDArray[np.float32]

    @property
    def is_flat(self) -> bool:
        """Whether there is nothing to see: one grey value all over."""
        return not self.form.any()


@dataclass(frozen=True)
class NearDuplicate:
    """Two pictures that show the same slice.

    Attributes:
        first: Position of one descriptor in the sequence that was searched.
        second: Position of the other, greater than `first`.
        kind: `exact` (same grey pixels), `near` (same picture, saved again, resized, cropped or
            turned by some degrees), `mirrored` (left to right), `flipped` (up-down or by half a
            turn), `turned` (by a quarter or any other angle, mirrored or not), `contrast` (same
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
    views = np.stack([prepare(grey, _SIDE).astype(np.float32), *_other_views(grey)])
    coarse = _local_contrast(views, radius=4).reshape(-1, _SIDE // 2, 2, _SIDE // 2, 2)
    return Descriptor(
        digest=hashlib.sha256(f"{grey.shape}".encode() + grey.tobytes()).digest(),
        form=_in_steps(coarse.mean((2, 4))),
        detail=_in_steps(_local_contrast(views, radius=2)),
        levels=_levels(grey),
    )


def _other_views(grey: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Make the views of the whole slice, from the crown, and upright."""
    square = Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    yield _stretched(np.asarray(square))
    box = top, _, left, right = find_head(grey)
    bottom = top + _CROWN_HEIGHT * (right - left)
    below = max(0, math.ceil(bottom) - len(grey))
    yield _stretched(cut_out(np.pad(grey, ((0, below), (0, 0))), (top, bottom, left, right), _SIDE))
    yield _upright(_stretched(cut_out(grey, box, 3 * _SIDE // 2)), box)


def _stretched(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Stretch the contrast so that the darkest and the brightest hundredth meet 0 and 255."""
    dark, bright = np.percentile(picture, (1, 99))
    result: NDArray[np.float32] = (picture - np.float32(dark)) * np.float32(
        255 / max(bright - dark, 1)
    )
    return result


def _upright(
    head: NDArray[np.float32], box: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """Lay a head's long axis upright, by the moments of what is bright.

    Args:
        head: What is in the box, stretched to a square.
        box: `(top, bottom, left, right)` in the slice.

    Returns:
        A square round the head, `[64, 64]`; half a turn and mirroring stay open.
    """
    top, bottom, left, right = box
    places = (np.arange(len(head)) + 0.5) / len(head) - 0.5
    rows, columns = np.nonzero(head >= _TISSUE)
    points = np.stack([places[rows] * (bottom - top), places[columns] * (right - left)])
    if points.shape[1] < 2:
        return np.zeros((_SIDE, _SIDE), dtype=np.float32)
    variances, axes = np.linalg.eigh(np.cov(points))
    # In columns: how far down and right half the view's width leads, and half its height.
    sides = np.array([[bottom - top], [right - left]])
    steps = axes * _EXTENT * np.sqrt(np.maximum(variances, 0)) / sides * len(head)
    if np.linalg.det(steps) > 0:  # mirrored: no turn makes it
        steps[:, 0] *= -1
    middle = (points.mean(axis=1, keepdims=True) / sides + 0.5) * len(head)
    corner = middle - steps.sum(axis=1, keepdims=True)
    down, across = np.hstack([steps * 2 / _SIDE, corner]).tolist()
    turned = Image.fromarray(head).transform(
        (_SIDE, _SIDE), Image.Transform.AFFINE, (*across, *down), Image.Resampling.BILINEAR
    )
    return np.asarray(turned)


def _local_contrast(views: NDArray[np.float32], *, radius: float) -> NDArray[np.float32]:
    """Return each pixel's difference from its surroundings in units of their local spread."""
    radii = (0, radius, radius)
    difference = views - gaussian_filter(views, radii)
    spread = np.sqrt(gaussian_filter(difference * difference, radii))
    # Below some grey levels of spread there is only noise, which must not be blown up.
    result: NDArray[np.float32] = difference / (spread + 8)
    return result


def _in_steps(contrast: NDArray[np.float32]) -> Small:
    """Round to eight bits: four views take the memory of two in float16, and nothing is lost."""
    return np.clip(np.rint(_STEPS * contrast), -127, 127).astype(np.int8)


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
        The pairs, sorted by position. Every pair within a set of exact copies is there. A flat
        picture shows no slice, and is like no other: black slices from beyond the heads of two
        patients would make one of them.
    """
    # Exact copies are compared once, by their first, and share its answers.
    copies: dict[bytes, list[int]] = {}
    for place, descriptor in enumerate(descriptors):
        if not descriptor.is_flat:
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
    """Search all views and keep each pair's best match."""
    matches: dict[tuple[int, int], Match] = {}
    if not unique:
        return matches
    for number, view in enumerate(_VIEWS):
        pictures = Pictures(
            np.stack([descriptor.form[number] for descriptor in unique]),
            np.stack([descriptor.detail[number] for descriptor in unique]),
        )
        for pair, match in search(pictures, view, progress=progress).items():
            if view is not _UPRIGHT:
                matches[pair] = better(matches.get(pair, match), match)
            else:  # no other view shows it: the turn is no small one
                matches.setdefault(pair, Match(match.similarity, TURNED))
    return matches


def _kind(one: Descriptor, other: Descriptor, match: Match) -> Kind:
    if match.turn == TURNED:
        return "turned"
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
