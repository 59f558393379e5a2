"""A trained network comes in, the network that is exported goes out: what every file answers with.

Scaling of grey values, calibration, softmax and heatmap stand inside, so that nothing is left for
a runtime to do differently.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tumorscope.networks.litenet import LiteNet
from tumorscope.networks.pooled import MappedNetwork
from tumorscope.training.trained_network import Calibration, TrainedNetwork

INPUT_NAME = "grey"
OUTPUT_NAMES = ("probabilities", "logits", "heatmap", "ood_score")


class ServedNetwork(nn.Module):
    """Grey values `[N, 1, S, S]` (0 to 255, float32) come in; a tuple goes out.

    The tuple holds probabilities `[N, C]`, logits `[N, C]` as `Calibration` leaves them, and class
    maps `[N, C, h, w]`: the last
    linear layer applied at every place of the last feature maps (Zhou et al. 2016,
    https://arxiv.org/abs/1512.04150), or the network's own tumour map. A network whose head is
    anything but a linear layer over mean feature maps has no class maps, and the tuple two
    members. One that knows typical pictures adds how unlike them each one is, `[N]`.

    Args:
        trained: The network; it is copied, not changed.
    """

    def __init__(self, trained: TrainedNetwork) -> None:
        super().__init__()
        network = copy.deepcopy(trained.network).cpu().float().eval()
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        _use_plain_swish(network)
        self.input_size = trained.description.input_size
        self.calibration = Calibration(trained.description)
        self.network = network
        self.head = (
            None if isinstance(network, MappedNetwork) else _find_head(network, self.example())
        )

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of what `forward` returns."""
        has_maps = isinstance(self.network, MappedNetwork) or self.head is not None
        if isinstance(self.network, LiteNet):
            return OUTPUT_NAMES
        return OUTPUT_NAMES[:3] if has_maps else OUTPUT_NAMES[:2]

    def example(self, batch: int = 2) -> Tensor:
        """Return inputs of the right shape, for tracing."""
        values = torch.arange(batch * self.input_size**2, dtype=torch.float32) % 256
        return values.reshape(batch, 1, self.input_size, self.input_size)

    def forward(self, grey: Tensor) -> tuple[Tensor, ...]:
        """Return probabilities, calibrated logits and, where there are any, class maps."""
        logits, *others = self._ask(grey)
        probabilities, calibrated = self.calibration(logits)
        return probabilities, calibrated, *others

    def _ask(self, grey: Tensor) -> tuple[Tensor, ...]:
        """Return the network's logits, then class maps and ood_score where it has them."""
        if isinstance(self.network, LiteNet):
            return self.network.forward_with_limits(grey)
        if isinstance(self.network, MappedNetwork):
            return self.network.forward_with_maps(grey)
        if self.head is not None:
            return _logits_and_maps(self.network, self.head, grey)
        return (self.network(grey),)


class _Head(nn.Module):
    """A linear layer over the means of feature maps, inside a network that is not our own.

    Args:
        place: Name of the module that gives the feature maps.
        linear: The layer.
    """

    def __init__(self, place: str, linear: nn.Linear) -> None:
        super().__init__()
        self.place = place
        self.linear = linear

    def forward(self, features: Tensor) -> Tensor:
        """Return class maps `[N, C, h, w]` of feature maps `[N, width, h, w]`."""
        return nn.functional.conv2d(features, self.linear.weight[:, :, None, None])


def _find_head(network: nn.Module, grey: Tensor) -> _Head | None:
    """Find the last feature maps, and make sure that the logits are linear in their means."""
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    seen: list[tuple[str, Tensor]] = []
    handles = [
        module.register_forward_hook(_noting(name, seen))
        for name, module in network.named_modules()
    ]
    with torch.inference_mode():
        logits = network(grey)
    for handle in handles:
        handle.remove()
    if not seen or not linears:
        return None
    (place, features), linear = seen[-1], linears[-1]
    if features.shape[1] != linear.in_features:
        return None
    with torch.inference_mode():
        expected = linear(features.mean(dim=(2, 3)))
    return _Head(place, linear) if torch.allclose(expected, logits, rtol=1e-3, atol=1e-3) else None


def _noting(name: str, seen: list[tuple[str, Tensor]]) -> Callable[[nn.Module, Any, Any], None]:
    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[-1] > 1:
            seen.append((name, output))

    return note


def _logits_and_maps(network: nn.Module, head: _Head, grey: Tensor) -> tuple[Tensor, Tensor]:
    with _kept_output(network, head.place) as kept:
        logits = network(grey)
    return logits, head(kept[-1])


@contextmanager
def _kept_output(network: nn.Module, place: str) -> Iterator[list[Tensor]]:
    """Keep what the module of that name returns each time while the network runs."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        kept.append(output)

    handle = network.get_submodule(place).register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


def _use_plain_swish(network: nn.Module) -> None:
    """Have MONAI's EfficientNet compute its activation by operators that can be exported."""
    for module in network.modules():
        set_swish = getattr(module, "set_swish", None)
        if set_swish is not None:
            set_swish(memory_efficient=False)
