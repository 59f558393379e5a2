"""A network recipe comes in, a network that takes grey values 0 to 255 goes out."""

from collections.abc import Callable
from typing import Any, Final

from torch import Tensor, nn

from tumorscope.networks.litenet import LiteNet
from tumorscope.networks.network_recipe import NetworkRecipe
from tumorscope.networks.plain import PlainNet
from tumorscope.networks.slicenet import SliceNet

_MONAI: Final = {
    "densenet121": ("DenseNet121", {}),
    "densenet169": ("DenseNet169", {}),
    "densenet201": ("DenseNet201", {}),
    "resnet10": ("resnet10", {}),
    "resnet18": ("resnet18", {}),
    "resnet34": ("resnet34", {}),
    "resnet50": ("resnet50", {}),
    "seresnet50": ("SEResNet50", {}),
    "efficientnet_b0": ("EfficientNetBN", {"model_name": "efficientnet-b0", "pretrained": False}),
    "efficientnet_b1": ("EfficientNetBN", {"model_name": "efficientnet-b1", "pretrained": False}),
    "efficientnet_b2": ("EfficientNetBN", {"model_name": "efficientnet-b2", "pretrained": False}),
}
"""MONAI's two-dimensional classification networks: our name, MONAI's, its further arguments."""


class MonaiNet(nn.Module):
    """One of MONAI's networks behind our input scaling.

    Args:
        name: A name in MONAI's list above.
        classes: Number of classes.
        dropout: Share of the input of MONAI's last linear layer that is dropped.
    """

    def __init__(self, name: str, classes: int, dropout: float) -> None:
        super().__init__()
        self.network = _monai(name, classes)
        if dropout:
            _drop_before_last_linear(self.network, dropout)

    def forward(self, grey: Tensor) -> Tensor:
        """Return logits `[N, classes]` of grey values `[N, 1, S, S]`, 0 to 255."""
        logits: Tensor = self.network(grey * (1.0 / 64.0) - 1.0)
        return logits


def build_network(recipe: NetworkRecipe, classes: int) -> nn.Module:
    """Build the network that a recipe names, with fresh weights.

    Args:
        recipe: Which network.
        classes: Number of classes.

    Returns:
        A module from `[N, 1, S, S]` grey values to `[N, classes]` logits.
    """
    if recipe.name == "slicenet":
        return SliceNet(recipe.size, classes, recipe.dropout)
    if recipe.name == "litenet":
        return LiteNet(classes, recipe.dropout, frozen=recipe.frozen)
    if recipe.name == "plain":
        return PlainNet(classes, recipe.dropout)
    return MonaiNet(recipe.name.removeprefix("monai:"), classes, recipe.dropout)


def _monai(name: str, classes: int) -> nn.Module:
    from monai.networks import nets  # noqa: PLC0415  (slow to import, and needed by few runs)

    attribute, arguments = _MONAI[name]
    build: Callable[..., nn.Module] = getattr(nets, attribute)
    shape: dict[str, Any] = {"spatial_dims": 2, "num_classes": classes}
    if attribute.startswith("resnet"):
        shape["n_input_channels"] = 1
    else:
        shape["in_channels"] = 1
    if attribute.startswith("DenseNet"):
        shape["out_channels"] = shape.pop("num_classes")
    return build(**shape, **arguments)


def _drop_before_last_linear(network: nn.Module, dropout: float) -> None:
    name, linear = [item for item in network.named_modules() if isinstance(item[1], nn.Linear)][-1]
    parent, _, attribute = name.rpartition(".")
    replacement = nn.Sequential(nn.Dropout(dropout), linear)
    setattr(network.get_submodule(parent), attribute, replacement)
