"""Tells the plane of slices, and scores predictions plane by plane."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from tumorscope.evaluation.predictions import Predictions
from tumorscope.evaluation.scoring import Level, score_predictions

_ROUNDS: Final = 3
_SURE: Final = 0.8
"""Rounds of learning from slices whose plane is told with at least this probability."""


def tell_planes(
    known: NDArray[np.floating], planes: NDArray[np.str_], asked: NDArray[np.floating]
) -> NDArray[np.str_]:
    """Tell planes by self-training of a linear classifier (Yarowsky 1995).

    Args:
        known: Features of slices whose plane is known, `[N, F]`.
        planes: Their planes, `[N]`.
        asked: Features of the slices that are asked about, `[M, F]`.

    Returns:
        Their planes, `[M]`.
    """
    model: Pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    model.fit(known, planes)
    for _ in range(_ROUNDS):
        chances = model.predict_proba(asked)
        told, sure = model.classes_[chances.argmax(axis=1)], chances.max(axis=1) > _SURE
        model.fit(np.concatenate([known, asked[sure]]), np.concatenate([planes, told[sure]]))
    return np.asarray(model.predict(asked))


def score_by_plane(predictions: Predictions, planes: Sequence[str]) -> dict[str, Level]:
    """Return the metrics by image, plane by plane.

    Args:
        predictions: N images.
        planes: The plane of each, length N.
    """
    names = np.array(planes)
    return {
        str(plane): score_predictions(
            predictions.rows(np.flatnonzero(names == plane)), title=str(plane), facts={}
        ).images
        for plane in sorted(set(planes))
    }
