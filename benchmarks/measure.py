"""A recipe and a split come in; runs of it by seed, and a record of what came out, go out.

    python benchmarks/measure.py quick kaggle-official --seeds 0 1 2 --data DIR

Each run is the whole command in a process of its own, from a cold start, timed. Runs that are
finished already are not made again, so a stopped measurement goes on where it was.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from record import ROOT, write_record
from tumorscope.data.inputs import read_inputs
from tumorscope.data.protocols import PROTOCOLS
from tumorscope.data.sources import read_data
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.weights import load_weights

_FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "ece", "tumour_called_no_tumour")


def main() -> None:
    """Measure and write `results/RECIPE_SPLIT.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("split", choices=sorted(PROTOCOLS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "measured")
    options = parser.parse_args()
    folds = PROTOCOLS[options.split].kind == "folds"
    results = []
    for seed in options.seeds:
        folder = options.runs / f"{options.recipe}_{options.split}_{seed}"
        if not (folder / "seconds.json").is_file():
            command = [sys.executable, "-m", "tumorscope.cli.main"]
            command += ["crossval" if folds else "train"]
            if folder.exists():
                command += ["--resume", str(folder)]
            else:
                command += ["--recipe", options.recipe, "--split", options.split]
                command += ["--seed", str(seed), "--data", options.data, "--out", str(folder)]
            began = time.perf_counter()
            subprocess.run(command, check=True)
            seconds = round(time.perf_counter() - began, 1)
            (folder / "seconds.json").write_text(json.dumps(seconds))
        results.append(_result(folder, seed, folds=folds))
    first = json.loads((folder / "evaluation.json").read_text())
    accuracies = [result["accuracy"] for result in results]
    write_record(
        f"{options.recipe}_{options.split}",
        command=f"python benchmarks/measure.py {options.recipe} {options.split} --seeds "
        f"{' '.join(map(str, options.seeds))} --data DIR",
        figures={
            "mean_accuracy": round(statistics.mean(accuracies), 6),
            "accuracy_spread": round(max(accuracies) - min(accuracies), 6),
            "by_seed": results,
        },
        seeds=options.seeds,
        n=first["n"],
        data_fingerprint=first["facts"]["data fingerprint"],
    )


def _result(folder: Path, seed: int, *, folds: bool) -> dict[str, object]:
    evaluation = json.loads((folder / "evaluation.json").read_text())
    runs = sorted(folder.glob("fold-*")) if folds else [folder]
    speeds = [row["images_per_second"] for run in runs for row in RunFolder(run).history()]
    return {
        "seed": seed,
        "n": evaluation["n"],
        "groups": evaluation["groups"],
        **{name: evaluation[name] for name in _FIGURES},
        "interval": {name: evaluation["interval"][name] for name in _FIGURES},
        "by_slice": {name: evaluation["by_slice"][name] for name in ("n", "accuracy")},
        "by_patient": {name: evaluation["by_patient"][name] for name in ("n", "accuracy")},
        "by_fold": evaluation["by_fold"],
        "per_class": evaluation["per_class"],
        "confusion": evaluation["confusion"],
        "localisation": evaluation.get("localisation"),
        "leaked": evaluation["facts"]["test images whose patient or twin was learned from"],
        "training_accuracy": round(float(np.mean([_training_accuracy(run) for run in runs])), 6),
        "images_per_second": round(statistics.median(speeds), 1),
        "seconds": json.loads((folder / "seconds.json").read_text()),
    }


def _training_accuracy(folder: Path) -> float:
    """Return the accuracy on the images that the run learned from, without augmentation."""
    run = RunFolder(folder)
    trained = load_weights(run.weights_file)
    data = run.data()
    learned = run.part("train")
    catalogue = read_data([Path(path) for path in data["data"]])
    slices = [item for item in catalogue.slices if (item.source, item.name) in learned]
    inputs = read_inputs(slices, size=trained.description.input_size)
    truth = np.array([data["classes"].index(item.label) for item in inputs.slices])
    return float((trained.logits(inputs.grey).argmax(axis=1) == truth).mean())


if __name__ == "__main__":
    main()
