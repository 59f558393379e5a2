"""Averages the predictions of several models."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tumorscope.errors import DataError
from tumorscope.evaluation.predictions import Predictions


def average(tables: Sequence[Predictions]) -> Predictions:
    """Return the mean of several models' probabilities for the same images.

    Args:
        tables: The members' predictions, in any order of the rows.

    Raises:
        DataError: There are none, or the images, their classes or their folds are not the same.
    """
    if not tables:
        raise DataError("an ensemble has one member or more")
    first = tables[0]
    total = np.zeros_like(first.probabilities)
    for table in tables:
        rows = {name: row for row, name in enumerate(table.names)}
        if rows.keys() != set(first.names) or table.classes != first.classes:
            raise DataError("the models were not tested on the same images and classes")
        order = [rows[name] for name in first.names]
        if [table.labels[row] for row in order] != list(first.labels):
            raise DataError("the models know the same images by different labels")
        if table.folds and [table.folds[row] for row in order] != list(first.folds):
            raise DataError("the models were tested in different folds")
        total += table.probabilities[order]
    return replace(
        first,
        probabilities=total / len(tables),
        verdicts=(),
        labels_only=any(table.labels_only for table in tables),
    )
