"""Turns the probabilities of a series' slices into one answer."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS: Final = 3
"""The fewest slices that decide: one alone may be noise."""

SHARE: Final = 7
"""One slice in so many decides: about as many as show a tumour of some size."""

_SMOOTHING: Final = (0.25, 0.5, 0.25)
"""Weights of a slice and its two neighbours."""

_TINY: Final = 0.02
"""A slice's probability counts as at least so far from 0 and 1: none outweighs its neighbours."""


@dataclass(frozen=True, kw_only=True)
class SeriesRule:
    """What a model file says of answers to whole series.

    Attributes:
        slope: What the mean log odds of a tumour on the deciding slices are multiplied by.
        offset: What is then added; it sets the operating point.
        confident: The probability from which a series' answer is confident; None: as for a slice.
    """

    slope: float = 1.0
    offset: float = 0.0
    confident: float | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | None) -> "SeriesRule":
        """Read what `to_json` returned; the identity where a model file says nothing."""
        return cls(**{name: float(value) for name, value in (values or {}).items()})

    def to_json(self) -> dict[str, float]:
        """Return what the model file holds."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class StackAnswer:
    """The answer to a stack.

    Attributes:
        probabilities: The probability of each class.
        deciding: Which slices decided whether there is a tumour, by their place in the stack.
        suspicion: How probable any tumour is; what the most suspicious of several stacks is
            chosen by.
    """

    probabilities: tuple[float, ...]
    deciding: tuple[int, ...]
    suspicion: float


def series_score(
    probabilities: NDArray[np.float64], no_tumour: int | None
) -> tuple[float, tuple[int, ...]]:
    """Return a stack's mean log odds of a tumour on its most suspicious slices, and which.

    The log odds are smoothed over neighbours; then the highest seventh of the slices decides, at
    least three of them.

    Args:
        probabilities: Of the stack's slices in order, `[N, classes]`.
        no_tumour: As in `answer_stack`.
    """
    tumour = np.clip(_tumour(probabilities, no_tumour), _TINY, 1 - _TINY)
    odds = np.pad(np.log(tumour / (1 - tumour)), 1, mode="edge")
    smooth = np.convolve(odds, _SMOOTHING, mode="valid")
    count = min(max(NEIGHBOURS, -(-len(smooth) // SHARE)), len(smooth))
    deciding = np.sort(np.argsort(-smooth, kind="stable")[:count])
    return float(smooth[deciding].mean()), tuple(deciding.tolist())


def answer_stack(
    probabilities: NDArray[np.float64], no_tumour: int | None, rule: SeriesRule | None = None
) -> StackAnswer:
    """Give one answer to neighbouring slices.

    The most suspicious seventh decides whether there is a tumour (`series_score`); all slices
    decide of which kind, weighted by the square of their probability of any tumour.

    Args:
        probabilities: The probability of each class on the slices, in their order along the body,
            `[N, classes]`, N at least 1.
        no_tumour: The index of the class without a tumour; None for a model that has none.
        rule: The model's calibration for series; None leaves the log odds as they are. Stacks of
            fewer slices than one in seven can be chosen of are no whole scans, for which it was
            fitted: theirs stay as they are.
    """
    rule = rule or SeriesRule()
    odds, deciding = series_score(probabilities, no_tumour)
    if len(probabilities) >= SHARE:
        odds = rule.slope * odds + rule.offset
    suspicion = float(1 / (1 + np.exp(-odds)))
    weights = np.maximum(_tumour(probabilities, no_tumour), _TINY)
    kinds = probabilities.copy()
    if no_tumour is not None:
        kinds[:, no_tumour] = 0
    # (p(kind) is p(tumour) times p(kind | tumour), so that one p of the square is in it.)
    share = (kinds * (weights if no_tumour is not None else weights**2)[:, None]).sum(axis=0)
    share /= max(float(share.sum()), float(np.finfo(np.float64).tiny))
    if no_tumour is not None:
        share *= suspicion
        share[no_tumour] = 1 - suspicion
    return StackAnswer(probabilities=tuple(share.tolist()), deciding=deciding, suspicion=suspicion)


def _tumour(probabilities: NDArray[np.float64], no_tumour: int | None) -> NDArray[np.float64]:
    """Return the probability of any tumour; of a model that knows nothing else, how sure it is."""
    found = probabilities.max(axis=1) if no_tumour is None else 1 - probabilities[:, no_tumour]
    return np.asarray(found, dtype=np.float64)


def answer_stacks(
    stacks: Sequence[NDArray[np.float64]], no_tumour: int | None, rule: SeriesRule | None = None
) -> tuple[int, StackAnswer]:
    """Give one answer to all stacks of a series: that of the most suspicious one.

    A stack of fewer slices than decide does not speak for a series that has a longer one: a slice
    that was taken twice would otherwise outweigh all the others.

    Args:
        stacks: The probabilities of each stack, as `answer_stack` takes them; at least one.
        no_tumour: As in `answer_stack`.
        rule: As in `answer_stack`.

    Returns:
        Which stack decided, and its answer.
    """
    longest = max(map(len, stacks))
    answers = {
        number: answer_stack(stack, no_tumour, rule)
        for number, stack in enumerate(stacks)
        if len(stack) >= min(NEIGHBOURS, longest)
    }
    number = max(answers, key=lambda each: answers[each].suspicion)
    return number, answers[number]
