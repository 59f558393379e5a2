"""Scores predictions: every metric by image, by unique slice and by patient, with intervals."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from tumorscope import RESEARCH_USE_ONLY
from tumorscope.datasets.catalogue import Slice, slice_name
from tumorscope.evaluation.intervals import Interval, bootstrap
from tumorscope.evaluation.localisation import Localisation
from tumorscope.evaluation.metrics import confusion_of, roc_auc, scores, tally
from tumorscope.evaluation.predictions import Predictions

METRICS: Final = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "macro_auc",
    "ece",
    "brier",
    "nll",
    "selective_accuracy",
    "miss_rate",
    "false_positive_rate",
)
"""The metrics of a `Level`, in the order in which they are written down."""

VERDICTS: Final = ("confident", "uncertain", "unsupported")
"""What a model tells of its own predictions."""

SCANS: Final = ("hospital", "sequence", "plane")
"""What a data set may say of the scan that a slice comes from, and metrics are told apart by."""

_OF_PROBABILITIES: Final = ("macro_auc", "ece", "brier", "nll", "selective_accuracy")
"""Metrics that have nothing to stand on where only labels are known."""

Fact = str | int | float

_DIGITS: Final = 6
"""Digits after the point in every metric that is written down."""


@dataclass(frozen=True, kw_only=True)
class ClassResult:
    """How well one class is told from the rest; None where a metric has nothing to stand on.

    Attributes:
        n: Images (or slices, or patients) of the class.
        metrics: `precision`, `sensitivity`, `specificity`, `f1`, `roc_auc`.
        interval: 95 % intervals by the same names.
    """

    n: int
    metrics: dict[str, float | None]
    interval: dict[str, Interval | None]


@dataclass(frozen=True, kw_only=True)
class Level:
    """All metrics, counting images, unique slices or patients.

    Attributes:
        n: How many there are.
        right: How many of them are right.
        groups: How many groups they come from.
        metrics: By the names in `METRICS`; None where a metric has nothing to stand on, such as
            the last two when `notumor` is no class.
        interval: 95 % intervals by the same names.
        per_class: By class, in the order of the classes.
        confusion: Counts, rows target, columns predicted.
    """

    n: int
    right: int
    groups: int
    metrics: dict[str, float | None]
    interval: dict[str, Interval | None]
    per_class: dict[str, ClassResult]
    confusion: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, object]:
        """Return plain Python types, metrics rounded to six digits."""
        return {
            "n": self.n,
            "groups": self.groups,
            **self.metrics,
            "interval": _lists(self.interval),
            "confusion": [list(row) for row in self.confusion],
            "per_class": {
                name: {"n": result.n, **result.metrics, "interval": _lists(result.interval)}
                for name, result in self.per_class.items()
            },
        }


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a set of predictions is worth.

    Attributes:
        title: What was tested on what.
        classes: In the order of the confusion matrix.
        images: Counting images.
        slices: Counting unique slices, each with the mean probabilities of its images.
        patients: Counting groups, each with the mean probabilities of its slices.
        scans: By the names in `SCANS` and by what the data set says (`T1c`, `not known`), counting
            images; those of which it says nothing, or the same of all slices, are left out.
        folds: By fold, counting images: `n`, `accuracy`, `balanced_accuracy`, `macro_f1`; empty
            when there are fewer than two folds.
        facts: What else is to be known, in the caller's words: protocol, seeds, data fingerprint,
            test images whose group is in training.
        resamples: Resamples of the bootstrap.
        seed: Its seed.
        localisation: How heatmaps lie on outlines; None where there are none.
        verdicts: By verdict, counting images: `n`, `share` of all, `accuracy`; empty where they
            are not known.
    """

    title: str
    classes: tuple[str, ...]
    images: Level
    slices: Level
    patients: Level
    scans: dict[str, dict[str, Level]]
    folds: dict[int, dict[str, float | None]]
    facts: dict[str, Fact]
    resamples: int
    seed: int
    localisation: Localisation | None = None
    verdicts: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return plain Python types for `evaluation.json`: the images' metrics at the top."""
        return {
            "title": self.title,
            "classes": list(self.classes),
            **self.images.to_json(),
            "by_slice": self.slices.to_json(),
            "by_patient": self.patients.to_json(),
            **{
                f"by_{what}": {value: level.to_json() for value, level in levels.items()}
                for what, levels in self.scans.items()
            },
            "by_fold": {str(fold): metrics for fold, metrics in self.folds.items()},
            **({"verdicts": self.verdicts} if self.verdicts else {}),
            "bootstrap": {"over": "groups", "resamples": self.resamples, "seed": self.seed},
            **(
                {"localisation": self.localisation.to_json(seed=self.seed)}
                if self.localisation
                else {}
            ),
            "facts": dict(self.facts),
            "research_use_only": RESEARCH_USE_ONLY,
        }


