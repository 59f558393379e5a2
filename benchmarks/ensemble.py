"""Runs on one split come in, a record of what the mean of their answers is worth goes out.

    python benchmarks/ensemble.py RUN RUN [RUN …]

writes `results/ensemble_SPLIT.json`. Each RUN is what `crossval` (or, of a published split,
`train`) left. The probabilities of a test image are averaged; no network of a run with folds has
learned from a patient that it answers for, so neither has the ensemble.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from measure import runs_in
from record import write_record
from tumorscope.cli.show import console
from tumorscope.errors import DataError
from tumorscope.evaluation import Predictions, evaluate
from tumorscope.evaluation.report import verdict


def main() -> None:
    """Average, judge and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--name", help="added to the record's name")
    options = parser.parse_args()
    if len(options.runs) < 2:
        parser.error("an ensemble has two members or more")
    firsts = [runs_in(run)[0] for run in options.runs]
    facts = [first.data() for first in firsts]
    splits = {fact["split"] for fact in facts}
    if len(splits) > 1:
        raise DataError(f"the runs are of several splits: {', '.join(sorted(splits))}")
    split = facts[0]["split"]
    tables = [Predictions.load(run / "predictions.csv") for run in options.runs]
    evaluation = evaluate(
        average(tables),
        title=f"{len(tables)} runs on {split}, mean of their answers",
        facts={"protocol": split, "members": len(tables)},
    )
    members = [
        {
            "recipe": first.recipe().model_dump(),
            "seed": first.recipe().training.seed,
            "sets": [Path(path).name for path in fact["data"]],
            "data_fingerprint": fact["fingerprint"],
            "accuracy": round(float((table.truth == table.said).mean()), 6),
        }
        for first, fact, table in zip(firsts, facts, tables, strict=True)
    ]
    figures = evaluation.to_json()
    for sentence in verdict(evaluation):
        console().print(sentence)
    suffix = f"_{options.name}" if options.name else ""
    names = " ".join(run.resolve().name for run in options.runs)
    write_record(
        f"ensemble_{split}{suffix}",
        command=f"python benchmarks/ensemble.py {names}"
        + f" --name {options.name}" * bool(options.name),
        figures={
            "mean_member_accuracy": round(
                statistics.mean(float(member["accuracy"]) for member in members), 6
            ),
            **{name: figures[name] for name in figures if name != "research_use_only"},
            "members": members,
        },
        seeds=sorted({member["seed"] for member in members}),
        n=len(tables[0]),
        data_fingerprint=facts[0]["fingerprint"],
    )


def average(tables: Sequence[Predictions]) -> Predictions:
    """Return the mean of several runs' answers to the same images.

    Raises:
        DataError: The images, their classes or their folds are not the same.
    """
    first = tables[0]
    total = np.zeros_like(first.probabilities)
    for table in tables:
        rows = {name: row for row, name in enumerate(table.names)}
        if rows.keys() != set(first.names) or table.classes != first.classes:
            raise DataError("the runs were not tested on the same images and classes")
        order = [rows[name] for name in first.names]
        if [table.labels[row] for row in order] != list(first.labels):
            raise DataError("the runs know the same images by different labels")
        if table.folds and [table.folds[row] for row in order] != list(first.folds):
            raise DataError("the runs were tested in different folds")
        total += table.probabilities[order]
    return replace(first, probabilities=total / len(tables), verdicts=())


if __name__ == "__main__":
    main()
