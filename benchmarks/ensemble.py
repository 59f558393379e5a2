"""Measures the mean of the predictions of several runs on one split.

    python benchmarks/ensemble.py RUN [RUN …] [--tta]

writes `results/ensemble_SPLIT.json`, where SPLIT is that of the first. Each RUN is what `crossval`
(or, of a published split, `train`) left. The probabilities of a test image are averaged; no network
of a run with folds has learned from a patient that it answers for, so neither has the ensemble.
With `--tta` every network is asked anew, at three zooms; then one RUN will do.

A further RUN may be of other folds: there the network answers whose test part holds the image's
patient, and of its classes those count that the first run knows. It may also be a table of answers
that `measure.py` kept in `results/predictions`, of a run whose networks are gone: it counts as it
stands.
"""

import argparse
import csv
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from measure import runs_in
from record import write_record
from tumorscope.cli.show import console
from tumorscope.datasets.catalogue import slice_name
from tumorscope.datasets.inputs import read_inputs
from tumorscope.datasets.locations import DataSource
from tumorscope.datasets.sources import read_set
from tumorscope.errors import DataError
from tumorscope.evaluation import Predictions, score_predictions, summarise
from tumorscope.evaluation.ensembles import average
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import load_weights


def main() -> None:
    """Average, evaluate and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--tta", action="store_true", help="the mean over three zooms")
    parser.add_argument("--name", help="added to the record's name")
    options = parser.parse_args()
    if len(options.runs) < 2 and not options.tta:
        parser.error("an ensemble has two members or more")
    facts = runs_in(options.runs[0])[0].data()
    split = facts["split"]
    asked = Predictions.load(options.runs[0] / "predictions.csv")
    tables = [answers(run, asked, facts["data"], split, tta=options.tta) for run in options.runs]
    evaluation = score_predictions(
        average(tables),
        title=f"{len(tables)} runs on {split}, mean of their answers",
        facts={"protocol": split, "members": len(tables), "zooms": 3 if options.tta else 1},
    )
    members = [
        {**describe(run), "accuracy": round(float((table.target == table.predicted).mean()), 6)}
        for run, table in zip(options.runs, tables, strict=True)
    ]
    figures = evaluation.to_json()
    for sentence in summarise(evaluation):
        console().print(sentence)
    suffix = f"_{options.name}" if options.name else ""
    names = " ".join(run.resolve().name for run in options.runs)
    write_record(
        f"ensemble_{split}{suffix}",
        command=f"python benchmarks/ensemble.py {names}"
        + " --tta" * options.tta
        + f" --name {options.name}" * bool(options.name),
        figures={
            "mean_member_accuracy": round(
                statistics.mean(member["accuracy"] for member in members), 6
            ),
            **{name: figures[name] for name in figures if name != "research_use_only"},
            "members": members,
        },
        seeds=sorted({member["seed"] for member in members}),
        n=len(tables[0]),
        data_fingerprint=facts["fingerprint"],
    )


def answers(
    run: Path, asked: Predictions, data: Sequence[str], split: str, *, tta: bool
) -> Predictions:
    """Return a member's answers: those it gave, or new ones where it has to be asked anew."""
    if run.suffix == ".csv":
        return Predictions.load(run)
    if tta or runs_in(run)[0].data()["split"] != split:
        return ask(run, asked, data, tta=tta)
    return Predictions.load(run / "predictions.csv")


def describe(run: Path) -> dict[str, Any]:
    """Return what is known of a member; of kept answers the record they belong to."""
    if run.suffix == ".csv":
        record, _, seed = run.stem.rpartition("_")
        return {"record": record, "seed": int(seed)}
    first = runs_in(run)[0]
    facts = first.data()
    return {
        "recipe": first.recipe().model_dump(),
        "seed": first.recipe().training.seed,
        "split": facts["split"],
        "sets": [DataSource.of(path).called for path in facts["data"]],
        "data_fingerprint": facts["fingerprint"],
    }


def ask(run: Path, table: Predictions, data: Sequence[str], *, tta: bool) -> Predictions:
    """Return what a run answers to the images of a table, whatever its folds.

    An image is answered by the fold that tests it, or that tests its patient and learned from none
    of that patient's slices.

    Raises:
        DataError: No fold of the run tests an image's patient, or it does not know a class.
    """
    slices = {slice_name(item): item for path in data for item in read_set(Path(path)).slices}
    asked = [slices[name] for name in table.names]
    probabilities = np.zeros_like(table.probabilities)
    answered = np.zeros(len(table), dtype=np.bool_)
    for fold in runs_in(run):
        groups = groups_by_part(fold)
        tested = groups["test"] - groups["train"] - groups["validation"]
        own = fold.part("test")
        rows = [
            row
            for row, (item, group) in enumerate(zip(asked, table.groups, strict=True))
            if group in tested or (item.source, item.name) in own
        ]
        trained = load_weights(fold.weights_file)
        known = trained.description.classes
        if not set(table.classes) <= set(known):
            raise DataError(f"{run} does not know all of {', '.join(table.classes)}")
        size = trained.description.input_size
        inputs = read_inputs([asked[row] for row in rows], size=size)
        answers = trained.probabilities(inputs.grey, tta=tta)
        answers = answers[:, [known.index(c) for c in table.classes]]
        probabilities[rows] = answers / answers.sum(axis=1, keepdims=True)
        answered[rows] = True
    if not answered.all():
        raise DataError(f"{run} tests no patient like {table.names[int(answered.argmin())]}'s")
    return replace(table, probabilities=probabilities, verdicts=())


def groups_by_part(run: RunFolder) -> dict[str, set[str]]:
    """Return the groups of each part of the data that a run was made from."""
    groups: dict[str, set[str]] = defaultdict(set)
    with run.slices_file.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            groups[row["part"]].add(row["group"])
    return groups


if __name__ == "__main__":
    main()
