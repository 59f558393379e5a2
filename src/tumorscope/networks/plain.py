"""PlainNet: a plain network, as in most notebooks and in the project that this one started from."""

from torch import Tensor, nn

from tumorscope.networks.layers import convolution, scale
from tumorscope.networks.pooled import PooledNetwork


class PlainNet(PooledNetwork):
    """Five convolutions with batch norm, pooling between them, then a linear layer over the means.

    Args:
        classes: Number of classes.
        dropout: Share of pooled features dropped in training.
    """

    def __init__(self, classes: int = 4, dropout: float = 0.0) -> None:
        super().__init__(512, classes, dropout)
        layers: list[nn.Module] = []
        channels = 1
        for width in (32, 64, 128, 256):
            layers += [convolution(channels, width), nn.MaxPool2d(2)]
            channels = width
        self.layers = nn.Sequential(*layers, convolution(channels, 512))

    def features(self, grey: Tensor) -> Tensor:
        """Return feature maps `[N, 512, S/16, S/16]` of grey values `[N, 1, S, S]`."""
        maps: Tensor = self.layers(scale(grey))
        return maps
