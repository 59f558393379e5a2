"""Tests of the shared building blocks."""

import pytest
import torch
from torch import nn

from tumorscope.networks.layers import DepthwiseConvolution


@pytest.mark.parametrize(("side", "stride"), [(3, 1), (5, 1), (5, 2)])
def test_gradients_of_depthwise_layers_in_16_bits_are_those_in_32(side: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConvolution(8, 8, side, stride, padding=side // 2, groups=8, bias=False)
    plain = nn.Conv2d(8, 8, side, stride, padding=side // 2, groups=8, bias=False)
    plain.load_state_dict(layer.state_dict())
    found = []
    for each, mixed in ((layer, True), (plain, False)):
        maps = torch.randn(2, 8, 12, 12, generator=torch.Generator().manual_seed(1))
        maps.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            answer = each(maps * 1.0)
        assert answer.dtype == (torch.bfloat16 if mixed else torch.float32)
        answer.float().square().sum().backward()
        assert maps.grad is not None
        assert each.weight.grad is not None
        found.append((maps.grad, each.weight.grad))
    for own, expected in zip(*found, strict=True):
        assert (own - expected).abs().max() < 0.02 * expected.abs().max()
