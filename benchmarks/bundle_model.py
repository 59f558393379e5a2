"""Makes the run of the bundled model: calibrated on hospitals that its twins have not seen.

    python benchmarks/bundle_model.py FINAL TWIN [TWIN ...] --data ROOT --out RUN
    python benchmarks/fit_ood.py RUN --data ROOT --out FITTED --version VERSION
    tumorscope export FITTED --name tumorscope-edge --out tumorscope-edge.onnx

FINAL and each TWIN are runs of `tumorscope train --recipe edge --split kaggle-patient --fold 1`:
FINAL learned from all of the recipe's sets; a TWIN, which is never shipped, did without one
hospital of `lgg_tcga`, every fifth healthy person (`without_hospital.py` lays that out) and
`other_scanners`. Each has its own temperature, fitted on its validation part. The price of a missed
tumour and the rule for series are chosen for the twins on what they have not seen, thresholds for
all, for FINAL on its validation part. Fold 1 stays a test. No external set is read. The record is
`results/calibration_edge.json`.
"""

import argparse
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from record import write_record
from tumorscope.classes import CLASSES, NO_TUMOUR
from tumorscope.cli.show import progress
from tumorscope.datasets.catalogue import Slice
from tumorscope.datasets.inputs import read_inputs
from tumorscope.datasets.sources import read_data
from tumorscope.evaluation.calibration import RISK
from tumorscope.files import write_text
from tumorscope.series.rule import SeriesRule, answer_stack, series_score
from tumorscope.training.recipe import load_recipe
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import TrainedNetwork, load_weights, save_weights

_NO_TUMOUR = CLASSES.index(NO_TUMOUR)
_SPECIFICITY = 0.975
"""Of series of healthy heads; half of what the floor of 1 in 16 allows."""
_USEFUL = 0.1
"""A class of whose right answers fewer would be confident is never called so."""
FEWEST = 50
"""A set of fewer slices is not looked at."""
_COSTS = (1.0, 1.25, 1.5, 1.75, 2.0, 3.0, 4.0)
"""Prices of a missed tumour, in false alarms, of which one is chosen."""
_FALSE_ALARMS = 0.15
"""The share of unseen hospitals' tumour-free slices, and of scans without the slices that show
the tumour, that may be called a tumour."""
_WRONG = RISK / 2
"""The share of a set's slices that may confidently and wrongly be called one class; the next
hospital is another one, and classes add up."""
_SCANS = "lgg_tcga"
"""The set with slices of one scan with and without tumour, in the order of the body."""
_LICENSE = "CC BY-NC-SA 4.0"


