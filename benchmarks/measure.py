"""A recipe and a split come in; runs of it by seed, and a record of what came out, go out.

    python benchmarks/measure.py quick kaggle-official --seeds 0 1 2 --data DIR
    python benchmarks/measure.py edge kaggle-patient --data KAGGLE BR35H HEALTHY --name pooled

The answers to each test image go to `results/predictions/NAME_SEED.csv`.

Each run is the whole command in a process of its own, from a cold start, timed. Runs that are
finished already are not made again, so a stopped measurement goes on where it was; so does one
whose folds were trained one by one, by `tumorscope train --fold K --out RUNS/NAME/fold-K`. How
long a run took is known only of one that was made in one go.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from record import RESULTS, ROOT, write_record
from tumorscope.datasets.inputs import read_inputs
from tumorscope.datasets.locations import DataSource
from tumorscope.datasets.sources import read_set
from tumorscope.datasets.splits import PROTOCOLS
from tumorscope.files import write_text
from tumorscope.training.recipe import load_recipe
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import load_weights

FIGURES = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "ece",
    "selective_accuracy",
    "miss_rate",
)
"""The figures of an evaluation that a record keeps with their intervals."""


def main() -> None:
    """Measure and write `results/RECIPE_SPLIT.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", help="a bundled recipe or a .toml file")
    parser.add_argument("split", choices=sorted(PROTOCOLS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", nargs="+", required=True, metavar="DIR", help="data sets")
    parser.add_argument("--fold", type=int, help="one fold of several, as --name fold-K says")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--name", help="added to the record's name where sets or fields differ")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "measured")
    options = parser.parse_args()
    suffix = f"_{options.name}" if options.name else ""
    name = f"{Path(options.recipe).stem}_{options.split}{suffix}"
    results = []
    for seed in options.seeds:
        folder = options.runs / f"{name}_{seed}"
        make_run(
            folder,
            recipe=options.recipe,
            overrides=[*options.set, f"training.seed={seed}"],
            split=options.split,
            data=options.data,
            fold=options.fold,
        )
        results.append(_result(folder, seed))
        kept = RESULTS / "predictions" / f"{name}_{seed}.csv"
        kept.parent.mkdir(exist_ok=True)
        write_text(kept, (folder / "predictions.csv").read_text(encoding="utf-8"))
    first = json.loads((folder / "evaluation.json").read_text())
    accuracies = [result["accuracy"] for result in results]
    overrides = "".join(f" --set {override}" for override in options.set)
    write_record(
        name,
        command=f"python benchmarks/measure.py {options.recipe} {options.split} --seeds "
        f"{' '.join(map(str, options.seeds))} --data{' DIR' * len(options.data)}{overrides}"
        + f" --fold {options.fold}" * (options.fold is not None)
        + f" --name {options.name}" * bool(suffix),
        figures={
            "sets": [DataSource.of(path).called for path in runs_in(folder)[0].data()["data"]],
            "overrides": options.set,
            "mean_accuracy": round(statistics.mean(accuracies), 6),
            "accuracy_spread": round(max(accuracies) - min(accuracies), 6),
            "by_seed": results,
        },
        seeds=options.seeds,
        n=first["n"],
        data_fingerprint=first["facts"]["data fingerprint"],
    )


def make_run(
    folder: Path,
    *,
    recipe: str,
    overrides: Sequence[str],
    split: str,
    data: Sequence[str],
    fold: int | None = None,
) -> None:
    """Make a run, or what is missing of it; `seconds.json` says how long it took in one go.

    Args:
        folder: The run's folder.
        recipe: A bundled recipe or a TOML file.
        overrides: Fields that differ, `section.field=value`.
        split: The protocol.
        data: The data sets.
        fold: The fold that tests; None for all of them.
    """
    new = not folder.exists()
    if not (folder / "evaluation.json").is_file():
        whole = PROTOCOLS[split].kind == "folds" and fold is None
        command = [sys.executable, "-m", "tumorscope.cli.main", "crossval" if whole else "train"]
        if new:
            command += ["--recipe", recipe, "--split", split, "--out", str(folder)]
            command += [word for path in data for word in ("--data", path)]
            command += [word for field in overrides for word in ("--set", field)]
            command += [] if fold is None else ["--fold", str(fold)]
        else:
            command += ["--resume", str(folder)]
        began = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = round(time.perf_counter() - began, 1) if new else None
        write_text(folder / "seconds.json", json.dumps(seconds))
    wanted = load_recipe(recipe, overrides)
    for run in runs_in(folder):
        if run.recipe() != wanted:
            raise SystemExit(f"{run.path} was made by another recipe: move it, or name another")


def runs_in(folder: Path) -> list[RunFolder]:
    """Return the runs of all folds, or the only one."""
    folders = sorted(file.parent for file in folder.glob("fold-*/recipe.toml"))
    return [RunFolder(path) for path in folders or [folder]]


def _result(folder: Path, seed: int) -> dict[str, object]:
    evaluation = json.loads((folder / "evaluation.json").read_text())
    runs = runs_in(folder)
    seconds = folder / "seconds.json"
    speeds = [row["images_per_second"] for run in runs for row in run.history()]
    return {
        "seed": seed,
        "n": evaluation["n"],
        "groups": evaluation["groups"],
        **{name: evaluation.get(name) for name in FIGURES},
        "interval": {name: evaluation["interval"].get(name) for name in FIGURES},
        "verdicts": evaluation.get("verdicts"),
        "by_slice": {name: evaluation["by_slice"][name] for name in ("n", "accuracy")},
        "by_patient": {name: evaluation["by_patient"][name] for name in ("n", "accuracy")},
        "by_fold": evaluation["by_fold"],
        "per_class": evaluation["per_class"],
        "confusion": evaluation["confusion"],
        "localisation": evaluation.get("localisation"),
        "leaked": evaluation["facts"]["test images whose patient or near-duplicate is in training"],
        "training_accuracy": round(float(np.mean([_training_accuracy(run) for run in runs])), 6),
        "images_per_second": round(statistics.median(speeds), 1),
        "seconds": json.loads(seconds.read_text()) if seconds.is_file() else None,
    }


def _training_accuracy(run: RunFolder) -> float:
    """Return the accuracy on the images that the run learned from, without augmentation.

    Tumours of unknown kind have no class to be right about.
    """
    trained = load_weights(run.weights_file)
    data = run.data()
    learned = run.part("train")
    slices = [
        item
        for path in data["data"]
        for item in read_set(Path(path)).slices
        if (item.source, item.name) in learned and item.label in data["classes"]
    ]
    inputs = read_inputs(slices, size=trained.description.input_size)
    target = np.array([data["classes"].index(item.label) for item in inputs.slices])
    return float((trained.probabilities(inputs.grey).argmax(axis=1) == target).mean())


if __name__ == "__main__":
    main()
