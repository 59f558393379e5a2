"""What our networks have in common: shared layers, and a linear head over pooled features."""

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn


class MappedNetwork(nn.Module):
    """A network that shows where it saw each class.

    Attributes:
        keep_fp32: Names of the modules that lose too much when they compute in so many bits.
    """

    keep_fp32: Mapping[int, tuple[str, ...]] = MappingProxyType({})

    def forward_with_maps(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `[N, classes]` and class maps `[N, classes, h, w]`."""
        raise NotImplementedError


class PooledNetwork(MappedNetwork):
    """A network whose last layer is linear over pooled feature maps.

    The class map of a class is that layer applied at every place of the feature maps (Zhou et al.
    2016, https://arxiv.org/abs/1512.04150): its mean over the places is the class's logit less the
    bias, so the map shows what the answer is made of, without gradients.

    Args:
        width: Channels of the feature maps.
        classes: Number of classes.
        dropout: Share of pooled features dropped in training.
    """

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, classes)

    def features(self, grey: Tensor) -> Tensor:
        """Return feature maps `[N, width, h, w]` of grey values `[N, 1, S, S]`, 0 to 255."""
        raise NotImplementedError

    def forward(self, grey: Tensor) -> Tensor:
        """Return logits `[N, classes]` of grey values `[N, 1, S, S]`, 0 to 255."""
        logits: Tensor = self.linear(self.dropout(self.features(grey).mean(dim=(2, 3))))
        return logits

    def forward_with_maps(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `[N, classes]` and class maps `[N, classes, h, w]`."""
        features = self.features(grey)
        maps = nn.functional.conv2d(features, self.linear.weight[:, :, None, None])
        return self.linear(features.mean(dim=(2, 3))), maps


def convolution(
    channels: int, width: int, side: int = 3, *, stride: int = 1, activate: bool = True
) -> nn.Sequential:
    """Return a convolution with batch norm and, unless told otherwise, ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, side, stride, padding=side // 2, bias=False),
        nn.BatchNorm2d(width),
    ]
    if activate:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def scale(grey: Tensor) -> Tensor:
    """Bring grey values 0 to 255 to about -1 to 3: the background is dark and large."""
    return grey * (1.0 / 64.0) - 1.0
