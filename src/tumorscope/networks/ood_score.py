"""The OOD score: how unlike the training images an image is."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

_FINEST = 0.05
"""The smallest standard deviation that counts, as a share of the features' size."""

_STRENGTH = 1.6
"""How freely the logistic regression weighs features: scikit-learn's `C` times the number of
images. Little, for what it is shown is made up."""

_COMPONENTS = 800
"""So many principal components are weighed: what else varies hardly varies in training images."""

_BOUND = 4.0
"""A feature counts as at most so many deviations from its mean, but in the distance: none, however
far away, can make up for the distance."""

_LEAST = 1e-6
"""The smallest distance whose logarithm is taken, and the smallest deviation divided by."""


class OodScore(nn.Module):
    """The log odds that an image is out of distribution, from a network's own features.

    A logistic regression weighs what the features are in each part of the picture, for a head has
    its parts where a head has them, whatever scanner took it. It weighs, too, the logarithm of the
    Mahalanobis distance of their means to the training images (Lee et al. 2018,
    https://arxiv.org/abs/1807.03888), so that what is far from all that was seen is far. It learns
    from made-up outliers (outlier exposure, Hendrycks et al. 2019,
    https://arxiv.org/abs/1812.04606). Until `fit` is called every score is 0.

    Args:
        width: Number of features.
        parts: Number of parts of the picture.
    """

    mean: Tensor
    scale: Tensor
    whitening: Tensor
    weights: Tensor
    distance_weight: Tensor
    bias: Tensor

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width, parts))
        self.register_buffer("scale", torch.ones(width, 1))
        self.register_buffer("whitening", torch.zeros(width, width))
        self.register_buffer("weights", torch.zeros(width * parts, 1))
        self.register_buffer("distance_weight", torch.zeros(1))
        self.register_buffer("bias", torch.zeros(1))

    def fit(self, features: NDArray[np.float32], outliers: NDArray[np.float32]) -> None:
        """Learn to tell training images from outliers.

        Args:
            features: Of training images, shape `[N, width, parts]`, N at least 2.
            outliers: Of pictures that are none, shape `[M, width, parts]`.
        """
        learned = features.mean(axis=2, dtype=np.float64)
        found = LedoitWolf().fit(learned)  # (Ledoit & Wolf 2004)
        values, vectors = np.linalg.eigh(found.covariance_)
        # Where features hardly vary, the rounding of 16 and 8 bits would count as far away.
        values = np.maximum(values, (_FINEST * np.sqrt(np.mean(learned**2))) ** 2)
        self.whitening.copy_(torch.from_numpy(vectors / np.sqrt(values)))
        self.mean.copy_(torch.from_numpy(features.mean(axis=0, dtype=np.float64)))
        # One scale for all parts of a map: where it hardly varies it counts little.
        self.scale.copy_(torch.from_numpy(features.std(axis=0).mean(axis=1, keepdims=True)))
        self.scale.clamp_(min=_LEAST)
        both = torch.from_numpy(np.concatenate([features, outliers]))
        bounded = self._bounded(both).numpy()
        count = min(_COMPONENTS, len(features), bounded.shape[1])
        components = PCA(count, svd_solver="randomized", random_state=0)
        components.fit(bounded[: len(features)])
        deviations = np.sqrt(components.explained_variance_) + _LEAST
        seen = np.concatenate(
            [components.transform(bounded) / deviations, self._log_distance(both).numpy()], axis=1
        ).astype(np.float64)
        middle, spread = seen.mean(axis=0), seen.std(axis=0) + _LEAST
        model = LogisticRegression(C=_STRENGTH / len(both), class_weight="balanced", max_iter=1000)
        model.fit((seen - middle) / spread, np.repeat([0, 1], [len(features), len(outliers)]))
        chosen, far = np.split(model.coef_[0] / spread, [count])
        # Components are sums of features, so a sum of them is one of features.
        weights = (chosen / deviations) @ components.components_
        bias = model.intercept_ - middle @ [*chosen, *far] - components.mean_ @ weights
        self.weights.copy_(torch.from_numpy(weights[:, None]))
        self.distance_weight.copy_(torch.from_numpy(far))
        self.bias.copy_(torch.from_numpy(bias))

    def forward(self, features: Tensor) -> Tensor:
        """Return the score `[N]`: the higher, the less like the training images.

        Args:
            features: Shape `[N, width, parts]`.
        """
        weighed = self._bounded(features) @ self.weights
        return (weighed + self.distance_weight * self._log_distance(features) + self.bias).flatten()

    def _bounded(self, features: Tensor) -> Tensor:
        """Return centred, scaled and bounded features, `[N, width * parts]`."""
        return ((features - self.mean) / self.scale).clamp(-_BOUND, _BOUND).flatten(1)

    def _log_distance(self, features: Tensor) -> Tensor:
        """Return the log of the mean square of the whitened means, `[N, 1]`."""
        whitened = (features - self.mean).mean(dim=2) @ self.whitening
        return whitened.square().mean(dim=1, keepdim=True).clamp(min=_LEAST).log()
