"""PlainNet: the network of the student project that this one started from."""

from torch import Tensor, nn

from tumorscope.networks.layers import convolution, scale
from tumorscope.networks.pooled import PooledNetwork


class PlainNet(PooledNetwork):
    """The student project's network: convolution, batch norm and pooling in turn, then dense.

    Args:
        classes: Number of classes.
        dropout: Share of pooled features dropped in training.
    """

    def __init__(self, classes: int = 4, dropout: float = 0.0) -> None:
        super().__init__(256, classes, dropout)
        layers: list[nn.Module] = []
        channels = 1
        for width in (32, 64, 128, 256):
            layers += [convolution(channels, width), nn.MaxPool2d(2)]
            channels = width
        self.layers = nn.Sequential(*layers)

    def features(self, grey: Tensor) -> Tensor:
        """Return feature maps `[N, 256, S/16, S/16]` of grey values `[N, 1, S, S]`."""
        maps: Tensor = self.layers(scale(grey))
        return maps
