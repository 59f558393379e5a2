"""Finds pairs of pictures that may show the same thing.

First all pairs are correlated at 32 pixels in four orientations; the likely ones are then laid
over each other and correlated at 64 pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.near_duplicates.registration import correlation, lay_over, still, warp
from tumorscope.parallel import map_ordered
from tumorscope.progress import Progress

AS_IT_IS: Final = 0
LEFT_TO_RIGHT: Final = 1
"""Orientations by number; those above are up-down and half a turn."""

_TURNS: Final = (
    (slice(None), slice(None)),
    (slice(None), slice(None, None, -1)),
    (slice(None, None, -1), slice(None)),
    (slice(None, None, -1), slice(None, None, -1)),
)
"""Each undoes itself, so it does not matter which of two pictures is turned."""

_RIVAL: Final = 0.1
"""Orientations whose coarse correlation is this close to the best one's are tried as well:
heads are nearly symmetric, so the best one need not be the right one."""

_PROMISING: Final = 0.75
"""Pairs are laid over at 64 pixels from this correlation after laying over at 32."""

_SETTLED: Final = 0.9
"""Pairs this similar as they lie need no laying over."""

_BLOCK: Final = 512
_BATCH: Final = 256

Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Match:
    """How alike two pictures are, and the number of the orientation that makes them so."""

    similarity: float
    turn: int


@dataclass(frozen=True)
class Pictures:
    """Every slice twice: coarse `[slices, 32, 32]` and fine `[slices, 64, 64]`, float16."""

    form: Halves
    detail: Halves


def search(
    pictures: Pictures, *, likely: float, certain: float, progress: Progress
) -> dict[tuple[int, int], Match]:
    """Find the pairs of pictures that show the same thing.

    Args:
        pictures: All slices; a flat one is like no other.
        likely: Correlation at 32 pixels from which a pair is looked at closely.
        certain: Correlation at 64 pixels, laid over each other, from which a pair matches.
        progress: Shows how far the comparing is.

    Returns:
        The matches, by the positions of two slices, the smaller first.
    """
    blocks = map_ordered(
        partial(_confirm, pictures, certain), _likely_pairs(pictures.form, likely), threads=2
    )
    answers = progress(blocks, total=-(-len(pictures.form) // _BLOCK), label="comparing")
    return {pair: match for answer in answers for pair, match in answer.items()}


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


def _likely_pairs(forms: Halves, likely: float) -> Iterator[_Likely]:
    """Correlate all coarse pictures with all, block by block, in the four orientations."""
    turned = [_unit_rows(forms[:, *turn]) for turn in _TURNS]
    for start in range(0, len(forms), _BLOCK):
        block = turned[AS_IT_IS][start : start + _BLOCK]
        scores = np.stack([block @ rows[start:].T for rows in turned])
        wanted = np.maximum(scores.max(axis=0) - _RIVAL, likely)
        # Each pair once: the second stands after the first.
        turn, first, second = np.nonzero(np.triu(scores > wanted, k=1))
        yield _Likely(first + start, second + start, turn)


def _unit_rows(forms: Halves) -> NDArray[np.float32]:
    rows = forms.reshape(len(forms), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1), 1e-3)[:, None]
    return rows


def _confirm(pictures: Pictures, certain: float, likely: _Likely) -> dict[tuple[int, int], Match]:
    """Lay likely pairs over each other and keep those that match, in their best orientation."""
    matches: dict[tuple[int, int], Match] = {}
    for start in range(0, len(likely), _BATCH):
        batch = likely[start : start + _BATCH]
        similarity = _similarity(pictures, batch)
        for place in np.flatnonzero(similarity >= certain):
            pair = int(batch.first[place]), int(batch.second[place])
            match = Match(min(1.0, float(similarity[place])), int(batch.turn[place]))
            matches[pair] = better(matches.get(pair, match), match)
    return matches


def better(one: Match, other: Match) -> Match:
    """Return the match that is more alike; of equals the simpler orientation."""
    return max(one, other, key=lambda match: (match.similarity, -match.turn))


def _similarity(pictures: Pictures, batch: _Likely) -> NDArray[np.float32]:
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


def _laid_out(pictures: Halves, batch: _Likely) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the picture of each first and, turned, of each second, as two stacks."""
    first = pictures[batch.first].astype(np.float32)
    second = pictures[batch.second].astype(np.float32)
    for number, turn in enumerate(_TURNS[1:], start=1):
        turned = np.flatnonzero(batch.turn == number)
        second[turned] = second[turned][:, *turn]
    return first, second
