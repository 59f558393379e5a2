"""The OOD score: how far an image is from the training images."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from torch import Tensor, nn

_FINEST = 0.05
"""The smallest standard deviation that counts, as a share of the features' size."""


class OodScore(nn.Module):
    """The Mahalanobis distance to the training images, in a network's own features.

    After Lee et al. 2018 (https://arxiv.org/abs/1807.03888), with one mean for all classes: the
    question is whether an image is out of distribution, not which class it is. Until `fit` is
    called every distance is that to the origin.

    Args:
        width: Number of features.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("whitening", torch.eye(width))

    def fit(self, features: NDArray[np.float32]) -> None:
        """Estimate mean and covariance (Ledoit & Wolf 2004) of training images.

        Args:
            features: Shape `[N, width]`.
        """
        found = LedoitWolf().fit(features.astype(np.float64))
        values, vectors = np.linalg.eigh(found.covariance_)
        # Where features hardly vary, the rounding of 16 and 8 bits would count as far away.
        values = np.maximum(values, (_FINEST * np.sqrt(np.mean(features**2))) ** 2)
        self.mean.copy_(torch.from_numpy(found.location_))
        self.whitening.copy_(torch.from_numpy(vectors / np.sqrt(values)))

    def forward(self, features: Tensor) -> Tensor:
        """Return the mean squared whitened distance `[N]`, about 1 for images like those."""
        distance: Tensor = ((features - self.mean) @ self.whitening).square().mean(dim=1)
        return distance
