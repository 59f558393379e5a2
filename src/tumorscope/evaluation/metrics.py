"""Computes the metrics of predictions, of one set or of many resamples at once.

Everything but the ROC AUC is a function of sums over images, so an image is turned into a row of
summands once (`tally`), rows are added up as one likes, and `scores` reads the sums, one set or a
thousand of them. A metric that has nothing to stand on (the sensitivity for a class that is not
there) is NaN.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.classes import NO_TUMOUR
from tumorscope.evaluation.calibration import BINS, bin_numbers
from tumorscope.evaluation.predictions import Predictions

COVERAGE: Final = 0.9
"""The share of the answers that `selective_accuracy` is about."""

_Floats = NDArray[np.float64]

_EPSILON: Final = float(np.finfo(np.float64).eps)
"""Smallest probability in the log-likelihood, as in scikit-learn: one image cannot be infinite."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The metrics of one set of images, or for several.

    Attributes:
        overall: Arrays of shape `[...]` by name: `accuracy`, `balanced_accuracy`, `macro_f1`,
            `ece`, `brier`, `nll`, `selective_accuracy`, and, where `notumor` is a class,
            `miss_rate` and `false_positive_rate`.
        per_class: Arrays of shape `[..., C]` by name: `precision`, `sensitivity`, `specificity`,
            `f1`.
    """

    overall: dict[str, _Floats]
    per_class: dict[str, _Floats]


def tally(predictions: Predictions) -> _Floats:
    """Turn each image into what it adds to the sums that the metrics are made of.

    Args:
        predictions: N images in C classes.

    Returns:
        Shape `[N, C * C + 3 * BINS + 4]`: its cell of the confusion matrix (rows true, columns
        predicted), its calibration bin (count, right, confidence), squared error, log-likelihood,
        whether it is among the share `COVERAGE` of the surest, whether among those and right.
    """
    count, classes = predictions.probabilities.shape
    rows = np.arange(count)
    target, predicted = predictions.target, predictions.predicted
    top = predictions.probabilities[rows, predicted]
    confusion = np.zeros((count, classes, classes))
    confusion[rows, target, predicted] = 1
    bins = np.zeros((count, BINS, 3))
    bins[rows, bin_numbers(top)] = np.stack([np.ones(count), target == predicted, top], axis=1)
    error = ((predictions.probabilities - np.eye(classes)[target]) ** 2).sum(axis=1)
    surprise = -np.log(np.clip(predictions.probabilities[rows, target], _EPSILON, 1))
    # (What is refused is no answer: it stands behind all answers.)
    sureness = top - (np.array(predictions.verdicts or ("",) * count) == "unsupported")
    covered = sureness >= np.sort(sureness)[int(count * (1 - COVERAGE) + 1e-6)]
    columns = (error, surprise, covered, covered & (target == predicted))
    return np.concatenate(
        [confusion.reshape(count, -1), bins.reshape(count, -1), np.stack(columns, axis=1)], axis=1
    )


def confusion_of(sums: _Floats, classes: int) -> _Floats:
    """Return the confusion matrices, shape `[..., C, C]`, rows target, columns predicted."""
    return sums[..., : classes * classes].reshape(*sums.shape[:-1], classes, classes)


def scores(sums: _Floats, classes: tuple[str, ...]) -> Scores:
    """Compute the metrics from sums of `tally` rows.

    Balanced accuracy is the mean sensitivity over the classes that are there, macro F1 the mean
    F1 over those that are there or were predicted (both as in scikit-learn). ECE is the expected
    calibration error over `BINS` equal-width bins of the top probability (Guo et al., ICML 2017).
    The Brier score is the sum over classes of the squared errors (Brier 1950: 0 to 2).
    `selective_accuracy` is that of the share `COVERAGE` of the answers with the highest
    probabilities (and of those with as high a one); what is called unsupported comes last.

    Args:
        sums: Sums of rows, shape `[..., K]`.
        classes: The C class names.

    Returns:
        The metrics; NaN where one has nothing to stand on.
    """
    confusion = confusion_of(sums, len(classes))
    bins = sums[..., len(classes) ** 2 : -4].reshape(*sums.shape[:-1], BINS, 3)
    total = confusion.sum(axis=(-2, -1))
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    sensitivity = _ratio(hits, true)
    f1 = _ratio(2 * hits, true + predicted)
    overall = {
        "accuracy": _ratio(hits.sum(axis=-1), total),
        "balanced_accuracy": _mean_of_defined(sensitivity),
        "macro_f1": _mean_of_defined(f1),
        "ece": _ratio(np.abs(bins[..., 1] - bins[..., 2]).sum(axis=-1), total),
        "brier": _ratio(sums[..., -4], total),
        "nll": _ratio(sums[..., -3], total),
        "selective_accuracy": _ratio(sums[..., -1], sums[..., -2]),
    }
    if NO_TUMOUR in classes:
        healthy = classes.index(NO_TUMOUR)
        missed = predicted[..., healthy] - hits[..., healthy]
        overall["miss_rate"] = _ratio(missed, total - true[..., healthy])
        overall["false_positive_rate"] = 1 - sensitivity[..., healthy]
    others = total[..., None] - true
    per_class = {
        "precision": _ratio(hits, predicted),
        "sensitivity": sensitivity,
        "specificity": _ratio(others - (predicted - hits), others),
        "f1": f1,
    }
    return Scores(overall, per_class)


def roc_auc(predictions: Predictions, weights: _Floats | None = None) -> _Floats:
    """Return each class's area under the ROC curve, one against the rest.

    That is the share of pairs (an image of the class, another one) in which the first has the
    higher probability; a tie counts half.

    Args:
        predictions: N images in C classes.
        weights: How often each image counts, shape `[B, N]`; once when left out (B is then 1).

    Returns:
        Shape `[B, C]`; NaN where the class, or everything else, is missing.
    """
    if weights is None:
        weights = np.ones((1, len(predictions)))
    areas = np.empty((len(weights), len(predictions.classes)))
    for column, probability in enumerate(predictions.probabilities.T):
        order = np.argsort(probability, kind="stable")
        starts = np.flatnonzero(np.diff(probability[order], prepend=-1.0))
        ordered = weights[:, order]
        inside = predictions.target[order] == column
        positive = np.add.reduceat(ordered * inside, starts, axis=1)
        negative = np.add.reduceat(ordered * ~inside, starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative
        won = (positive * (below + negative / 2)).sum(axis=1)
        areas[:, column] = _ratio(won, positive.sum(axis=1) * negative.sum(axis=1))
    return areas


def _ratio(part: _Floats, whole: _Floats) -> _Floats:
    result = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _mean_of_defined(values: _Floats) -> _Floats:
    """Return the mean over the last axis without its NaNs."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1).astype(float))
