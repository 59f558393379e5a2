"""SliceNet: a small residual network (He et al. 2016, https://arxiv.org/abs/1512.03385).

Made of 3x3 convolutions, batch norm, ReLU and pooling only, so that TensorRT 8.2 and opset 13 take
it.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from tumorscope.networks.layers import convolution, scale
from tumorscope.networks.pooled import PooledNetwork

SIZES: Final = {
    "nano": ((16, 32, 64, 128), (1, 1, 1, 1)),
    "small": ((32, 64, 128, 256), (1, 1, 1, 1)),
    "medium": ((40, 80, 160, 320), (1, 2, 2, 1)),
    "large": ((64, 128, 256, 512), (2, 2, 2, 2)),
}
"""Widths and depths (residual blocks) of the four stages, by size."""


class SliceNet(PooledNetwork):
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
        self.stem = convolution(1, widths[0], stride=2)
        self.stages = nn.Sequential(*_stages(widths, depths))

    def features(self, grey: Tensor) -> Tensor:
        """Return feature maps `[N, width, S/32, S/32]` of grey values `[N, 1, S, S]`."""
        maps: Tensor = self.stages(self.stem(scale(grey)))
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
        self.first = convolution(channels, width, stride=stride)
        self.second = convolution(width, width, activation=None)
        self.shortcut: nn.Module = nn.Identity()
        if channels != width or stride > 1:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, *convolution(channels, width, 1, activation=None))

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
