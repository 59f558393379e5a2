"""A trained network and its inputs come in, the same network that knows its limits goes out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from tumorscope.evaluation.calibration import RISK, confident_threshold, fit_temperature
from tumorscope.networks.litenet import LiteNet
from tumorscope.training.trained_network import TrainedNetwork

_TYPICAL: Final = 0.99
"""The share of validation slices that are taken to be of the kind that was learned from."""


def calibrate(
    trained: TrainedNetwork,
    *,
    train: NDArray[np.uint8],
    validation: NDArray[np.uint8],
    labels: NDArray[np.int64],
    groups: Sequence[str],
    own: NDArray[np.bool_],
) -> TrainedNetwork:
    """Fit the temperature, what is confident and, where the network can tell, what is strange.

    Args:
        trained: The network, with its best weights; what it knows of typical pictures is replaced.
        train: Inputs that it learned from, `[N, S, S]`, grey values 0 to 255.
        validation: Inputs that it did not learn from, at least one.
        labels: True classes' numbers of the latter.
        groups: Their patients.
        own: Which of them are of the protocol's own set, at least one: on these temperature and
            threshold are fitted. Added sets are easier to tell and would flatter both.

    Returns:
        The network with a complete description.
    """
    ood_threshold = None
    if isinstance(trained.network, LiteNet):
        with torch.inference_mode():
            features = [trained.network.ood_features(part) for part in trained.batches(train)]
        trained.network.ood_score.learn(torch.cat(features).cpu().numpy())
        found = trained.ood_score(validation)
        assert found is not None
        ood_threshold = round(float(np.quantile(found, _TYPICAL)), 4)
    judged, truth = validation[own], labels[own]
    patients = [group for group, counts in zip(groups, own, strict=True) if counts]
    temperature = fit_temperature(trained.logits(judged), truth, patients)
    description = replace(trained.description, temperature=temperature, ood_threshold=ood_threshold)
    scaled = replace(trained, description=description)
    confident, holds = confident_threshold(scaled.probabilities(judged), truth, patients)
    description = replace(description, confident=round(confident, 6), risk=RISK if holds else None)
    return replace(trained, description=description)
