"""Features of pictures come in, how unlike the training pictures each one is goes out."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from torch import Tensor, nn

_FINEST = 0.05
"""The smallest standard deviation that counts, as a share of the features' size."""


class OodScore(nn.Module):
    """The Mahalanobis distance to the training pictures, in a network's own features.

    After Lee et al. 2018 (https://arxiv.org/abs/1807.03888), with one mean for all classes: asked
    is whether a picture is of the kind that was learned from at all, not which class it is. Until
    `learn` is called every distance is that to the origin.

    Args:
        width: Number of features.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("whitening", torch.eye(width))

    def learn(self, features: NDArray[np.float32]) -> None:
        """Take mean and covariance (Ledoit & Wolf 2004) of training pictures.

        Args:
            features: Shape `[N, width]`.
        """
        found = LedoitWolf().fit(features.astype(np.float64))
        values, vectors = np.linalg.eigh(found.covariance_)
        # Where features hardly vary, the rounding of 16 and 8 bits would be strange.
        values = np.maximum(values, (_FINEST * np.sqrt(np.mean(features**2))) ** 2)
        self.mean.copy_(torch.from_numpy(found.location_))
        self.whitening.copy_(torch.from_numpy(vectors / np.sqrt(values)))

    def forward(self, features: Tensor) -> Tensor:
        """Return the mean squared whitened distance `[N]`, about 1 for typical pictures."""
        distance: Tensor = ((features - self.mean) @ self.whitening).square().mean(dim=1)
        return distance
