"""The tests that every network passes."""

from functools import cache
from typing import get_args

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from tumorscope.classes import CLASSES, TUMOUR_CLASSES
from tumorscope.errors import RecipeError
from tumorscope.export import unsupported_operators
from tumorscope.export.onnx_file import build_onnx
from tumorscope.networks.factory import build_network
from tumorscope.networks.layers import DepthwiseConvolution
from tumorscope.networks.litenet import TumourLogits
from tumorscope.networks.monai_networks import ARCHITECTURES
from tumorscope.networks.network import Network
from tumorscope.networks.network_recipe import NetworkName, NetworkRecipe
from tumorscope.networks.ood_score import OodScore
from tumorscope.networks.slicenet import SIZES
from tumorscope.training.trained_network import Description, TrainedNetwork

LITENET = NetworkRecipe(name="litenet")
LARGER_LITENET = NetworkRecipe(name="litenet", trunk="lite2")
OWN = [
    LITENET,
    LARGER_LITENET,
    NetworkRecipe(name="plain"),
    *(NetworkRecipe(name="slicenet", size=size) for size in SIZES),
]
MONAI = [
    NetworkRecipe(name=name, dropout=0.3)
    for name in ("monai:densenet121", "monai:resnet10", "monai:seresnet50", "monai:efficientnet_b0")
]
"""One of each of MONAI's families."""

POOLED = [recipe for recipe in OWN + MONAI if recipe.name != "litenet"]

TENSORRT_8 = (
    nn.Conv2d,
    DepthwiseConvolution,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.ReLU6,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.Linear,
    nn.Dropout,
    nn.Identity,
    nn.Sequential,
    OodScore,
    TumourLogits,
)
"""Modules whose operators TensorRT 8.2 takes at opset 13."""


def named(recipe: NetworkRecipe) -> str:
    variant = {"slicenet": recipe.size, "litenet": recipe.trunk}.get(recipe.name)
    return f"{recipe.name}-{variant}" if variant else recipe.name


every_network = pytest.mark.parametrize("recipe", OWN + MONAI, ids=named)
every_pooled_network = pytest.mark.parametrize("recipe", POOLED, ids=named)


def build(recipe: NetworkRecipe, classes: tuple[str, ...] = CLASSES) -> Network:
    torch.manual_seed(0)
    return build_network(recipe, classes)


@cache
def used(recipe: NetworkRecipe) -> Network:
    """A network in evaluation mode, with batch norms that are not the identity."""
    network = build(recipe).train()
    with torch.inference_mode():
        for seed in range(3):
            network(grey(4, 64, seed))
    network.fit_ood_score(*([grey(4, 64, 3 * kind + n) for n in range(3)] for kind in range(2)))
    return network.eval()


def grey(count: int, side: int, seed: int = 1) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed)) * 255.0


@every_network
def test_every_parameter_has_a_gradient(recipe: NetworkRecipe) -> None:
    network = build(recipe, TUMOUR_CLASSES)
    outputs = network.outputs(grey(4, 64))
    assert outputs.logits.shape == (4, 3)
    loss = nn.functional.cross_entropy(outputs.logits, torch.tensor([0, 1, 2, 0]))
    if outputs.outline is not None:
        loss = loss + outputs.outline.mean()
    loss.backward()
    idle = [name for name, value in network.named_parameters() if not has_gradient(value)]
    assert idle == []


def has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)


