"""The answer to stacks of neighbours."""

import numpy as np
import pytest

from tumorscope.series.rule import StackEvidence, answer_stack, answer_stacks


def stack(*tumour: float) -> StackEvidence:
    """Slices of a model that knows a tumour and none."""
    probabilities = np.array([[share, 1 - share] for share in tumour])
    return StackEvidence(probabilities=probabilities, map_peaks=np.zeros(len(tumour)))


def test_the_most_suspicious_neighbours_decide() -> None:
    answer = answer_stack(stack(0.1, 0.9, 0.1, 0.1, 0.8, 0.95, 0.98, 0.2), 1)
    assert answer.deciding == (4, 5, 6)
    assert answer.probabilities == pytest.approx((0.91, 0.09))
    assert answer.suspicion == pytest.approx(0.91)


def test_the_most_suspicious_stack_decides() -> None:
    number, answer = answer_stacks([stack(0.1, 0.1, 0.1), stack(0.6, 0.6, 0.9), stack(0.5)], 1)
    assert (number, answer.deciding) == (1, (0, 1, 2))


def test_a_slice_taken_twice_does_not_speak_for_the_series() -> None:
    number, answer = answer_stacks([stack(0.1, 0.99, 0.1, 0.1), stack(0.99)], 1)
    assert number == 0
    assert answer.suspicion < 0.5
    number, answer = answer_stacks([stack(0.1), stack(0.99)], 1)
    assert number == 1
    assert answer.deciding == (0,)