def score_predictions(
    predictions: Predictions,
    *,
    title: str,
    facts: Mapping[str, Fact],
    slices: Iterable[Slice] = (),
    localisation: Localisation | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Score predictions by image, by unique slice and by patient.

    Args:
        predictions: What a model predicted, and the targets.
        title: What was tested on what, for people.
        facts: What else is to be known; passed on to the JSON and the report.
        slices: What is known of the images, in any order; images of hospitals, sequences and
            planes are scored by themselves, too.
        localisation: How heatmaps lie on outlines, passed on, too.
        resamples: Resamples of the bootstrap over groups.
        seed: Its seed.

    Returns:
        The evaluation; every metric is rounded to six digits.
    """
    return Evaluation(
        title=title,
        classes=predictions.classes,
        images=_level(predictions, resamples, seed),
        slices=_level(predictions.by_slice(), resamples, seed),
        patients=_level(predictions.by_patient(), resamples, seed),
        scans=_scans(predictions, slices, resamples, seed),
        folds=_folds(predictions),
        facts={name: _plain_fact(value) for name, value in facts.items()},
        resamples=resamples,
        seed=seed,
        localisation=localisation,
        verdicts=_verdicts(predictions),
    )


def _level(predictions: Predictions, resamples: int, seed: int) -> Level:
    classes = predictions.classes
    sums = tally(predictions).sum(axis=0)
    counted = scores(sums, classes)
    areas = roc_auc(predictions)[0]
    found = {**counted.overall, "macro_auc": areas.mean()}
    per_class = {**counted.per_class, "roc_auc": areas}
    intervals = bootstrap(predictions, resamples=resamples, seed=seed)
    if predictions.labels_only:
        found |= dict.fromkeys(_OF_PROBABILITIES, np.array(math.nan))
        per_class["roc_auc"] = np.full(len(classes), math.nan)
        intervals.overall.update(dict.fromkeys(_OF_PROBABILITIES))
        intervals.per_class["roc_auc"] = (None,) * len(classes)
    overall = {name: float(found.get(name, math.nan)) for name in METRICS}
    sizes = np.bincount(predictions.target, minlength=len(classes))
    return Level(
        n=len(predictions),
        right=int(np.count_nonzero(predictions.target == predictions.predicted)),
        groups=len(set(predictions.groups)),
        metrics={name: _rounded(value) for name, value in overall.items()},
        interval={name: _pair(intervals.overall.get(name)) for name in overall},
        per_class={
            label: ClassResult(
                n=int(sizes[column]),
                metrics={
                    name: _rounded(float(values[column])) for name, values in per_class.items()
                },
                interval={name: _pair(intervals.per_class[name][column]) for name in per_class},
            )
            for column, label in enumerate(classes)
        },
        confusion=tuple(
            tuple(int(count) for count in row) for row in confusion_of(sums, len(classes))
        ),
    )


def _scans(
    predictions: Predictions, slices: Iterable[Slice], resamples: int, seed: int
) -> dict[str, dict[str, Level]]:
    known = {slice_name(item): item for item in slices}
    table: dict[str, dict[str, Level]] = {}
    for what in SCANS if known else ():
        said = np.array([getattr(known[name], what) or "not known" for name in predictions.names])
        values = sorted(set(said.tolist()))
        if len(values) > 1:
            parts = {value: predictions.rows(np.flatnonzero(said == value)) for value in values}
            table[what] = {value: _level(part, resamples, seed) for value, part in parts.items()}
    return table


def _folds(predictions: Predictions) -> dict[int, dict[str, float | None]]:
    numbers = sorted(set(predictions.folds))
    if len(numbers) < 2:
        return {}
    rows, fold_of_row = tally(predictions), np.array(predictions.folds)
    table: dict[int, dict[str, float | None]] = {}
    for number in numbers:
        inside = fold_of_row == number
        overall = scores(rows[inside].sum(axis=0), predictions.classes).overall
        names = ("accuracy", "balanced_accuracy", "macro_f1")
        table[number] = {
            "n": int(np.count_nonzero(inside)),
            **{name: _rounded(float(overall[name])) for name in names},
        }
    return table


def _verdicts(predictions: Predictions) -> dict[str, dict[str, float | None]]:
    given = np.array(predictions.verdicts)
    right = predictions.target == predictions.predicted
    table: dict[str, dict[str, float | None]] = {}
    for verdict in VERDICTS if given.size else ():
        inside = given == verdict
        table[verdict] = {
            "n": int(inside.sum()),
            "share": _rounded(float(inside.mean())),
            "accuracy": _rounded(float(right[inside].mean())) if inside.any() else None,
        }
    return table


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, _DIGITS)


def _pair(interval: Interval | None) -> Interval | None:
    if interval is None:
        return None
    return round(interval[0], _DIGITS), round(interval[1], _DIGITS)


def _lists(intervals: dict[str, Interval | None]) -> dict[str, list[float] | None]:
    return {name: None if pair is None else list(pair) for name, pair in intervals.items()}


def _plain_fact(value: Fact) -> Fact:
    """Turn NumPy's numbers into Python's, and what JSON cannot hold into words."""
    plain: Fact = value.item() if isinstance(value, np.generic) else value
    return str(plain) if isinstance(plain, float) and not math.isfinite(plain) else plain
