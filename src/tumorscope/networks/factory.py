"""Builds the network that a recipe names."""

from collections.abc import Sequence

from tumorscope.networks.litenet import LiteNet
from tumorscope.networks.monai_networks import MonaiNet
from tumorscope.networks.network import Network
from tumorscope.networks.network_recipe import NetworkRecipe
from tumorscope.networks.plain import PlainNet
from tumorscope.networks.slicenet import SliceNet


def build_network(recipe: NetworkRecipe, classes: Sequence[str]) -> Network:
    """Build the network that a recipe names, with random weights.

    Args:
        recipe: Which network.
        classes: Names of the classes, in the order of the logits.
    """
    if recipe.name == "litenet":
        return LiteNet(classes, recipe.dropout, frozen=recipe.frozen, trunk=recipe.trunk)
    if recipe.name == "slicenet":
        return SliceNet(recipe.size, len(classes), recipe.dropout)
    if recipe.name == "plain":
        return PlainNet(len(classes), recipe.dropout)
    return MonaiNet(recipe.name.removeprefix("monai:"), len(classes), recipe.dropout)
