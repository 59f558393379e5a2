"""Measures a training run on the hospital and the scanners that it did without.

    python benchmarks/unseen_hospital.py HOSPITAL_RUN --data ROOT

writes `results/unseen_hospital.json`; `without_hospital.py` tells how the run is made. Slices of
one scan with and without tumour are told apart (AUC), with intervals from resampled patients; no
price is set on a miss. Its test, fold 1 of `kaggle-patient`, is taken from the run.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bundle_model import Trial, judge, not_learned, sets_of, share
from measure import FIGURES
from record import write_record
from tumorscope.classes import CLASSES, NO_TUMOUR
from tumorscope.cli.show import progress
from tumorscope.datasets.sources import read_data
from tumorscope.training.recipe import load_recipe
from tumorscope.training.run_folder import RunFolder

_NO_TUMOUR = CLASSES.index(NO_TUMOUR)
_DRAWS = 1000


def main() -> None:
    """Judge the run and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    options = parser.parse_args()
    run, names = RunFolder(options.run), load_recipe("edge").training.shares
    slices = read_data([options.data / name for name in names], progress=progress).slices
    trial = judge(run, not_learned(slices, run, strangers=True))
    test = run.metrics()
    kept = ("n", "groups", *FIGURES, "localisation", "verdicts")
    write_record(
        "unseen_hospital",
        command="python benchmarks/unseen_hospital.py HOSPITAL_RUN --data ROOT",
        figures={
            "sets": {name: _figures(trial, part) for name, part in sets_of(trial).items()},
            "fold 1": {**{name: test[name] for name in kept}, "interval": test["interval"]},
            "trained on": run.data()["counts"]["train"],
        },
        seeds=[run.recipe().training.seed],
        n=len(trial.held),
        data_fingerprint=run.data()["fingerprint"],
    )


def _figures(trial: Trial, part: NDArray[np.bool_]) -> dict[str, Any]:
    """Return what the run makes of a set."""
    labels, values = trial.labels[part], trial.probabilities[part]
    patients = np.array([item.patient for item in trial.held])[part]
    tumour, called = labels != _NO_TUMOUR, values.argmax(axis=1)
    figures: dict[str, Any] = {
        "n": len(labels),
        "patients": len(set(patients)),
        "tumour": int(tumour.sum()),
        "accuracy": share(called == labels),
        "missed": share(called[tumour] == _NO_TUMOUR),
        "right kind": share(called[tumour] == labels[tumour]),
        "false alarms": share(called[~tumour] != _NO_TUMOUR),
    }
    if tumour.any() and not tumour.all():
        suspicion = 1 - values[:, _NO_TUMOUR]
        areas = _resampled(tumour, suspicion, patients)
        figures["auc"] = round(float(roc_auc_score(tumour, suspicion)), 4)
        figures["auc interval"] = np.quantile(areas, [0.025, 0.975]).round(4).tolist()
    return figures


def _resampled(
    tumour: NDArray[np.bool_], suspicion: NDArray[np.float64], patients: NDArray[np.str_]
) -> list[float]:
    """Return the area under the curve for patients drawn again and again."""
    random, rows = np.random.default_rng(0), [np.flatnonzero(patients == p) for p in set(patients)]
    rows.sort(key=lambda each: int(each[0]))
    areas = []
    for _ in range(_DRAWS):
        drawn = np.concatenate([rows[at] for at in random.integers(0, len(rows), len(rows))])
        if 0 < tumour[drawn].mean() < 1:
            areas.append(float(roc_auc_score(tumour[drawn], suspicion[drawn])))
    return areas


if __name__ == "__main__":
    main()
