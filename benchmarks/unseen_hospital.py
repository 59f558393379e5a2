"""Measures training runs on the hospital and the scanners that each did without.

    python benchmarks/unseen_hospital.py RUN [RUN ...] --data ROOT

writes `results/unseen_hospital.json`; `without_hospital.py` tells how such a run is made. Slices of
one scan with and without tumour are told apart (AUC), with intervals from resampled patients; no
price is set on a miss. The test, fold 1 of `kaggle-patient`, is taken from the run.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle_model import Trial, judge, left_out, not_learned, sets_of, share
from measure import FIGURES
from record import write_record
from tumorscope.classes import CLASSES, NO_TUMOUR
from tumorscope.cli.show import progress
from tumorscope.datasets.sources import read_data
from tumorscope.evaluation.intervals import bootstrap
from tumorscope.evaluation.metrics import roc_auc
from tumorscope.evaluation.predictions import Predictions
from tumorscope.training.recipe import load_recipe
from tumorscope.training.run_folder import RunFolder

_NO_TUMOUR = CLASSES.index(NO_TUMOUR)
_OF_TEST = ("n", "groups", *FIGURES, "localisation", "verdicts", "interval")


def main() -> None:
    """Judge the runs and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    options = parser.parse_args()
    runs, names = [RunFolder(path) for path in options.runs], load_recipe("edge").training.shares
    tests = [run.metrics() for run in runs]
    slices = read_data([options.data / name for name in names], progress=progress).slices
    trials = [judge(run, not_learned(slices, run, strangers=True)) for run in runs]
    write_record(
        "unseen_hospital",
        command="python benchmarks/unseen_hospital.py RUN RUN --data ROOT",
        figures={
            f"without {left_out(trial)}": {
                "sets": {name: _figures(trial, part) for name, part in sets_of(trial.held).items()},
                "fold 1": {name: test[name] for name in _OF_TEST},
                "trained on": run.data()["counts"]["train"],
            }
            for run, test, trial in zip(runs, tests, trials, strict=True)
        },
        seeds=[run.recipe().training.seed for run in runs],
        n=sum(len(trial.held) for trial in trials),
        data_fingerprint=runs[0].data()["fingerprint"],
    )


def _figures(trial: Trial, part: NDArray[np.bool_]) -> dict[str, Any]:
    """Return what the run makes of a set."""
    chosen = [trial.held[at] for at in np.flatnonzero(part)]
    labels, values = trial.labels[part], trial.probabilities[part]
    patients = tuple(item.patient or item.name for item in chosen)
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
        answers = Predictions(
            classes=CLASSES,
            names=tuple(item.name for item in chosen),
            labels=tuple(item.label for item in chosen),
            groups=patients,
            clusters=tuple(item.name for item in chosen),
            probabilities=values,
        )
        figures["auc"] = round(float(roc_auc(answers)[0, _NO_TUMOUR]), 4)
        interval = bootstrap(answers).per_class["roc_auc"][_NO_TUMOUR]
        figures["auc interval"] = np.round(interval, 4).tolist() if interval else None
    return figures


if __name__ == "__main__":
    main()
