"""Makes a run folder of trained weights, calibrated on what they were not trained on.

    python benchmarks/bundle_model.py TRIALS INPUTS --final F --hospital E --out RUN
    tumorscope export RUN --name tumorscope-edge --out tumorscope-edge.onnx

TRIALS holds two trials of the recipe `edge`, each as `NAME.pt` (the state) and `NAME.val.npz`
(`ids`, `logits` of the slices that were held out); INPUTS is the name, without an ending,
of the prepared inputs: `.npz` (`grey`) and `.json` (a row for each with `src`, `cls`, `seq` ...).
F learned from both hospitals of `lgg_tcga`; E, which is never shipped, did without one of them and
without `other_scanners`. Temperatures are each trial's own, fitted on fold 1 of `kaggle`; the
price of a missed tumour and the thresholds are chosen for E on the hospitals that it has not seen
and for F on fold 1. The record is
`results/calibration_edge.json`. No external set is read.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from record import write_record
from tumorscope.classes import CLASSES, NO_TUMOUR
from tumorscope.evaluation.calibration import RISK, fit_temperature
from tumorscope.files import write_text
from tumorscope.networks.factory import build_network
from tumorscope.series.rule import SeriesRule, StackEvidence, answer_stack, series_score
from tumorscope.training.recipe import load_recipe
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import Description, TrainedNetwork, save_weights

_NO_TUMOUR = CLASSES.index(NO_TUMOUR)
_SPECIFICITY = 0.975
"""Of series of healthy heads; half of what the floor of 1 in 16 allows."""
_USEFUL = 0.1
"""A class of whose right answers fewer would be confident is never called so."""
_HARMLESS = {"final": 0.01, "hospital": 0.02}
"""The share of slices that may be refused as out of distribution: of new patients, and of new
hospitals."""
_HEAD = 0.2
"""The least share of the widest slice's head in a slice of a volume."""
_FEWEST = 50
"""A set of fewer slices is not looked at."""
_COSTS = (1.0, 1.25, 1.5, 1.75, 2.0, 3.0, 4.0)
"""Prices of a missed tumour, in false alarms, of which one is chosen."""
_FALSE_ALARMS = 0.15
"""The share of an unseen hospital's tumour-free slices, and of scans without the slices that show
the tumour, that may be called a tumour."""
_WRONG = RISK / 2
"""The share of a set's slices that may confidently and wrongly be called one class; the next
hospital is another one, and classes add up."""
_VERSION, _LICENSE = "1.0.0", "CC BY-NC-SA 4.0"