@every_network
@pytest.mark.parametrize("side", [32, 64, 160])
def test_outputs_have_their_shapes(recipe: NetworkRecipe, side: int) -> None:
    with torch.inference_mode():
        logits, class_maps, ood_score, outline = used(recipe).outputs(grey(2, side))
    assert logits.shape == (2, 4)
    assert class_maps is not None
    stride = {"litenet": 4, "plain": 16, "monai:resnet10": 16}.get(recipe.name, 32)
    assert class_maps.shape == (2, 4, side // stride, side // stride)
    if recipe.name == "litenet":
        assert ood_score is not None
        assert ood_score.shape == (2,)
        assert outline is not None
        assert outline.shape == (2, 1, side // 8, side // 8)
    else:
        assert ood_score is None
        assert outline is None


@every_network
def test_an_image_has_the_same_outputs_each_time_and_in_every_batch(recipe: NetworkRecipe) -> None:
    network, images = used(recipe), grey(3, 64)
    with torch.inference_mode():
        together = network.outputs(images)
        again = network.outputs(images)
        alone = [network.outputs(image[None]) for image in images]
        assert torch.equal(network(images), together.logits)
    for number, values in enumerate(together):
        if values is not None:
            assert torch.equal(values, again[number])
            singly = torch.cat([outputs[number] for outputs in alone])
            torch.testing.assert_close(singly, values, atol=1e-3, rtol=1e-3)
    assert (together.logits[0] - together.logits[1]).abs().max() > 0


@every_network
def test_outputs_have_the_type_of_the_input(recipe: NetworkRecipe) -> None:
    images = grey(2, 64)
    with torch.inference_mode():
        single = used(recipe).outputs(images)
        double = used(recipe).double().outputs(images.double())
        used(recipe).float()
    for exact, rounded in zip(double, single, strict=True):
        if exact is not None:
            assert exact.dtype == torch.float64
            assert rounded.dtype == torch.float32
            torch.testing.assert_close(exact.float(), rounded, atol=1e-3, rtol=1e-3)


@every_network
def test_the_exported_network_has_the_same_outputs(recipe: NetworkRecipe) -> None:
    network = used(recipe)
    description = Description(network=recipe.model_dump(), classes=CLASSES, input_size=64)
    model = build_onnx(TrainedNetwork(network, description))
    assert unsupported_operators(model) == []
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    images = grey(3, 64)
    with torch.inference_mode():
        outputs = network.outputs(images)
    expected = {
        "probabilities": outputs.logits.softmax(dim=1),
        "logits": outputs.logits,
        "heatmap": outputs.class_maps,
        "ood_score": outputs.ood_score,
    }
    values = {name: value for name, value in expected.items() if value is not None}
    assert [port.name for port in session.get_outputs()] == list(values)
    answers = session.run(None, {"grey": images.numpy()})
    for found, value in zip(answers, values.values(), strict=True):
        np.testing.assert_allclose(found, value, atol=1e-3, rtol=1e-3)


@every_pooled_network
def test_the_mean_of_a_class_map_and_the_bias_are_the_logit(recipe: NetworkRecipe) -> None:
    network = used(recipe)
    bias = [module for module in network.modules() if isinstance(module, nn.Linear)][-1].bias
    with torch.inference_mode():
        outputs = network.outputs(grey(2, 96))
        assert outputs.class_maps is not None
        again = outputs.class_maps.mean(dim=(2, 3)) + bias
    torch.testing.assert_close(again, outputs.logits, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("recipe", OWN, ids=named)
def test_our_networks_are_made_of_plain_modules(recipe: NetworkRecipe) -> None:
    leaves = [module for module in build(recipe).modules() if not list(module.children())]
    assert {type(leaf) for leaf in leaves} <= set(TENSORRT_8)
    first = next(leaf for leaf in leaves if isinstance(leaf, nn.Conv2d))
    assert first.in_channels == 1


@pytest.mark.parametrize("name", ["litenet", "slicenet", "plain", "monai:resnet10"])
def test_dropout_works_in_training_only(name: str) -> None:
    network = build(NetworkRecipe(name=name, size="nano", dropout=0.5))
    images = grey(2, 32)
    for module in network.modules():  # so that only dropout differs from run to run
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    with torch.inference_mode():
        assert not torch.equal(network(images), network(images))
        network.eval()
        assert torch.equal(network(images), network(images))


def test_one_seed_gives_one_network() -> None:
    first, second = build(OWN[0]).state_dict(), build(OWN[0]).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("recipe", POOLED[:2] + MONAI[1:2], ids=named)
def test_only_litenet_has_imagenet_weights(recipe: NetworkRecipe) -> None:
    with pytest.raises(RecipeError, match="no ImageNet weights for a"):
        build(recipe).load_imagenet()


def test_a_recipe_knows_the_networks_of_monai_that_can_be_built() -> None:
    known = {name for name in get_args(NetworkName) if name.startswith("monai:")}
    assert known == {f"monai:{name}" for name in ARCHITECTURES}


def test_the_sizes_grow() -> None:
    counts = [
        sum(
            value.numel() for value in build(NetworkRecipe(name="slicenet", size=size)).parameters()
        )
        for size in ("nano", "small", "medium", "large")
    ]
    assert counts == sorted(counts)
    assert counts[0] < 400_000
    assert counts[-1] > 5_000_000
