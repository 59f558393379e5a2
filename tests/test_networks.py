"""The one test that every network passes, and what is promised of our own."""

import pytest
import torch
from torch import Tensor, nn

from tumorscope.errors import RecipeError
from tumorscope.training.architectures import build_network
from tumorscope.training.network import SIZES, Classifier, SliceNet
from tumorscope.training.recipe import NetworkRecipe

OWN = [NetworkRecipe(name="slicenet", size=size) for size in SIZES] + [NetworkRecipe(name="plain")]
OTHERS = [
    NetworkRecipe(name=f"monai:{name}") for name in ("densenet121", "resnet10", "efficientnet_b0")
]

TENSORRT_8 = (
    nn.Conv2d,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.Linear,
    nn.Dropout,
    nn.Identity,
    nn.Sequential,
)
"""Modules whose operators TensorRT 8.2 takes at opset 13."""


def named(recipe: NetworkRecipe) -> str:
    return f"{recipe.name}-{recipe.size}" if recipe.name == "slicenet" else recipe.name


def build(recipe: NetworkRecipe, classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return build_network(recipe, classes)


def grey(count: int, side: int) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(1)) * 255.0


@pytest.mark.parametrize("recipe", OWN + OTHERS, ids=named)
def test_every_network(recipe: NetworkRecipe) -> None:
    network = build(recipe, classes=3)
    # Every parameter learns.
    logits = network(grey(4, 32))
    assert logits.shape == (4, 3)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    idle = [name for name, value in network.named_parameters() if not reached(value)]
    assert idle == []
    # In evaluation an answer depends on its own picture only, and is the same each time.
    network.eval()
    with torch.inference_mode():
        pictures = grey(3, 64)
        together = network(pictures)
        assert together.shape == (3, 3)
        assert torch.equal(network(pictures), together)
        alone = torch.cat([network(picture[None]) for picture in pictures])
    torch.testing.assert_close(alone, together, atol=1e-3, rtol=1e-3)
    assert float((together[0] - together[1]).abs().max()) > 0


def reached(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)


@pytest.mark.parametrize("recipe", OWN, ids=named)
def test_our_networks_are_made_of_plain_modules(recipe: NetworkRecipe) -> None:
    network = build(recipe)
    leaves = [module for module in network.modules() if not list(module.children())]
    assert {type(leaf) for leaf in leaves} <= set(TENSORRT_8)
    first = next(leaf for leaf in leaves if isinstance(leaf, nn.Conv2d))
    assert first.in_channels == 1


@pytest.mark.parametrize("recipe", OWN, ids=named)
def test_the_mean_of_a_class_map_and_the_bias_are_the_logit(recipe: NetworkRecipe) -> None:
    network = build(recipe).eval()
    assert isinstance(network, Classifier)
    pictures = grey(2, 64)
    with torch.inference_mode():
        logits, maps = network.forward_with_maps(pictures)
        torch.testing.assert_close(logits, network(pictures))
    side = 4 if recipe.name == "plain" else 2
    assert maps.shape == (2, 4, side, side)
    again = maps.mean(dim=(2, 3)) + network.linear.bias
    torch.testing.assert_close(again, logits, atol=1e-4, rtol=1e-4)


def test_the_sizes_grow() -> None:
    counts = [
        sum(value.numel() for value in SliceNet(size).parameters())
        for size in ("nano", "small", "medium", "large")
    ]
    assert counts == sorted(counts)
    assert counts[0] < 400_000
    assert counts[-1] > 5_000_000


@pytest.mark.parametrize("name", ["slicenet", "plain", "monai:resnet10"])
def test_dropout_works_in_training_only(name: str) -> None:
    network = build(NetworkRecipe(name=name, size="nano", dropout=0.5))
    pictures = grey(2, 32)
    for module in network.modules():  # so that only dropout differs from run to run
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    with torch.inference_mode():
        assert not torch.allclose(network(pictures), network(pictures))
        network.eval()
        assert torch.equal(network(pictures), network(pictures))


def test_one_seed_gives_one_network() -> None:
    first, second = build(OWN[0]).state_dict(), build(OWN[0]).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_unknown_network_of_monai_says_which_there_are() -> None:
    with pytest.raises(RecipeError, match="no 'monai:resnet1000'; known are monai:densenet121"):
        build(NetworkRecipe(name="monai:resnet1000"))
