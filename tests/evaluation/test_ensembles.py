"""The mean of several models' predictions."""

from dataclasses import replace

import numpy as np
import pytest

from tumorscope.classes import CLASSES
from tumorscope.errors import DataError
from tumorscope.evaluation import Predictions
from tumorscope.evaluation.ensembles import average


def table(probabilities: list[list[float]], names: tuple[str, ...] = ("a", "b")) -> Predictions:
    return Predictions(
        classes=CLASSES,
        names=names,
        labels=("glioma", "notumor") if names[0] == "a" else ("notumor", "glioma"),
        groups=names,
        clusters=names,
        probabilities=np.array(probabilities),
        folds=(1, 2) if names[0] == "a" else (2, 1),
    )


FIRST = table([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
SECOND = table([[0.0, 0.5, 0.5, 0.0], [0.5, 0.0, 0.0, 0.5]], names=("b", "a"))


def test_rows_are_found_by_name() -> None:
    mean = average([FIRST, SECOND])
    np.testing.assert_allclose(mean.probabilities[0], [0.75, 0.0, 0.0, 0.25])
    np.testing.assert_allclose(mean.probabilities[1], [0.0, 0.25, 0.75, 0.0])
    assert (mean.names, mean.folds) == (FIRST.names, FIRST.folds)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (table([[1.0, 0, 0, 0], [1.0, 0, 0, 0]], names=("a", "c")), "same images"),
        (replace(FIRST, labels=("notumor", "glioma")), "different labels"),
        (replace(FIRST, folds=(2, 2)), "different folds"),
    ],
)
def test_members_that_do_not_fit_are_told(other: Predictions, words: str) -> None:
    with pytest.raises(DataError, match=words):
        average([FIRST, other])
    with pytest.raises(DataError, match="one member"):
        average([])
