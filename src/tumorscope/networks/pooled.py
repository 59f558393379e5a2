"""Networks with a linear head over pooled feature maps."""

from abc import abstractmethod

from torch import Tensor, nn

from tumorscope.networks.layers import class_maps
from tumorscope.networks.network import Network, Outputs


class PooledNetwork(Network):
    """A network whose last layer is linear over the means of feature maps.

    Args:
        width: Channels of the feature maps.
        classes: Number of classes.
        dropout: Share of pooled features dropped in training.
    """

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, classes)

    @abstractmethod
    def features(self, grey: Tensor) -> Tensor:
        """Return feature maps `[N, width, h, w]` of grey values `[N, 1, S, S]`, 0 to 255."""

    def outputs(self, grey: Tensor) -> Outputs:
        """Return logits and class maps."""
        features = self.features(grey)
        logits = self.linear(self.dropout(features.mean(dim=(2, 3))))
        return Outputs(logits, class_maps(features, self.linear))
