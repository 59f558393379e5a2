"""Descriptors of grey slices come in, pairs that show the same slice and their clusters go out.

Twins are copies, mirrored, turned and contrast-changed pictures of one slice. Each picture is
cropped to the head, and brightness and contrast are taken out of it locally, so that anatomy alone
is compared: first all pairs at 32 pixels in four orientations, then the likely pairs at 64 pixels,
after one has been laid over the other (shift and scale along both axes).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tumorscope.data.threads import in_threads
from tumorscope.data.twins_overlay import correlation, lay_over, still, warp
from tumorscope.images import prepare
from tumorscope.progress import Progress, silent

Kind = Literal["exact", "near", "mirrored", "flipped", "contrast"]

KINDS: Final[tuple[Kind, ...]] = ("exact", "near", "mirrored", "flipped", "contrast")

TWIN_SIMILARITY: Final = 0.82
"""Pairs at least this similar are twins.

In the Kaggle set, copies that were squashed, mirrored and compressed again reach 0.9 and more;
neighbouring slices of one patient hardly ever 0.82, slices of different patients never 0.75.
Heavily sharpened copies lie between 0.7 and 0.9.
"""

_LIKELY: Final = 0.55
"""A pair is looked at closely from this correlation of the 32-pixel pictures."""

_PROMISING: Final = 0.75
"""...and laid over at 64 pixels from this correlation after laying over at 32."""

_SETTLED: Final = 0.9
"""Pairs this similar as they lie need no laying over."""

_RIVAL: Final = 0.1
"""Orientations whose coarse correlation is this close to the best one's are tried as well:
heads are nearly symmetric, so the best one need not be the right one."""

_CONTRAST_CHANGE: Final = 8.0
"""Grey levels by which two copies differ before the contrast counts as changed; in the Kaggle set,
copies that were only saved again differ by 2 at most."""

_QUANTILES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)

_SIDE: Final = 64
_BLOCK: Final = 512
_BATCH: Final = 256

_TURNS: Final = (
    (slice(None), slice(None)),
    (slice(None), slice(None, None, -1)),
    (slice(None, None, -1), slice(None)),
    (slice(None, None, -1), slice(None, None, -1)),
)
"""As it is, left to right, up-down, half a turn: each undoes itself."""


@dataclass(frozen=True)
class Descriptor:
    """What is kept of one slice to compare it with others (about 10 KiB).

    Attributes:
        digest: SHA-256 of the grey pixels and their shape: equal for exact copies.
        form: Coarse anatomy, float32 `[32, 32]`.
        detail: Fine anatomy, float16 `[64, 64]`.
        levels: Grey values (0 to 255) of the head at five quantiles, float32 `[5]`.
    """

    digest: bytes
    form: NDArray[np.float32]
    detail: NDArray[np.float16]
    levels: NDArray[np.float32]


@dataclass(frozen=True)
class TwinPair:
    """Two pictures that show the same slice.

    Attributes:
        first: Position of one descriptor in the sequence that was searched.
        second: Position of the other, greater than `first`.
        kind: `exact` (same grey pixels), `near` (same picture, saved again or resized),
            `mirrored` (left to right), `flipped` (up-down or by half a turn), `contrast` (same
            picture with other brightness, contrast or sharpness).
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
    picture = prepare(grey, _SIDE).astype(np.float32)
    form = _local_contrast(picture, radius=4).reshape(_SIDE // 2, 2, _SIDE // 2, 2).mean((1, 3))
    return Descriptor(
        digest=hashlib.sha256(f"{grey.shape}".encode() + grey.tobytes()).digest(),
        form=form,
        detail=_local_contrast(picture, radius=2).astype(np.float16),
        levels=_levels(grey),
    )


def _levels(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return quantiles of the grey values that are not background, so that padding is left out."""
    counts = np.bincount(grey.ravel(), minlength=256)
    bright = np.searchsorted(np.cumsum(counts), 0.99 * grey.size)
    counts[: round(0.12 * bright) + 1] = 0
    shares = np.cumsum(counts) / max(1, counts.sum())
    return np.searchsorted(shares, _QUANTILES).astype(np.float32)


def _local_contrast(picture: NDArray[np.float32], *, radius: float) -> NDArray[np.float32]:
    """Return each pixel's difference from its surroundings in units of their local spread."""
    difference = picture - gaussian_filter(picture, radius)
    spread = np.sqrt(gaussian_filter(difference * difference, radius))
    # Below some grey levels of spread there is only noise, which must not be blown up.
    result: NDArray[np.float32] = difference / (spread + 8)
    return result


def find_twins(descriptors: Sequence[Descriptor], *, progress: Progress = silent) -> list[TwinPair]:
    """Find all pairs of slices that show the same slice.

    Args:
        descriptors: From `describe`, in any order.
        progress: Shows how far the comparing is.

    Returns:
        The pairs, sorted by position. Every pair within a set of copies is there.
    """
    if len(descriptors) < 2:
        return []
    # Exact copies are compared once, by their first, and share its answers.
    copies: dict[bytes, list[int]] = {}
    for place, descriptor in enumerate(descriptors):
        copies.setdefault(descriptor.digest, []).append(place)
    members = list(copies.values())
    pairs = [
        TwinPair(first, second, "exact", 1.0)
        for same in members
        for first, second in combinations(same, 2)
    ]
    unique = [descriptors[same[0]] for same in members]
    answers = in_threads(
        partial(_confirmed, _Pictures.of(unique)),
        _likely_pairs(unique),
        total=-(-len(unique) // _BLOCK),
        progress=progress,
        label="comparing",
    )
    for answer in answers:
        for (one, other), (similarity, turn) in answer.items():
            kind = _kind(unique[one], unique[other], turn)
            pairs += [
                TwinPair(min(first, second), max(first, second), kind, similarity)
                for first, second in product(members[one], members[other])
            ]
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def twin_clusters(count: int, pairs: Sequence[TwinPair]) -> NDArray[np.intp]:
    """Number the sets of slices that pairs join, directly or through others.

    Args:
        count: Number of slices.
        pairs: From `find_twins`.

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


@dataclass(frozen=True)
class _Likely:
    """Pairs whose coarse pictures are alike, and the turn of the second that makes them so."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    turn: NDArray[np.intp]

    def __getitem__(self, chosen: NDArray[Any] | slice) -> "_Likely":
        return _Likely(self.first[chosen], self.second[chosen], self.turn[chosen])

    def __len__(self) -> int:
        return len(self.first)


def _likely_pairs(unique: Sequence[Descriptor]) -> Iterator[_Likely]:
    """Correlate all coarse pictures with all, block by block, in the four orientations."""
    forms = np.stack([descriptor.form for descriptor in unique])
    turned = [_unit_rows(forms[:, *turn]) for turn in _TURNS]
    for start in range(0, len(unique), _BLOCK):
        block = turned[0][start : start + _BLOCK]
        scores = np.stack([block @ rows[start:].T for rows in turned])
        wanted = np.maximum(scores.max(axis=0) - _RIVAL, _LIKELY)
        # Each pair once: the second stands after the first.
        turn, first, second = np.nonzero(np.triu(scores > wanted, k=1))
        yield _Likely(first + start, second + start, turn)


def _unit_rows(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = pictures.reshape(len(pictures), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    result: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-3)[:, None]
    return result


@dataclass(frozen=True)
class _Pictures:
    """All pictures of one size, `[slices, side, side]`."""

    form: NDArray[np.float32]
    detail: NDArray[np.float16]

    @classmethod
    def of(cls, unique: Sequence[Descriptor]) -> "_Pictures":
        return cls(
            np.stack([descriptor.form for descriptor in unique]),
            np.stack([descriptor.detail for descriptor in unique]),
        )


def _confirmed(pictures: _Pictures, likely: _Likely) -> dict[tuple[int, int], tuple[float, int]]:
    """Lay likely pairs over each other; return the twins' similarities and turns."""
    twins: dict[tuple[int, int], tuple[float, int]] = {}
    for start in range(0, len(likely), _BATCH):
        batch = likely[start : start + _BATCH]
        similarity = _similarity(pictures, batch)
        for place in np.flatnonzero(similarity >= TWIN_SIMILARITY):
            pair = int(batch.first[place]), int(batch.second[place])
            found = min(1.0, float(similarity[place])), int(batch.turn[place])
            # Of orientations that fit equally well the simpler one, which came first, is kept.
            twins[pair] = max(twins.get(pair, found), found, key=lambda answer: answer[0])
    return twins


def _similarity(pictures: _Pictures, batch: _Likely) -> NDArray[np.float32]:
    """Return how alike the pairs are at 64 pixels once they lie over each other."""
    first, second = _laid_out(pictures.detail, batch)
    similarity = correlation(first, second)
    open_ = np.flatnonzero(similarity < _SETTLED)
    forms, turned_forms = _laid_out(pictures.form, batch[open_])
    moves = lay_over(forms, turned_forms, still(len(open_)), steps=6)
    promising = correlation(forms, warp(turned_forms, moves)) > _PROMISING
    open_, moves = open_[promising], moves[promising]
    moves = lay_over(first[open_], second[open_], moves, steps=2)
    similarity[open_] = correlation(first[open_], warp(second[open_], moves))
    return similarity


def _laid_out(
    pictures: NDArray[np.float32] | NDArray[np.float16], batch: _Likely
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the picture of each first and, turned, of each second, as two stacks."""
    first = pictures[batch.first].astype(np.float32)
    second = pictures[batch.second].astype(np.float32)
    for number, turn in enumerate(_TURNS[1:], start=1):
        turned = np.flatnonzero(batch.turn == number)
        second[turned] = second[turned][:, *turn]
    return first, second


def _kind(one: Descriptor, other: Descriptor, turn: int) -> Kind:
    if turn == 1:
        return "mirrored"
    if turn > 1:
        return "flipped"
    changed = float(np.abs(one.levels - other.levels).max()) > _CONTRAST_CHANGE
    return "contrast" if changed else "near"