@dataclass(frozen=True, eq=False)
class Trial:
    """A trained network and its answers to slices that it did not learn from.

    Attributes:
        trained: The network.
        held: These slices.
        probabilities: The answers, `[N, classes]`.
    """

    trained: TrainedNetwork
    held: tuple[Slice, ...]
    probabilities: NDArray[np.float64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class numbers."""
        return np.array([CLASSES.index(item.label) for item in self.held])


def main() -> None:
    """Write the run folder and the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("final", type=Path, help="a run folder")
    parser.add_argument("twins", type=Path, nargs="+", help="run folders")
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    options = parser.parse_args()
    run, *twin_runs = (RunFolder(path) for path in (options.final, *options.twins))
    names = load_recipe("edge").training.shares
    slices = read_data([options.data / name for name in names], progress=progress).slices
    final = judge(run, not_learned(slices, run, strangers=False))
    twins = [judge(each, not_learned(slices, each, strangers=True)) for each in twin_runs]
    cost, false_alarms = _choose_cost(twins)
    final, twins = _priced(final, cost), [_priced(twin, cost) for twin in twins]
    trials = {"final": final, **{f"without {left_out(twin)}": twin for twin in twins}}
    confident, certain = _confident(trials, twins)
    rule, series = _fit_series(twins)
    description = replace(
        final.trained.description,
        false_negative_cost=cost,
        confident=confident,
        risk=RISK,
        series=rule.to_json(),
    )
    _write_run(run, RunFolder(options.out), replace(final.trained, description=description))
    write_record(
        "calibration_edge",
        command="python benchmarks/bundle_model.py FINAL TWIN TWIN --data ROOT --out RUN",
        figures={
            "temperature": final.trained.description.temperature,
            "confident": {"thresholds": confident, "sets": certain},
            "false_negative_cost": {
                "value": cost,
                "false_alarms_by_price": false_alarms,
                "error_rates": _errors(trials),
            },
            "series": series,
            "counts": {
                name: each.data()["counts"]
                for name, each in zip(trials, (run, *twin_runs), strict=True)
            },
        },
        seeds=[run.recipe().training.seed],
        n=sum(len(trial.held) for trial in trials.values()),
        data_fingerprint=run.data()["fingerprint"],
    )


def not_learned(slices: Sequence[Slice], run: RunFolder, *, strangers: bool) -> list[Slice]:
    """Return a run's validation part; with strangers that of `kaggle`, else what is in no part."""
    validation = run.part("validation")
    shown = run.part("train") | validation | run.part("test")

    def is_chosen(item: Slice) -> bool:
        key = item.source, item.name
        if strangers and item.source != "kaggle":
            return key not in shown
        return key in validation

    return [item for item in slices if item.label in CLASSES and not item.doubt and is_chosen(item)]


def judge(run: RunFolder, slices: Sequence[Slice]) -> Trial:
    """Let a run's network answer slices, a miss being no dearer than a false alarm."""
    trained = load_weights(run.weights_file)
    trained = replace(trained, description=replace(trained.description, false_negative_cost=1.0))
    found = read_inputs(slices, size=trained.description.input_size, progress=progress)
    return Trial(trained, found.slices, trained.probabilities(found.grey))


def sets_of(slices: Sequence[Slice]) -> dict[str, NDArray[np.bool_]]:
    """Return the sets of 50 slices or more, by name."""
    keys = [" ".join(filter(None, (item.source, item.hospital, item.sequence))) for item in slices]
    found = {key: np.array(keys) == key for key in sorted(set(keys))}
    return {key: chosen for key, chosen in found.items() if chosen.sum() >= FEWEST}


def left_out(trial: Trial) -> str:
    """Return the name of the hospital that a run did without."""
    (found,) = {item.hospital for item in trial.held if item.source == _SCANS}
    return str(found)


def _priced(trial: Trial, cost: float) -> Trial:
    """Return the trial with the odds of "no tumour" divided by the price of a missed tumour."""
    odds = trial.probabilities.copy()
    odds[:, _NO_TUMOUR] /= cost
    return replace(trial, probabilities=odds / odds.sum(axis=1, keepdims=True))


def _choose_cost(twins: Sequence[Trial]) -> tuple[float, dict[str, float]]:
    """Return the highest price of a missed tumour at which false alarms are not too many.

    Counted on the tumour-free slices of each hospital that was held out, sequence by sequence; each
    sequence of a hospital weighs the same.
    """

    def false_alarms(cost: float) -> float:
        shares = []
        for twin in twins:
            called = _priced(twin, cost).probabilities.argmax(axis=1) != _NO_TUMOUR
            free = twin.labels == _NO_TUMOUR
            sets = [chosen for key, chosen in sets_of(twin.held).items() if key.startswith(_SCANS)]
            shares += [called[chosen & free].mean() for chosen in sets]
        return float(np.mean(shares))

    found = {cost: false_alarms(cost) for cost in _COSTS}
    chosen = max(cost for cost in _COSTS if cost == 1 or found[cost] <= _FALSE_ALARMS)
    return chosen, {str(cost): round(value, 4) for cost, value in found.items()}


def _confident(
    trials: Mapping[str, Trial], twins: Sequence[Trial]
) -> tuple[tuple[float, ...], dict[str, Any]]:
    """Return for each class the lowest threshold that keeps its confident errors rare.

    In each set, tumours and slices without one apart, at most `_WRONG` of the slices are
    confidently and wrongly called that class (class-conditional conformal prediction, Vovk 2012).
    """
    cases = {}
    for which, trial in trials.items():
        for key, chosen in sets_of(trial.held).items():
            free = trial.labels == _NO_TUMOUR
            for name, part in (("tumour", chosen & ~free), ("no tumour", chosen & free)):
                if part.sum() >= FEWEST:
                    cases[f"{which}: {key}, {name}"] = (trial, part)
    labels = np.concatenate([twin.labels for twin in twins])
    answers = np.concatenate([twin.probabilities for twin in twins])
    thresholds = []
    for number in range(len(CLASSES)):
        least = 0.5
        for trial, part in cases.values():
            values = trial.probabilities[part]
            wrong = (values.argmax(axis=1) == number) & (trial.labels[part] != number)
            allowed = int(_WRONG * part.sum())
            worst = np.sort(values[wrong, number])[::-1]
            if len(worst) > allowed:
                least = max(least, float(worst[allowed]) + 1e-4)
        right = (labels == number) & (answers.argmax(axis=1) == number)
        sure = answers[right, number] >= least
        thresholds.append(round(least, 4) if sure.mean() >= _USEFUL else 1.0)
    shares: dict[str, Any] = {}
    for key, (trial, part) in cases.items():
        values, labels = trial.probabilities[part], trial.labels[part]
        called = values.argmax(axis=1)
        sure = values.max(axis=1) >= np.array(thresholds)[called]
        name, _, kind = key.rpartition(", ")
        shares.setdefault(name, {})[kind] = {
            "n": int(part.sum()),
            "confident": share(sure),
            "confident_and_wrong": share(sure & (called != labels)),
        }
    return tuple(thresholds), shares


def _errors(trials: Mapping[str, Trial]) -> dict[str, Any]:
    """Return both error rates by set."""
    rates = {}
    for which, trial in trials.items():
        for key, chosen in sets_of(trial.held).items():
            labels = trial.labels[chosen]
            called = trial.probabilities[chosen].argmax(axis=1) != _NO_TUMOUR
            free = labels == _NO_TUMOUR
            rates[f"{which}: {key}"] = {
                "tumours_missed": share(~called[~free]),
                "no_tumour_called_a_tumour": share(called[free]),
            }
    return rates


def _fit_series(twins: Sequence[Trial]) -> tuple[SeriesRule, dict[str, Any]]:
    """Fit slope and operating point of the rule to series that were held out."""
    scores, tumours, contrast, stacks = [], [], [], []
    for twin in twins:
        found: dict[tuple[str, ...], list[tuple[float, int]]] = {}
        for at, item in enumerate(twin.held):
            if item.source in (_SCANS, "healthy_t1"):
                key = item.source, item.hospital, item.patient, item.sequence, item.plane
                found.setdefault(key, []).append((_place(item, at), at))
        for (source, *_), members in found.items():
            chosen = np.array([at for _, at in sorted(members)])
            free = chosen[twin.labels[chosen] == _NO_TUMOUR]
            parts = [(chosen, len(free) < len(chosen))]
            if source == _SCANS and 3 <= len(free) < len(chosen):
                parts.append((free, False))  # the same scan without its tumour
            for slices, tumour in parts:
                stacks.append(twin.probabilities[slices])
                scores.append(series_score(twin.probabilities[slices], _NO_TUMOUR)[0])
                tumours.append(tumour)
                contrast.append(source == _SCANS)
    score, truth, scanned = np.array(scores), np.array(tumours), np.array(contrast)

    def loss(values: NDArray[np.float64]) -> float:
        odds = values[0] * (score - values[1])
        each = np.where(truth, np.log1p(np.exp(-odds)), np.log1p(np.exp(odds)))
        return float(each[truth].mean() + each[~truth].mean())

    slope = float(minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x[0])
    point = max(
        float(np.quantile(score[~truth & ~scanned], _SPECIFICITY)),
        float(np.quantile(score[~truth & scanned], 1 - _FALSE_ALARMS)),
    )
    rule = SeriesRule(slope=round(slope, 4), offset=round(-slope * point, 4))
    answers = np.array([answer_stack(item, _NO_TUMOUR, rule).probabilities for item in stacks])
    called = answers.argmax(axis=1) != _NO_TUMOUR
    wrong = np.where(truth, answers.argmax(axis=1) != 0, called)  # all tumours here are gliomas
    confident = next(
        (
            c
            for c in np.arange(0.9, 0.9999, 0.005)
            if share((answers.max(axis=1) >= c) & wrong) <= RISK
        ),
        0.9999,
    )
    rule = replace(rule, confident=round(float(confident), 4))
    return rule, {
        **rule.to_json(),
        "series": {
            "tumour": int(truth.sum()),
            "healthy": int((~truth & ~scanned).sum()),
            "tumour_free_slices_of_tumour_scans": int((~truth & scanned).sum()),
        },
        "tumours_found": share(called[truth]),
        "called_glioma": share(answers[truth].argmax(axis=1) == 0),
        "healthy_called_a_tumour": share(called[~truth & ~scanned]),
        "tumour_free_slices_of_tumour_scans_called_a_tumour": share(called[~truth & scanned]),
        "confident_share": share(answers.max(axis=1) >= confident),
        "confident_and_wrong": share((answers.max(axis=1) >= confident) & wrong),
    }


def _place(item: Slice, at: int) -> float:
    """Return what puts slices of a series in order: a volume's number, or that in the name."""
    if item.number is not None:
        return item.number
    number = re.search(r"_(\d+)(_[A-Za-z0-9]+)?\.jpg$", item.name)
    return float(number[1]) if number else at


def share(values: NDArray[np.bool_]) -> float | None:
    """Return how many are true, as a share; None where there are none."""
    return round(float(np.mean(values)), 4) if len(values) else None


def _write_run(source: RunFolder, run: RunFolder, trained: TrainedNetwork) -> None:
    """Write what `tumorscope export` reads."""
    run.path.mkdir(parents=True)
    shutil.copy(source.slices_file, run.path)
    shutil.copy(source.environment_file, run.path)
    facts = {**source.data(), "license": _LICENSE}
    facts["data"] = sorted(Path(path).name for path in facts["data"])
    write_text(run.data_file, json.dumps(facts, indent=2) + "\n")
    cost = trained.description.false_negative_cost
    write_text(
        run.recipe_file, load_recipe("edge", [f"decision.false_negative_cost={cost}"]).to_toml()
    )
    save_weights(run.weights_file, trained)


if __name__ == "__main__":
    main()
