"""Turns the probabilities of a series' slices into one answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS: Final = 3
"""How many neighbouring slices decide: one alone may be noise, and few show a small tumour."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StackEvidence:
    """What is known of a stack's slices, in their order along the body.

    Attributes:
        probabilities: The probability of each class, `[N, classes]`, N at least 1.
        map_peaks: The highest value of the predicted tumour's map on each slice, `[N]`; 0 where no
            tumour is predicted, NaN where the model has no maps.
        positions: Where the slices lie along the normal, mm, `[N]`; None where unknown.
    """

    probabilities: NDArray[np.float64]
    map_peaks: NDArray[np.float64]
    positions: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class StackAnswer:
    """The answer to a stack.

    Attributes:
        probabilities: The probability of each class.
        deciding: Which slices decided, by their place in the stack.
        suspicion: How probable any tumour is; what the most suspicious of several stacks is
            chosen by.
    """

    probabilities: tuple[float, ...]
    deciding: tuple[int, ...]
    suspicion: float


def answer_stack(evidence: StackEvidence, no_tumour: int | None) -> StackAnswer:
    """Give one answer to neighbouring slices.

    Of all runs of three neighbours the one with the highest mean probability of any tumour
    decides: its mean probabilities are the stack's. So a tumour on few slices counts, and a single
    slice that stands alone counts for a third.

    Args:
        evidence: What is known of the slices.
        no_tumour: The index of the class without a tumour; None for a model that has none: it is
            asked where it is surest.
    """
    run = min(NEIGHBOURS, len(evidence.probabilities))
    windows = np.lib.stride_tricks.sliding_window_view(evidence.probabilities, run, axis=0)
    means = windows.mean(axis=-1)
    suspicion = means.max(axis=1) if no_tumour is None else 1 - means[:, no_tumour]
    start = int(np.argmax(suspicion))
    return StackAnswer(
        probabilities=tuple(means[start].tolist()),
        deciding=tuple(range(start, start + run)),
        suspicion=float(suspicion[start]),
    )


def answer_stacks(
    stacks: Sequence[StackEvidence], no_tumour: int | None
) -> tuple[int, StackAnswer]:
    """Give one answer to all stacks of a series: that of the most suspicious one.

    A stack of fewer slices than decide does not speak for a series that has a longer one: a slice
    that was taken twice would otherwise outweigh all the others.

    Args:
        stacks: The stacks, at least one, none of them empty.
        no_tumour: As in `answer_stack`.

    Returns:
        Which stack decided, and its answer.
    """
    longest = max(len(stack.probabilities) for stack in stacks)
    answers = {
        number: answer_stack(stack, no_tumour)
        for number, stack in enumerate(stacks)
        if len(stack.probabilities) >= min(NEIGHBOURS, longest)
    }
    number = max(answers, key=lambda each: answers[each].suspicion)
    return number, answers[number]
