"""Estimates 95 % intervals of metrics by a bootstrap over groups.

The slices of one patient are alike, so the patient (group), not the image, is drawn with
replacement (the cluster bootstrap: Field and Welsh, J. R. Stat. Soc. B 69, 2007); the interval
lies between the 2.5th and 97.5th percentiles of the metrics of the resamples (Efron 1979).

Two things that the percentile bootstrap cannot do are for the reader to know: where no group holds
a mistake it sees no spread at all, and the calibration error of a resample is on average larger
than that of the whole, so its interval lies a little high.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.evaluation.metrics import Scores, roc_auc, scores, tally
from tumorscope.evaluation.predictions import Predictions

Interval = tuple[float, float]

_PERCENTILES: Final = (2.5, 97.5)

_CHUNK: Final = 100
"""Resamples that are weighed at a time in the AUC: bounds memory to 100 numbers an image."""


@dataclass(frozen=True)
class Intervals:
    """95 % intervals by the names of the metrics; None where fewer than two groups bear on one.

    Attributes:
        overall: As in `metrics.Scores`, and `macro_auc`.
        per_class: As in `metrics.Scores`, and `roc_auc`; an interval for each class.
    """

    overall: dict[str, Interval | None]
    per_class: dict[str, tuple[Interval | None, ...]]


def bootstrap(predictions: Predictions, *, resamples: int = 1000, seed: int = 0) -> Intervals:
    """Estimate 95 % intervals by resampling groups.

    Args:
        predictions: N images; the order of the rows does not matter.
        resamples: Number of resamples.
        seed: Start of the random numbers; the same seed gives the same intervals.

    Returns:
        The intervals.
    """
    names, group = np.unique(np.array(predictions.groups), return_inverse=True)
    rows = tally(predictions)
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, group, rows)
    chance = np.full(len(names), 1 / len(names))
    draws = np.random.default_rng(seed).multinomial(len(names), chance, size=resamples)
    drawn = draws.astype(np.float64)
    resampled = scores(drawn @ sums, predictions.classes)
    areas = np.concatenate(
        [
            roc_auc(predictions, drawn[start : start + _CHUNK, group])
            for start in range(0, resamples, _CHUNK)
        ]
    )
    return _intervals(resampled, areas, alone=scores(sums, predictions.classes))


def _intervals(resampled: Scores, areas: NDArray[np.float64], *, alone: Scores) -> Intervals:
    """Read percentiles; `alone` (each group by itself) tells how many groups bear on a figure."""
    overall = {
        name: _interval(values, _bearing(alone.overall[name]))
        for name, values in resampled.overall.items()
    }
    per_class = {
        name: tuple(
            _interval(column, _bearing(single))
            for column, single in zip(values.T, alone.per_class[name].T, strict=True)
        )
        for name, values in resampled.per_class.items()
    }
    # An AUC needs images of the class and other images: two groups of each.
    bearing = [
        min(_bearing(inside), _bearing(outside))
        for inside, outside in zip(
            alone.per_class["sensitivity"].T, alone.per_class["specificity"].T, strict=True
        )
    ]
    per_class["roc_auc"] = tuple(
        _interval(column, count) for column, count in zip(areas.T, bearing, strict=True)
    )
    overall["macro_auc"] = _interval(areas.mean(axis=1), min(bearing))
    return Intervals(overall, per_class)


def _bearing(single: NDArray[np.float64]) -> int:
    return int(np.count_nonzero(~np.isnan(single)))


def _interval(values: NDArray[np.float64], bearing: int) -> Interval | None:
    defined = values[~np.isnan(values)]
    if bearing < 2 or defined.size == 0:
        return None
    low, high = np.percentile(defined, _PERCENTILES)
    return float(low), float(high)
