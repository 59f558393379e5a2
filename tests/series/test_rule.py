"""The answer to stacks of neighbours."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tumorscope.series.rule import SeriesRule, answer_stack, answer_stacks


def stack(*tumour: float) -> NDArray[np.float64]:
    """Slices of a model that knows a tumour and none."""
    return np.array([[share, 1 - share] for share in tumour])


def test_the_most_suspicious_slices_decide() -> None:
    answer = answer_stack(stack(0.1, 0.9, 0.1, 0.1, 0.8, 0.95, 0.98, 0.2), 1)
    assert answer.deciding == (4, 5, 6)
    assert answer.suspicion > 0.8
    assert answer.probabilities == pytest.approx((answer.suspicion, 1 - answer.suspicion))


def test_a_slice_that_stands_alone_does_not_make_a_tumour() -> None:
    assert answer_stack(stack(*[0.05] * 10, 0.99, *[0.05] * 10), 1).suspicion < 0.5


def test_a_seventh_of_a_long_stack_decides() -> None:
    tumour, free = [0.9] * 10, [0.02] * 60
    answer = answer_stack(stack(*free[:30], *tumour, *free[30:]), 1)
    assert answer.deciding == tuple(range(30, 40))
    assert answer_stack(stack(*free), 1).suspicion == pytest.approx(0.02)


def test_the_calibration_of_the_model_file_moves_the_operating_point() -> None:
    slices = stack(*[0.7] * 20)
    assert answer_stack(slices, 1).suspicion == pytest.approx(0.7)
    assert answer_stack(slices, 1, SeriesRule(slope=2.0, offset=-3.0)).suspicion < 0.5
    # Fewer slices than one in seven of can be chosen are no whole scan.
    few = stack(*[0.7] * 3)
    assert answer_stack(few, 1, SeriesRule(offset=-3.0)).suspicion == pytest.approx(0.7)


def test_slices_with_much_tumour_decide_of_the_kind() -> None:
    # Glioma on a few slices that show it well; everywhere else a weak pituitary tumour.
    shown, weak = [[0.9, 0.02, 0.08]] * 5, [[0.02, 0.2, 0.78]] * 15
    answer = answer_stack(np.array(weak + shown), 2)
    assert int(np.argmax(answer.probabilities)) == 0
    assert sum(answer.probabilities) == pytest.approx(1)
    assert answer.probabilities[0] > 4 * answer.probabilities[1]


def test_a_model_without_the_class_no_tumour_answers() -> None:
    answer = answer_stack(np.array([[0.6, 0.4], [0.9, 0.1]]), None)
    assert answer.probabilities[0] > 0.7
    assert sum(answer.probabilities) == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_certain_slices_give_a_finite_answer(value: float) -> None:
    answer = answer_stack(stack(*[value] * 9), 1, SeriesRule(slope=3.0))
    assert np.isfinite(answer.probabilities).all()
    assert answer.suspicion == pytest.approx(value, abs=1e-3)


def test_the_rule_survives_the_model_file() -> None:
    rule = SeriesRule(slope=1.5, offset=-0.25, confident=0.95)
    assert SeriesRule.from_json(rule.to_json()) == rule
    assert SeriesRule.from_json(None) == SeriesRule()


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
