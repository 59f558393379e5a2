"""Finds pairs of pictures that may show the same thing.

First all pairs are correlated at 32 pixels in up to four orientations; the likely ones are then
laid over each other, at last with small turns, too, and correlated at 64 pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.near_duplicates.registration import Stack, correlation, lay_over, still, warp
from tumorscope.parallel import map_ordered
from tumorscope.progress import Progress

AS_IT_IS: Final = 0
LEFT_TO_RIGHT: Final = 1
TURNED: Final = 4
"""Orientations by number; between these two are up-down and half a turn."""

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

_PERHAPS_TURNED: Final = 0.6
"""Pairs are laid over with small turns, too, from this correlation after laying over without."""

_PROMISING_TURNED: Final = 0.85
"""As `_PROMISING`, for pairs laid over with small turns: six numbers fit more than four."""

_SETTLED: Final = 0.9
"""Pairs this similar as they lie need no laying over."""

_BLOCK: Final = 512
_BATCH: Final = 256

Small = NDArray[np.int8]


@dataclass(frozen=True, kw_only=True)
class View:
    """How pairs are sought in one view of all slices.

    Attributes:
        turns: How many of the four orientations are tried.
        small_turns: Whether pictures are turned by some degrees, too, to lie over each other.
        likely: The correlation at 32 pixels from which a pair is looked at closely.
        certain: The one at 64 pixels, laid over each other, from which a pair matches.
    """

    turns: int
    small_turns: bool
    likely: float
    certain: float


@dataclass(frozen=True)
class Match:
    """How alike two pictures are, and the number of the orientation that makes them so."""

    similarity: float
    turn: int


@dataclass(frozen=True)
class Pictures:
    """Every slice twice: coarse `[slices, 32, 32]` and fine `[slices, 64, 64]`, int8."""

    form: Small
    detail: Small


def search(pictures: Pictures, view: View, *, progress: Progress) -> dict[tuple[int, int], Match]:
    """Find the pairs of pictures that show the same thing.

    Args:
        pictures: All slices; a flat one is like no other.
        view: How pairs are sought.
        progress: Shows how far the comparing is.

    Returns:
        The matches, by the positions of two slices, the smaller first.
    """
    blocks = map_ordered(
        partial(_confirm, pictures, view), _likely_pairs(pictures.form, view), threads=2
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


def _likely_pairs(forms: Small, view: View) -> Iterator[_Likely]:
    """Correlate all coarse pictures with all, block by block, in some orientations."""
    turned = [_unit_rows(forms[:, *turn]) for turn in _TURNS[: view.turns]]
    for start in range(0, len(forms), _BLOCK):
        block = turned[AS_IT_IS][start : start + _BLOCK]
        scores = np.stack([block @ rows[start:].T for rows in turned])
        wanted = np.maximum(scores.max(axis=0) - _RIVAL, view.likely)
        # Each pair once: the second stands after the first.
        turn, first, second = np.nonzero(np.triu(scores > wanted, k=1))
        yield _Likely(first + start, second + start, turn)


def _unit_rows(forms: Small) -> NDArray[np.float32]:
    rows = forms.reshape(len(forms), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1), 1e-3)[:, None]
    return rows


def _confirm(pictures: Pictures, view: View, likely: _Likely) -> dict[tuple[int, int], Match]:
    """Lay likely pairs over each other and keep those that match, in their best orientation."""
    matches: dict[tuple[int, int], Match] = {}
    for start in range(0, len(likely), _BATCH):
        batch = likely[start : start + _BATCH]
        similarity = _similarity(pictures, view, batch)
        for place in np.flatnonzero(similarity >= view.certain):
            pair = int(batch.first[place]), int(batch.second[place])
            match = Match(min(1.0, float(similarity[place])), int(batch.turn[place]))
            matches[pair] = better(matches.get(pair, match), match)
    return matches


def better(one: Match, other: Match) -> Match:
    """Return the match that is more alike; of equals the simpler orientation."""
    return max(one, other, key=lambda match: (match.similarity, -match.turn))


def _similarity(pictures: Pictures, view: View, batch: _Likely) -> NDArray[np.float32]:
    """Return how alike the pairs are at 64 pixels once they lie over each other."""
    coarse = _laid_out(pictures.form, batch)
    fine = _laid_out(pictures.detail, batch)
    similarity = correlation(*fine)
    open_ = np.flatnonzero(similarity < _SETTLED)
    moves, found = _laid_over(coarse, fine, open_, still(len(open_)), similarity)
    if view.small_turns:
        left = (found > _PERHAPS_TURNED) & (similarity[open_] < view.certain)
        _laid_over(coarse, fine, open_[left], moves[left], similarity, small_turns=True)
    return similarity


def _laid_over(
    coarse: tuple[Stack, Stack],
    fine: tuple[Stack, Stack],
    chosen: NDArray[np.intp],
    start: Stack,
    similarity: NDArray[np.float32],
    *,
    small_turns: bool = False,
) -> tuple[Stack, Stack]:
    """Lay some pairs over each other at 32 pixels, the promising ones at 64, too.

    Args:
        coarse: Pictures of 32 pixels, of the firsts and of the seconds.
        fine: The same at 64 pixels.
        chosen: The pairs' places.
        start: The moves to start from.
        similarity: Of all pairs; raised where it is better now.
        small_turns: Whether the seconds may be turned and sheared, too.

    Returns:
        The moves, and the correlation at 32 pixels that they lead to.
    """
    first, second = coarse[0][chosen], coarse[1][chosen]
    steps = 4 if small_turns else 6
    moves = lay_over(first, second, start, steps=steps, turning=small_turns)
    found = correlation(first, warp(second, moves))
    promising = found > (_PROMISING_TURNED if small_turns else _PROMISING)
    first, second = fine[0][chosen[promising]], fine[1][chosen[promising]]
    nearer = lay_over(first, second, moves[promising], steps=2, turning=small_turns)
    finer = correlation(first, warp(second, nearer))
    if small_turns:  # neighbouring slices reach 0.88 when they may be turned
        finer[finer < _SETTLED] = 0
    similarity[chosen[promising]] = np.maximum(similarity[chosen[promising]], finer)
    return moves, found


def _laid_out(pictures: Small, batch: _Likely) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the picture of each first and, turned, of each second, as two stacks."""
    first = pictures[batch.first].astype(np.float32)
    second = pictures[batch.second].astype(np.float32)
    for number, turn in enumerate(_TURNS[1:], start=1):
        turned = np.flatnonzero(batch.turn == number)
        second[turned] = second[turned][:, *turn]
    return first, second
