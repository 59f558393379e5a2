"""Fits a temperature and a confidence threshold, and compares probabilities with accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from tumorscope.errors import DataError

BINS: Final = 15
"""Equal-width bins of the top probability, as in Guo et al. 2017."""

_TEMPERATURES: Final = (0.05, 20.0)
"""Between these the best temperature is sought: outside of them a network is simply broken."""

CONFIDENT: Final = 0.9
"""The top probability that a confident answer has at least."""

RISK: Final = 0.02
"""The share of a new patient's slices that may be called confident and yet be wrong, on average."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """How right the answers are among those given with about the same probability.

    Attributes:
        edges: The bins' borders, shape `[bins + 1]`; a bin holds its upper border.
        counts: Answers in each bin, shape `[bins]`.
        confidence: Mean top probability in each bin, NaN where it is empty.
        accuracy: Share of right answers in each bin, NaN where it is empty.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.intp]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def bin_numbers(confidence: NDArray[np.float64], bins: int = BINS) -> NDArray[np.intp]:
    """Return the bin of each top probability: bin m holds those in (m / bins, (m + 1) / bins].

    >>> bin_numbers(np.array([0.0, 0.25, 0.26, 1.0]), bins=4)
    array([0, 0, 1, 3])
    """
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    return np.digitize(confidence, inner_edges, right=True)


def reliability(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = BINS
) -> Reliability:
    """Compare the top probabilities with the share of right answers, bin by bin.

    Args:
        probabilities: Shape `[N, C]`.
        labels: True classes as column numbers, shape `[N]`.
        bins: Number of equal-width bins.

    Returns:
        What a reliability diagram shows.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    number = bin_numbers(confidence, bins)
    counts = np.bincount(number, minlength=bins)
    with np.errstate(invalid="ignore"):  # an empty bin is 0 / 0, which is the NaN we want
        return Reliability(
            edges=np.linspace(0, 1, bins + 1),
            counts=counts,
            confidence=np.bincount(number, weights=confidence, minlength=bins) / counts,
            accuracy=np.bincount(number, weights=right, minlength=bins) / counts,
        )


def fit_temperature(
    logits: NDArray[np.floating], labels: NDArray[np.integer], groups: Sequence[str]
) -> float:
    """Find the temperature that makes a network's probabilities fit how often it is right.

    Minimises the mean negative log-likelihood of `softmax(logits / temperature)` (Guo et al.,
    On Calibration of Modern Neural Networks, ICML 2017) between 0.05 and 20, each patient counting
    once: a few of them have most of the slices, and not the hard ones. The function of
    1 / temperature is convex, so a bounded scalar search finds the minimum. Fit it on validation
    images, never on the test part.

    Args:
        logits: Logits or log-probabilities, shape `[N, C]`.
        labels: True classes as column numbers, shape `[N]`.
        groups: The patient of each slice, length N.

    Returns:
        The temperature: above 1 the network was too sure, below 1 not sure enough. When every
        answer is right the images cannot tell, and it comes out near the lower bound.

    Raises:
        DataError: There are no images, the shapes do not fit, or a logit is not finite.
    """
    if logits.ndim != 2 or len(logits) == 0 or labels.shape != (len(logits),):
        raise DataError(
            "a temperature needs logits of shape [N, C] and N labels for at least one image, "
            f"not {logits.shape} and {labels.shape}"
        )
    if len(groups) != len(logits):
        raise DataError(f"a temperature needs the patient of each image, not {len(groups)}")
    if not np.isfinite(logits).all():
        raise DataError("a temperature needs finite logits: the network's answers are not")
    values = logits.astype(np.float64)
    rows, weights = np.arange(len(labels)), _patient_weights(groups) / len(set(groups))

    def loss(logarithm: float) -> float:
        return -float(log_softmax(values / np.exp(logarithm), axis=1)[rows, labels] @ weights)

    low, high = np.log(_TEMPERATURES)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def confident_threshold(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], groups: Sequence[str]
) -> tuple[float, bool]:
    """Find the top probability from which an answer may be called confident.

    Conformal risk control (Angelopoulos et al. 2024, https://arxiv.org/abs/2208.02814): with the
    smallest threshold at which `(wrong + 1) / (patients + 1)` is at most `RISK`, where `wrong` sums
    up, over the patients, the share of the slices that are confident and wrong, the expected share
    of a new patient of the same kind is at most `RISK`. It is never below `CONFIDENT`. With too few
    patients nothing can be promised, and it is `CONFIDENT`.

    Args:
        probabilities: Calibrated ones of slices that were not learned from, shape `[N, C]`.
        labels: True classes as column numbers, shape `[N]`.
        groups: The patient of each slice, length N.

    Returns:
        The threshold, and whether it holds the promise.
    """
    weights = _patient_weights(groups)
    patients = len(set(groups))
    top = probabilities.max(axis=1).astype(np.float64)
    wrong = probabilities.argmax(axis=1) != labels
    allowed = RISK * (patients + 1) - 1.0
    if allowed < 0:
        return CONFIDENT, False
    threshold = CONFIDENT
    for value in np.sort(top[wrong & (top >= CONFIDENT)]):
        if weights[wrong & (top >= threshold)].sum() <= allowed:
            break
        threshold = float(np.nextafter(value, 2.0))
    return threshold, True


def _patient_weights(groups: Sequence[str]) -> NDArray[np.float64]:
    """Return a weight for each slice, shape `[N]`; those of one patient add up to 1."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    return np.asarray(1.0 / np.bincount(numbers)[numbers])
