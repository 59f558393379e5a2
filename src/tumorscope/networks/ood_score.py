"""The OOD score: how far an image is from the training images."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

_FINEST = 0.05
"""The smallest standard deviation that counts, as a share of the features' size."""

_STRENGTH = 3e-4
"""How freely the logistic regression weighs features (scikit-learn's `C`): little, for what it is
shown is made up."""

_BOUND = 3.0
"""A whitened feature counts as at most so far from the mean, but in the distance: none, however far
away, can make up for the distance."""

_LEAST = 1e-6
"""The smallest distance whose logarithm is taken."""


class OodScore(nn.Module):
    """The log odds that an image is out of distribution, from a network's own features.

    Features are centred and whitened; a logistic regression weighs them, and the logarithm of
    their mean square, which is the Mahalanobis distance to the training images (Lee et al. 2018,
    https://arxiv.org/abs/1807.03888). It learns from made-up outliers (outlier exposure, Hendrycks
    et al. 2019, https://arxiv.org/abs/1812.04606): a distance alone takes another scanner for
    something else, or a spine for a head. Until `fit` is called every score is 0.

    Args:
        width: Number of features.
    """

    mean: Tensor
    whitening: Tensor
    weights: Tensor
    bias: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("whitening", torch.zeros(width, width))
        self.register_buffer("weights", torch.zeros(width + 1, 1))
        self.register_buffer("bias", torch.zeros(1))

    def fit(self, features: NDArray[np.float32], outliers: NDArray[np.float32]) -> None:
        """Learn to tell training images from outliers.

        Args:
            features: Of training images, shape `[N, width]`.
            outliers: Of pictures that are none, shape `[M, width]`.
        """
        learned = features.astype(np.float64)
        found = LedoitWolf().fit(learned)  # (Ledoit & Wolf 2004)
        values, vectors = np.linalg.eigh(found.covariance_)
        # Where features hardly vary, the rounding of 16 and 8 bits would count as far away.
        values = np.maximum(values, (_FINEST * np.sqrt(np.mean(learned**2))) ** 2)
        self.mean.copy_(torch.from_numpy(found.location_))
        self.whitening.copy_(torch.from_numpy(vectors / np.sqrt(values)))
        seen = self._seen(torch.from_numpy(np.concatenate([features, outliers]))).double().numpy()
        mean, deviation = seen.mean(axis=0), seen.std(axis=0) + _LEAST
        model = LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=1000)
        model.fit((seen - mean) / deviation, np.repeat([0, 1], [len(features), len(outliers)]))
        weights = model.coef_[0] / deviation
        self.weights.copy_(torch.from_numpy(weights[:, None]))
        self.bias.copy_(torch.from_numpy(model.intercept_ - mean @ weights))

    def forward(self, features: Tensor) -> Tensor:
        """Return the score `[N]`: the higher, the less like the training images."""
        return (self._seen(features) @ self.weights + self.bias).flatten()

    def _seen(self, features: Tensor) -> Tensor:
        """Return bounded whitened features and the log of their mean square, `[N, width + 1]`."""
        whitened = (features - self.mean) @ self.whitening
        distance = whitened.square().mean(dim=1, keepdim=True).clamp(min=_LEAST).log()
        return torch.cat([whitened.clamp(-_BOUND, _BOUND), distance], dim=1)
