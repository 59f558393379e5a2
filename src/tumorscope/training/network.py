"""Our own networks: grey values 0 to 255 come in, logits and class maps go out.

`SliceNet` is a small residual network (He et al. 2016, https://arxiv.org/abs/1512.03385) made of
3x3 convolutions, batch norm, ReLU and pooling only, so that TensorRT 8.2 and opset 13 take it.
`PlainNet` is the network of the student project that this one started from.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

SIZES: Final = {
    "nano": ((16, 32, 64, 128), (1, 1, 1, 1)),
    "small": ((32, 64, 128, 256), (1, 1, 1, 1)),
    "medium": ((40, 80, 160, 320), (1, 2, 2, 1)),
    "large": ((64, 128, 256, 512), (2, 2, 2, 2)),
}
"""Widths and depths (residual blocks) of the four stages, by size."""


class MappedNetwork(nn.Module):
    """A network that shows where it saw each class.

    Attributes:
        delicate: Names of the modules that lose too much when they compute in so many bits.
    """

    delicate: Mapping[int, tuple[str, ...]] = MappingProxyType({})

    def forward_with_maps(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `[N, classes]` and class maps `[N, classes, h, w]`."""
        raise NotImplementedError


class Classifier(MappedNetwork):
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


class SliceNet(Classifier):
    """Our network: a stem that quarters the picture and four residual stages.

    Three of the stages halve it again; the side of the input has to be a multiple of 32.

    Args:
        size: One of `SIZES`.
        classes: Number of classes.
        dropout: Share of pooled features dropped in training.
    """

    def __init__(self, size: str = "small", classes: int = 4, dropout: float = 0.0) -> None:
        widths, depths = SIZES[size]
        super().__init__(widths[-1], classes, dropout)
        self.stem = _convolution(1, widths[0], stride=2)
        self.stages = nn.Sequential(*_stages(widths, depths))

    def features(self, grey: Tensor) -> Tensor:
        """Return feature maps `[N, width, S/32, S/32]` of grey values `[N, 1, S, S]`."""
        maps: Tensor = self.stages(self.stem(_scale(grey)))
        return maps


class PlainNet(Classifier):
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
            layers += [_convolution(channels, width), nn.MaxPool2d(2)]
            channels = width
        self.layers = nn.Sequential(*layers)

    def features(self, grey: Tensor) -> Tensor:
        """Return feature maps `[N, 256, S/16, S/16]` of grey values `[N, 1, S, S]`."""
        maps: Tensor = self.layers(_scale(grey))
        return maps


class Residual(nn.Module):
    """Two 3x3 convolutions beside a short cut; with a stride the short cut pools.

    Args:
        channels: Channels coming in.
        width: Channels going out.
        stride: 2 halves the picture, 1 keeps it.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(channels, width, stride=stride)
        self.second = _convolution(width, width, activate=False)
        self.shortcut: nn.Module = nn.Identity()
        if channels != width or stride > 1:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, *_convolution(channels, width, 1, activate=False))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps `[N, width, h/stride, w/stride]` of maps `[N, channels, h, w]`."""
        return torch.relu(self.shortcut(maps) + self.second(self.first(maps)))


def _stages(widths: Sequence[int], depths: Sequence[int]) -> list[nn.Module]:
    blocks: list[nn.Module] = [nn.MaxPool2d(2)]
    channels = widths[0]
    for number, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for block in range(depth):
            blocks.append(Residual(channels, width, 2 if block == 0 and number > 0 else 1))
            channels = width
    return blocks


def _convolution(
    channels: int, width: int, side: int = 3, *, stride: int = 1, activate: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, side, stride, padding=side // 2, bias=False),
        nn.BatchNorm2d(width),
    ]
    if activate:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _scale(grey: Tensor) -> Tensor:
    """Bring grey values 0 to 255 to about -1 to 3: the background is dark and large."""
    return grey * (1.0 / 64.0) - 1.0