@dataclass(frozen=True, eq=False)
class Trial:
    """A trained network and its answers to the slices that were held out.

    Attributes:
        trained: The network, with its temperature.
        held: The rows of these slices.
        ids: Their numbers.
        probabilities: The answers, `[N, classes]`.
        training: Which rows of the inputs were trained on.
        side: Of the inputs that gave the features, in pixels.
    """

    trained: TrainedNetwork
    held: list[dict[str, Any]]
    ids: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    training: NDArray[np.intp]
    side: int

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class numbers."""
        return np.array([row["cls"] for row in self.held])


def main() -> None:
    """Write the run folder and the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--final", required=True)
    parser.add_argument("--hospital", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = json.loads(options.inputs.with_suffix(".json").read_text())
    grey = np.load(options.inputs.with_suffix(".npz"))["grey"]
    final, hospital = (
        _open(options.trials / name, rows) for name in (options.final, options.hospital)
    )
    cost = _choose_cost(hospital)
    final, hospital = _priced(final, cost), _priced(hospital, cost)
    confident, certain = _confident(final, hospital)
    rule, series = _fit_series(hospital)
    threshold, refused = _fit_ood(final, hospital, grey)
    description = replace(
        final.trained.description,
        false_negative_cost=cost,
        confident=confident,
        risk=RISK,
        ood_threshold=threshold,
        series=rule.to_json(),
    )
    found = replace(final.trained, description=description)
    fingerprint = hashlib.sha256(grey.tobytes()).hexdigest()
    _write_run(RunFolder(options.out), found, rows, final.training, fingerprint, cost)
    write_record(
        "calibration_edge",
        command=f"python benchmarks/bundle_model.py TRIALS INPUTS --final {options.final} "
        f"--hospital {options.hospital} --out RUN",
        figures={
            "temperature": final.trained.description.temperature,
            "confident": {"thresholds": confident, "sets": certain},
            "false_negative_cost": {
                "value": cost,
                "error_rates": _errors(final, hospital),
            },
            "series": series,
            "ood": {"threshold": threshold, "refused": refused},
        },
        seeds=[0],
        n=len(final.held) + len(hospital.held),
        data_fingerprint=fingerprint,
    )


def _open(path: Path, rows: list[dict[str, Any]]) -> Trial:
    recipe = load_recipe("edge")
    network = build_network(recipe.network.model_copy(update={"weights": "none"}), CLASSES)
    state = torch.load(path.with_suffix(".pt"), map_location="cpu", weights_only=True)
    names = {"slope": "compose.slope", "offset": "compose.offset"}
    tensors = {names.get(name, name): value for name, value in state["net"].items()}
    tensors |= {name: tensors[name].reshape(1) for name in names.values()}
    wanted = network.state_dict()
    trained = {name: tensors[name] for name in wanted if not name.startswith("ood_score.")}
    network.load_state_dict(wanted | trained)
    values = np.load(path.with_suffix(".val.npz"))
    # (Slices with hardly any head in them are not trained on, and `predict` passes them over.)
    kept = np.array([rows[at].get("head", 1) >= _HEAD for at in values["ids"]])
    ids, logits = values["ids"][kept], values["logits"][kept].astype(np.float64)
    held = [rows[at] for at in ids]
    own = np.array([row["src"] == "kaggle" for row in held])
    temperature = fit_temperature(
        logits[own],
        np.array([row["cls"] for row in held])[own],
        [row["patient"] for row in held if row["src"] == "kaggle"],
    )
    description = Description(
        network=recipe.network.model_dump(),
        classes=CLASSES,
        input_size=recipe.input.size,
        temperature=temperature,
    )
    return Trial(
        TrainedNetwork(network.eval(), description),
        held,
        ids,
        softmax(logits / temperature, axis=1),
        np.setdiff1d(np.arange(len(rows)), values["ids"]),
        int(state["cfg"]["size"]),
    )


def _sets(trial: Trial) -> dict[str, NDArray[np.bool_]]:
    """Return the sets of 50 slices or more that were held out, by name."""
    keys = [
        f"{row['src']} {row['seq']}" if row["src"] in ("lgg", "other") else row["src"]
        for row in trial.held
    ]
    found = {key: np.array(keys) == key for key in sorted(set(keys))}
    return {key: chosen for key, chosen in found.items() if chosen.sum() >= _FEWEST}


def _priced(trial: Trial, cost: float) -> Trial:
    """Return the trial with the odds of "no tumour" divided by the price of a missed tumour."""
    odds = trial.probabilities.copy()
    odds[:, _NO_TUMOUR] /= cost
    return replace(trial, probabilities=odds / odds.sum(axis=1, keepdims=True))


def _choose_cost(hospital: Trial) -> float:
    """Return the highest price of a missed tumour at which false alarms are not too many.

    Counted on the tumour-free slices of a hospital that was held out, sequence by sequence.
    """
    sets = [chosen for key, chosen in _sets(hospital).items() if key.startswith("lgg")]
    free = [chosen & (hospital.labels == _NO_TUMOUR) for chosen in sets]

    def false_alarms(cost: float) -> float:
        called = _priced(hospital, cost).probabilities.argmax(axis=1) != _NO_TUMOUR
        return float(np.mean([called[part].mean() for part in free]))

    return max(cost for cost in _COSTS if cost == 1 or false_alarms(cost) <= _FALSE_ALARMS)


def _confident(final: Trial, hospital: Trial) -> tuple[tuple[float, ...], dict[str, Any]]:
    """Return for each class the lowest threshold that keeps its confident errors rare.

    In each set, tumours and slices without one apart, at most `_WRONG` of the slices are
    confidently and wrongly called that class (class-conditional conformal prediction, Vovk 2012).
    """
    cases = {}
    for which, trial in (("final", final), ("hospital", hospital)):
        for key, chosen in _sets(trial).items():
            free = trial.labels == _NO_TUMOUR
            for name, part in (("tumour", chosen & ~free), ("no tumour", chosen & free)):
                if part.sum() >= _FEWEST:
                    cases[f"{which}: {key}, {name}"] = (trial, part)
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
        right = (hospital.labels == number) & (hospital.probabilities.argmax(axis=1) == number)
        sure = hospital.probabilities[right, number] >= least
        thresholds.append(round(least, 4) if sure.mean() >= _USEFUL else 1.0)
    shares: dict[str, Any] = {}
    for key, (trial, part) in cases.items():
        values, labels = trial.probabilities[part], trial.labels[part]
        called = values.argmax(axis=1)
        sure = values.max(axis=1) >= np.array(thresholds)[called]
        name, _, kind = key.rpartition(", ")
        shares.setdefault(name, {})[kind] = {
            "n": int(part.sum()),
            "confident": _mean(sure),
            "confident_and_wrong": _mean(sure & (called != labels)),
        }
    return tuple(thresholds), shares


def _errors(final: Trial, hospital: Trial) -> dict[str, Any]:
    """Return both error rates by set."""
    rates = {}
    for which, trial in (("final", final), ("hospital", hospital)):
        for key, chosen in _sets(trial).items():
            labels = trial.labels[chosen]
            called = trial.probabilities[chosen].argmax(axis=1) != _NO_TUMOUR
            free = labels == _NO_TUMOUR
            rates[f"{which}: {key}"] = {
                "tumours_missed": _mean(~called[~free]),
                "no_tumour_called_a_tumour": _mean(called[free]),
            }
    return rates


def _fit_series(trial: Trial) -> tuple[SeriesRule, dict[str, Any]]:
    """Fit slope and operating point of the rule to series that were held out."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for at, row in enumerate(trial.held):
        if row["src"] in ("lgg", "volumes"):
            found.setdefault((row["src"], row["series"]), []).append((row["slice"], at))
        elif row["src"] == "healthy_t1":
            key = row["src"], f"{row['patient']} {row['plane']}"
            found.setdefault(key, []).append((at, at))
    scores, tumours, contrast, evidences = [], [], [], []
    for (source, _), members in found.items():
        chosen = np.array([at for _, at in sorted(members)])
        free = chosen[trial.labels[chosen] == _NO_TUMOUR]
        parts = [(chosen, len(free) < len(chosen))]
        if source == "lgg" and 3 <= len(free) < len(chosen):
            parts.append((free, False))  # the same scan without its tumour
        for slices, tumour in parts:
            evidences.append(StackEvidence(probabilities=trial.probabilities[slices]))
            scores.append(series_score(trial.probabilities[slices], _NO_TUMOUR)[0])
            tumours.append(tumour)
            contrast.append(source == "lgg")
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
    answers = np.array([answer_stack(item, _NO_TUMOUR, rule).probabilities for item in evidences])
    called = answers.argmax(axis=1) != _NO_TUMOUR
    wrong = np.where(truth, answers.argmax(axis=1) != 0, called)  # all tumours here are gliomas
    confident = next(
        (
            c
            for c in np.arange(0.9, 0.9999, 0.005)
            if _mean((answers.max(axis=1) >= c) & wrong) <= RISK
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
        "tumours_found": _mean(called[truth]),
        "called_glioma": _mean(answers[truth].argmax(axis=1) == 0),
        "healthy_called_a_tumour": _mean(called[~truth & ~scanned]),
        "tumour_free_slices_of_tumour_scans_called_a_tumour": _mean(called[~truth & scanned]),
        "confident_share": _mean(answers.max(axis=1) >= confident),
        "confident_and_wrong": _mean((answers.max(axis=1) >= confident) & wrong),
    }


def _fit_ood(final: Trial, hospital: Trial, grey: NDArray[np.uint8]) -> tuple[float, Any]:
    """Fit the OOD score and a threshold that unseen patients and hospitals pass."""
    scores: dict[str, NDArray[np.float32]] = {}
    limits = []
    for which, trial in (("final", final), ("hospital", hospital)):
        trial.trained.fit_ood_score(_at_side(grey[trial.training], trial.side))
        found = trial.trained.ood_score(_at_side(grey[trial.ids], trial.side))
        assert found is not None
        scores |= {f"{which}: {key}": found[part] for key, part in _sets(trial).items()}
        foreign = np.array([row["src"] in ("lgg", "other") for row in trial.held])
        new = found[foreign] if which == "hospital" else found
        limits.append(float(np.quantile(new, 1 - _HARMLESS[which])))
    threshold = round(max(limits), 4)
    return threshold, {key: _mean(values > threshold) for key, values in scores.items()}


def _at_side(grey: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return inputs as a trial's held-out slices were predicted."""
    if grey.shape[-1] == side:
        return grey
    values = torch.nn.functional.interpolate(
        torch.from_numpy(grey)[:, None].float(), size=(side, side), mode="bilinear", antialias=True
    )
    return np.asarray(values[:, 0].round().clamp(0, 255).byte().numpy())


def _mean(values: NDArray[np.bool_]) -> float | None:
    return round(float(np.mean(values)), 4) if len(values) else None


def _write_run(
    run: RunFolder,
    trained: TrainedNetwork,
    rows: list[dict[str, Any]],
    training: NDArray[np.intp],
    fingerprint: str,
    cost: float,
) -> None:
    """Write what `tumorscope export` reads."""
    run.path.mkdir(parents=True, exist_ok=True)
    names = (*CLASSES, "tumour")
    held = np.setdiff1d(np.arange(len(rows)), training)
    parts = {"train": training, "validation": held, "test": np.array([], dtype=int)}
    facts: Mapping[str, Any] = {
        "data": sorted(load_recipe("edge").training.shares),
        "split": "everything",
        "fold": 0,
        "classes": list(CLASSES),
        "fingerprint": fingerprint,
        "counts": {
            part: {
                name: int(sum(rows[at]["cls"] == number for at in chosen))
                for number, name in zip((0, 1, 2, 3, -1), names, strict=True)
            }
            for part, chosen in parts.items()
        },
        "skipped": [],
        "left_out_for_doubted_labels": 0,
        "left_out_for_patients_in_test": 0,
        "test_slices_whose_group_was_learned": 0,
        "version": _VERSION,
        "license": _LICENSE,
    }
    write_text(run.data_file, json.dumps(facts, indent=2) + "\n")
    write_text(run.slices_file, "file,class,source,group,twin_cluster,part\n")
    write_text(
        run.recipe_file, load_recipe("edge", [f"decision.false_negative_cost={cost}"]).to_toml()
    )
    run.describe_environment()
    save_weights(run.weights_file, trained)


if __name__ == "__main__":
    main()
