"""Random changes of how a slice looks, so that sequence, scanner and sharpness say nothing.

All functions take and return grey values 0 to 255, float32, shape `[N, 1, S, S]`; each picture
draws its own values.
"""

from typing import Final

import torch
from torch import Tensor, nn

_KNOTS: Final = 6
"""Pieces of a random intensity curve."""

_BEND: Final = 0.8
"""Standard deviation of the logarithm of a piece's rise: larger ones bend the curve more."""

_DARK: Final = (6.0, 26.0)
"""Up to the first grey value a neighbourhood is background, from the second on it is head."""

_SMALLEST_BRAIN: Final = 0.74
"""Half axes of the ellipse that is kept where the skull goes, at least, as a share of the half
side; at most `_SMALLEST_BRAIN + _BRAIN_RANGE`."""

_BRAIN_RANGE: Final = 0.2

_LOST: Final = 0.05
"""A skull stays where more than this share of a tumour would go with it."""


def bend_intensities(grey: Tensor, *, falling: Tensor) -> Tensor:
    """Send grey values through random monotone curves; the background stays dark.

    As Zhou et al. 2021 ("Models Genesis", https://doi.org/10.1016/j.media.2020.101840) and Ouyang
    et al. 2021 (https://arxiv.org/abs/2111.12525) do with Bezier curves: T1, T2 and FLAIR show the
    same tissues in other, also in the opposite, order of brightness.

    Args:
        grey: The pictures.
        falling: Which curves fall: bright becomes dark; bool, shape `[N]`.
    """
    count = len(grey)
    rises = torch.exp(torch.randn(count, _KNOTS, device=grey.device) * _BEND)
    heights = torch.cat([torch.zeros_like(rises[:, :1]), rises.cumsum(dim=1)], dim=1)
    heights = heights / heights[:, -1:]
    table = nn.functional.interpolate(heights[:, None], 256, mode="linear", align_corners=True)[
        :, 0
    ]
    table = torch.where(falling[:, None], table.flip(1), table) * 255.0
    values = grey.clamp(0.0, 255.0).long().view(count, -1)
    bent = table.gather(1, values).view_as(grey)
    head = _head(grey)
    return bent * head + grey * (1.0 - head)


def lower_resolution(grey: Tensor) -> Tensor:
    """Make pictures as coarse as if they had a half or a third of their pixels a side.

    Args:
        grey: The pictures; all of them draw one factor.
    """
    side = grey.shape[-1]
    factor = int(torch.randint(2, 4, ()))
    coarse = nn.functional.interpolate(grey, size=max(1, side // factor), mode="area")
    return nn.functional.interpolate(coarse, size=side, mode="bilinear", align_corners=False)


def remove_skull(grey: Tensor, outlines: Tensor) -> Tensor:
    """Keep what is inside a random ellipse, about the brain, and make the rest black.

    Args:
        grey: Pictures that are cropped to the head.
        outlines: Tumours, 0 to 255, shape `[N, 1, S, S]`: what would lose much of its tumour stays.
    """
    count, side, device = len(grey), grey.shape[-1], grey.device
    steps = (torch.arange(side, device=device) * 2.0 + 1.0) / side - 1.0
    axes = _SMALLEST_BRAIN + _BRAIN_RANGE * torch.rand(2, count, 1, 1, device=device)
    distance = (steps.view(1, 1, -1) / axes[0]) ** 2 + (steps.view(1, -1, 1) / axes[1]) ** 2
    kept = (1.0 + 15.0 * (1.0 - distance)).clamp(0.0, 1.0)[:, None]
    lost = (outlines * (1.0 - kept)).sum(dim=(1, 2, 3))
    spared = lost > _LOST * outlines.sum(dim=(1, 2, 3))
    return grey * torch.where(spared[:, None, None, None], 1.0, kept)


def _head(grey: Tensor) -> Tensor:
    """Return how much of a head each place shows, 0 in the background and 1 inside."""
    around = nn.functional.avg_pool2d(grey, 5, stride=1, padding=2, count_include_pad=False)
    return ((around - _DARK[0]) / (_DARK[1] - _DARK[0])).clamp(0.0, 1.0)
