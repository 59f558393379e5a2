"""MONAI's classification networks behind our interface."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

from torch import Tensor, nn

from tumorscope.networks.layers import class_maps, scale
from tumorscope.networks.network import Network, Outputs


@dataclass(frozen=True, kw_only=True)
class _Architecture:
    """One of MONAI's two-dimensional networks.

    Attributes:
        build: MONAI's name of it.
        pooling: Its module that takes the means of the last feature maps.
        channels: What MONAI calls the number of input channels.
        classes: What MONAI calls the number of classes.
        arguments: Further arguments.
    """

    build: str
    pooling: str
    channels: str = "in_channels"
    classes: str = "num_classes"
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _densenet(layers: int) -> _Architecture:
    return _Architecture(
        build=f"DenseNet{layers}", pooling="class_layers.pool", classes="out_channels"
    )


def _resnet(layers: int) -> _Architecture:
    return _Architecture(build=f"resnet{layers}", pooling="avgpool", channels="n_input_channels")


def _efficientnet(name: str) -> _Architecture:
    return _Architecture(
        build="EfficientNetBN",
        pooling="_avg_pooling",
        arguments={"model_name": f"efficientnet-{name}", "pretrained": False},
    )


ARCHITECTURES: Final = {
    "densenet121": _densenet(121),
    "densenet169": _densenet(169),
    "densenet201": _densenet(201),
    "resnet10": _resnet(10),
    "resnet18": _resnet(18),
    "resnet34": _resnet(34),
    "resnet50": _resnet(50),
    "seresnet50": _Architecture(build="SEResNet50", pooling="adaptive_avg_pool"),
    "efficientnet_b0": _efficientnet("b0"),
    "efficientnet_b1": _efficientnet("b1"),
    "efficientnet_b2": _efficientnet("b2"),
}
"""MONAI's networks by our names."""


class MonaiNet(Network):
    """One of MONAI's networks, all of which end in a linear layer over mean feature maps.

    Args:
        name: One of `ARCHITECTURES`.
        classes: Number of classes.
        dropout: Share of the input of the last linear layer that is dropped in training.
    """

    def __init__(self, name: str, classes: int, dropout: float) -> None:
        super().__init__()
        architecture = ARCHITECTURES[name]
        self.network = _build(architecture, classes)
        self._pooling = architecture.pooling
        self._linear = _drop_before_last_linear(self.network, dropout)

    def outputs(self, grey: Tensor) -> Outputs:
        """Return logits and class maps."""
        with _inputs_of(self.network.get_submodule(self._pooling)) as features:
            logits = self.network(scale(grey))
        linear = cast(nn.Linear, self.network.get_submodule(self._linear))
        return Outputs(logits, class_maps(features[-1], linear))


def _build(architecture: _Architecture, classes: int) -> nn.Module:
    from monai.networks import nets  # noqa: PLC0415  (slow to import, and needed by few runs)

    build: Callable[..., nn.Module] = getattr(nets, architecture.build)
    shape = {"spatial_dims": 2, architecture.channels: 1, architecture.classes: classes}
    network = build(**shape, **architecture.arguments)
    for module in network.modules():
        # MONAI's EfficientNet: its memory-saving activation has no operators to be exported.
        set_swish = getattr(module, "set_swish", None)
        if set_swish is not None:
            set_swish(memory_efficient=False)
    return network


def _drop_before_last_linear(network: nn.Module, dropout: float) -> str:
    """Put dropout before the last linear layer, if there is to be any; return the layer's name."""
    layers = [item for item in network.named_modules() if isinstance(item[1], nn.Linear)]
    name: str = layers[-1][0]
    if not dropout:
        return name
    network.set_submodule(name, nn.Sequential(nn.Dropout(dropout), layers[-1][1]))
    return f"{name}.1"


@contextmanager
def _inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a module is called with: MONAI's networks do not return their feature maps."""
    inputs: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        yield inputs
    finally:
        handle.remove()
