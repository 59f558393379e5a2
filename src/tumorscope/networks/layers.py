"""Building blocks that several networks share."""

from typing import Any

import torch
from torch import Tensor, nn


def convolution(
    channels: int,
    width: int,
    side: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.ReLU | nn.ReLU6] | None = nn.ReLU,
    epsilon: float = 1e-5,
    momentum: float = 0.1,
) -> nn.Sequential:
    """Return a convolution with batch norm and an activation.

    Args:
        channels: Channels coming in.
        width: Channels going out.
        side: Of the kernel, in pixels.
        stride: 2 halves the image, 1 keeps its size.
        groups: Of channels; more than one only for one group per channel.
        activation: None for none.
        epsilon: Of the batch norm.
        momentum: Of the batch norm's running statistics.
    """
    kind = DepthwiseConvolution if groups > 1 else nn.Conv2d
    layers: list[nn.Module] = [
        kind(channels, width, side, stride, padding=side // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width, eps=epsilon, momentum=momentum),
    ]
    if activation is not None:
        layers.append(activation(inplace=True))
    return nn.Sequential(*layers)


def scale(grey: Tensor) -> Tensor:
    """Bring grey values 0 to 255 to about -1 to 3: the background is dark and large."""
    return grey * (1.0 / 64.0) - 1.0


def class_maps(features: Tensor, linear: nn.Linear) -> Tensor:
    """Return class maps `[N, classes, h, w]` of feature maps `[N, width, h, w]`.

    They are the last linear layer applied at every place (Zhou et al. 2016,
    https://arxiv.org/abs/1512.04150). Where the logits are that layer's of the mean features, a
    map's mean is the class's logit less the bias: the map shows what the logit is made of, without
    gradients.
    """
    return nn.functional.conv2d(features, linear.weight[:, :, None, None])


class DepthwiseConvolution(nn.Conv2d):
    """A convolution of each channel on its own.

    In 16 bits on a CPU torch's gradients of such a layer take up to fifty times as long as in 32,
    while all the other layers gain; so here they, alone, stay in 32 bits.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's own signature)
        """Return maps `[N, channels, h/stride, w/stride]` of maps `[N, channels, h, w]`."""
        if self.training and input.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            answer: Tensor = _Depthwise.apply(input, self.weight, self.stride[0])  # type: ignore[no-untyped-call]
            return answer
        return super().forward(input)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.stride = stride
        return nn.functional.conv2d(
            maps, weight, None, stride, weight.shape[-1] // 2, groups=len(weight)
        )

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        maps, weight = ctx.saved_tensors
        stride, border = ctx.stride, weight.shape[-1] // 2
        to_maps, to_weight, _ = torch.ops.aten.convolution_backward(
            *(tensor.float() for tensor in (gradient, maps, weight)),
            None,
            [stride] * 2,
            [border] * 2,
            [1, 1],
            False,  # noqa: FBT003
            [0, 0],
            len(weight),
            [ctx.needs_input_grad[0], True, False],
        )
        return to_maps.to(maps.dtype), to_weight, None
