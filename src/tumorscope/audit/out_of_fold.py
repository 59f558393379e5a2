"""Reads predictions out of fold, tells whether they are, and finds likely label errors by them."""

import csv
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tumorscope.audit.label_errors import LabelError, LabelErrors, rank_label_errors
from tumorscope.classes import CLASSES
from tumorscope.datasets.catalogue import Slice, slice_name
from tumorscope.errors import DataError
from tumorscope.evaluation.predictions import Predictions
from tumorscope.evaluation.predictions_table import read_predictions

_TABLE = "predictions.csv"
_PARTS = "slices.csv"
"""What a run writes: its answers to the test part, and which slice was in which part."""


def find_label_errors(
    path: Path, slices: Sequence[Slice], clusters: Sequence[int], groups: Sequence[str]
) -> LabelErrors:
    """Rank likely label errors by a table of predictions.

    Args:
        path: What `tumorscope crossval` or `train` wrote, folder or `predictions.csv`, or anybody's
            table with a row a picture, as `tumorscope evaluate` takes it.
        slices: The audited pictures.
        clusters: Their near-duplicate clusters.
        groups: Their patients, or something else where they are not known.

    Raises:
        DataError: It is no such table, none of its rows is of these pictures, or a model was asked
            about pictures that it learned from.
        OSError: The table cannot be read.
    """
    table = path / _TABLE if path.is_dir() else path
    if not table.is_file():
        raise DataError(
            f"{path}: no {_TABLE}: give a folder that `tumorscope crossval` wrote to its end, or a "
            "CSV file of predictions"
        )
    found = _read(table, slices)
    places = {slice_name(item): place for place, item in enumerate(slices)}
    rows = [row for row, name in enumerate(found.names) if name in places]
    if not rows:
        raise DataError(
            f"{table}: none of its {len(found):,} rows is of an audited picture (the first is "
            f"'{found.names[0]}', the first picture '{slice_name(slices[0])}')"
        )
    known = [row for row in rows if slices[places[found.names[row]]].label in found.classes]
    chosen = [places[found.names[row]] for row in known]
    labels = np.array([found.classes.index(slices[place].label) for place in chosen], dtype=np.intp)
    probabilities = found.probabilities[known]
    ranked = rank_label_errors(
        labels,
        probabilities,
        clusters=[clusters[place] for place in chosen],
        groups=[groups[place] for place in chosen],
    )
    return LabelErrors(
        ranked=tuple(
            LabelError(chosen[row], slices[chosen[row]].label, found.classes[likely], score)
            for row, likely, score in ranked
        ),
        predicted=len(chosen),
        agreeing=int((probabilities.argmax(axis=1) == labels).sum()),
        learned_from=_learned_from(table, found, places, clusters, groups),
    )


def _read(table: Path, slices: Sequence[Slice]) -> Predictions:
    """Read a table of ours or of anybody's."""
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        header = next(csv.reader(file), [])
    if {"path", "model"} <= set(header):
        raise DataError(
            f"{table}: written by `tumorscope predict`, whose model may have learned from these "
            "pictures; give predictions out of fold, as `tumorscope crossval` writes them"
        )
    if "name" in header:
        return Predictions.load(table)
    return read_predictions(table, [item for item in slices if item.label in CLASSES], folded=False)


def _learned_from(
    table: Path,
    found: Predictions,
    places: dict[str, int],
    clusters: Sequence[int],
    groups: Sequence[str],
) -> int | None:
    """Count the predictions whose model learned from a copy or from the patient.

    Raises:
        DataError: A model learned from the very picture.
    """
    leaks, told = 0, False
    for tested, learned in _folds(table, found):
        told = True
        twice = sorted(tested & learned)
        if twice:
            raise DataError(
                f"{table}: {len(twice):,} predictions are of pictures that the model learned from "
                f"(the first is {twice[0]}): labels cannot be judged by them; give predictions out "
                "of fold, as `tumorscope crossval` writes them"
            )
        at_hand = [places[name] for name in learned if name in places]
        seen: set[Hashable] = {clusters[place] for place in at_hand}
        seen |= {groups[place] for place in at_hand}
        leaks += sum(
            clusters[places[name]] in seen or groups[places[name]] in seen
            for name in tested
            if name in places
        )
    return leaks if told else None


def _folds(table: Path, found: Predictions) -> Iterator[tuple[set[str], set[str]]]:
    """Yield the names that were predicted and those that were learned from, model by model."""
    runs = [
        folder
        for folder in (table.parent, *sorted(table.parent.glob("fold-*")))
        if (folder / _TABLE).is_file() and (folder / _PARTS).is_file()
    ]
    for folder in runs:
        with (folder / _PARTS).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            learned = {
                f"{row['source']}/{row['file']}"
                for row in csv.DictReader(file)
                if row["part"] != "test"
            }
        yield set(Predictions.load(folder / _TABLE).names), learned
    if not runs and found.folds:
        by_fold: defaultdict[int, set[str]] = defaultdict(set)
        for name, fold in zip(found.names, found.folds, strict=True):
            by_fold[fold].add(name)
        for tested in by_fold.values():
            yield tested, set(found.names) - tested
