"""Fits temperature, confidence threshold and OOD threshold of a trained network."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.evaluation.calibration import RISK, confident_threshold, fit_temperature
from tumorscope.training.trained_network import TrainedNetwork

_IN_DISTRIBUTION: Final = 0.99
"""The share of validation slices whose OOD score is at most the threshold."""


def calibrate(
    trained: TrainedNetwork,
    *,
    train: NDArray[np.uint8],
    validation: NDArray[np.uint8],
    labels: NDArray[np.int64],
    groups: Sequence[str],
    own: NDArray[np.bool_],
) -> TrainedNetwork:
    """Fit the temperature, the confidence threshold and, if there is one, the OOD score.

    Args:
        trained: The network, with its best weights; its OOD score is fitted anew.
        train: Training inputs, `[N, S, S]`, grey values 0 to 255.
        validation: Validation inputs, at least one.
        labels: Class numbers of the latter.
        groups: Their patients.
        own: Which of them are of the protocol's own set, at least one: on these temperature and
            threshold are fitted. Added sets are easier and would flatter both.

    Returns:
        The network with a complete description.
    """
    trained.fit_ood_score(train)
    scores = trained.ood_score(validation)
    ood_threshold = None
    if scores is not None:
        ood_threshold = round(float(np.quantile(scores, _IN_DISTRIBUTION)), 4)
    inputs, targets = validation[own], labels[own]
    patients = [group for group, counts in zip(groups, own, strict=True) if counts]
    temperature = fit_temperature(trained.logits(inputs), targets, patients)
    description = replace(trained.description, temperature=temperature, ood_threshold=ood_threshold)
    scaled = replace(trained, description=description)
    confident, holds = confident_threshold(scaled.probabilities(inputs), targets, patients)
    description = replace(
        description,
        confident=(rounded_up(confident),) * len(description.classes),
        risk=RISK if holds else None,
    )
    return replace(trained, description=description)


def rounded_up(threshold: float) -> float:
    """Return a threshold with six digits: at a lower one more would be confident than may be."""
    steps = math.ceil(1e6 * threshold)
    return min(1.0, (steps if steps / 1e6 >= threshold else steps + 1) / 1e6)
