"""Temperature and reliability: known answers, and what a temperature never changes."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from tumorscope.errors import DataError
from tumorscope.evaluation.calibration import (
    CONFIDENT,
    RISK,
    confident_threshold,
    fit_temperature,
    reliability,
)


def true_logits(seed: int = 0, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is exactly how often each class is the true one."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, 4))
    chances = softmax(logits, axis=1).cumsum(axis=1)
    labels = (rng.random((count, 1)) > chances[:, :3]).sum(axis=1)
    return logits, labels


def alone(count: int) -> list[str]:
    """As many patients as there are slices."""
    return [str(number) for number in range(count)]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_spoiled_the_logits_is_found(temperature: float) -> None:
    logits, labels = true_logits()
    found = fit_temperature(logits * temperature, labels, alone(len(labels)))
    assert found == pytest.approx(temperature, rel=0.03)


def test_log_probabilities_do_as_well_as_logits() -> None:
    logits, labels = true_logits(count=500)
    patients = alone(len(labels))
    assert fit_temperature(log_softmax(logits, axis=1), labels, patients) == pytest.approx(
        fit_temperature(logits, labels, patients), rel=1e-4
    )


def test_two_images_worked_out_by_hand() -> None:
    # Three of four right at logit difference 2: sigmoid(2 / T) must be 3 / 4, so T = 2 / ln 3.
    logits = np.array([[2.0, 0.0]] * 4)
    found = fit_temperature(logits, np.array([0, 0, 0, 1]), list("abcd"))
    assert found == pytest.approx(2 / np.log(3), rel=1e-4)
    # Two patients, one of them right in two slices and the other in two of three: 5 / 6.
    logits = np.array([[2.0, 0.0]] * 5)
    found = fit_temperature(logits, np.array([0, 0, 0, 0, 1]), list("aabbb"))
    assert found == pytest.approx(2 / np.log(5), rel=1e-4)


def test_answers_all_right_give_the_lower_bound() -> None:
    assert fit_temperature(np.eye(4), np.arange(4), list("abcd")) == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((0, 4)), np.zeros(0, dtype=int), "at least one image"),
        (np.zeros((3, 4)), np.zeros(2, dtype=int), r"not \(3, 4\) and \(2,\)"),
        (np.full((1, 4), np.nan), np.zeros(1, dtype=int), "finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    logits: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fit_temperature(logits, labels, alone(len(logits)))


def test_each_image_needs_its_patient() -> None:
    with pytest.raises(DataError, match="the patient of each image, not 3"):
        fit_temperature(np.eye(4), np.arange(4), list("abc"))


def test_reliability_worked_out_by_hand() -> None:
    probabilities = np.array([[0.5, 0.5], [0.7, 0.3], [0.2, 0.8], [0.0, 1.0]])
    found = reliability(probabilities, np.array([0, 1, 1, 1]), bins=4)
    assert found.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.counts.tolist() == [0, 1, 1, 2]
    np.testing.assert_allclose(found.confidence, [np.nan, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(found.accuracy, [np.nan, 1, 0, 1])


def drawn_patients(
    rng: np.random.Generator, count: int, *, slices: int = 4
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Overconfident answers: patients of whom some are hard."""
    hard = np.repeat(rng.random(count) < 0.15, slices)
    top = rng.uniform(0.85, 1.0, hard.size)
    wrong = rng.random(hard.size) < np.where(hard, 0.5, 0.01)
    probabilities = np.stack([top, 1.0 - top], axis=1)
    return probabilities, wrong.astype(int), [f"P{n // slices}" for n in range(hard.size)]


def test_the_promise_about_new_patients_holds() -> None:
    rng = np.random.default_rng(3)
    risks = []
    for _ in range(200):
        threshold, holds = confident_threshold(*drawn_patients(rng, 100))
        assert holds
        probabilities, labels, _ = drawn_patients(rng, 100)
        risks.append(((probabilities[:, 0] >= threshold) & (labels == 1)).mean())
    # It is an expectation, and not kept by never being confident.
    assert RISK / 2 < np.mean(risks) <= RISK
    # Without the rule it would be broken.
    assert (labels[probabilities[:, 0] >= CONFIDENT] == 1).mean() > 2 * RISK


def test_the_smallest_threshold_that_keeps_the_promise_by_hand() -> None:
    # 99 patients with a slice each: one may be wrong and confident, (1 + 1) / 100 = 0.02.
    top = np.full(99, 0.95)
    labels = np.zeros(99, dtype=int)
    top[:3], labels[:3] = (0.91, 0.93, 0.97), 1
    probabilities = np.stack([top, 1 - top], axis=1)
    groups = [str(number) for number in range(99)]
    threshold, holds = confident_threshold(probabilities, labels, groups)
    assert holds
    assert 0.93 < threshold < 0.93 + 1e-12
    # Slices of one patient share that patient's weight: three of its four may be wrong.
    labels[:4] = (1, 1, 1, 0)
    found = confident_threshold(probabilities, labels, ["A"] * 4 + groups[4:])
    assert found == (CONFIDENT, True)


def test_few_patients_or_no_mistakes_leave_the_usual_threshold() -> None:
    probabilities, labels, groups = drawn_patients(np.random.default_rng(1), 48)
    assert confident_threshold(probabilities, labels, groups) == (CONFIDENT, False)
    probabilities, labels, groups = drawn_patients(np.random.default_rng(1), 60)
    assert confident_threshold(probabilities, labels * 0, groups) == (CONFIDENT, True)
