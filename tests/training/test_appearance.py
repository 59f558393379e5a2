"""Each change of how a slice looks keeps what a reader needs, and no more."""

import pytest
import torch
from torch import Tensor

from tumorscope.training.appearance import (
    bend_intensities,
    lower_resolution,
    remove_skull,
)
from tumorscope.training.augmentation import Augmentation


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def heads(count: int = 8, side: int = 64) -> Tensor:
    """Discs, brighter to the right, on a black background."""
    axis = torch.linspace(-1, 1, side)
    inside = axis[:, None] ** 2 + axis[None, :] ** 2 < 0.8
    return (inside * (140.0 + 100.0 * axis)).expand(count, 1, -1, -1).clone()


def test_a_bent_curve_keeps_the_order_or_turns_it_round_and_the_background_dark() -> None:
    grey = heads()
    falling = torch.arange(len(grey)) % 2 == 1
    changed = bend_intensities(grey, falling=falling)
    row = changed[:, 0, 32, 12:52]
    steps = row.diff(dim=1)
    assert torch.all(steps[falling] <= 0)
    assert torch.all(steps[~falling] >= 0)
    assert steps.abs().sum(dim=1).min() > 10
    assert not changed[:, :, :4, :4].any()
    assert changed.max() <= 255
    assert not torch.allclose(row[0], row[1], atol=2.0)


def test_a_lower_resolution_takes_fine_detail_and_keeps_the_mean() -> None:
    grey = torch.rand(6, 1, 48, 48) * 255
    coarse = lower_resolution(grey)
    assert coarse.shape == grey.shape
    assert coarse.var() < 0.4 * grey.var()
    assert coarse.mean() == pytest.approx(float(grey.mean()), abs=1)


def test_without_its_skull_a_head_ends_inside_and_keeps_its_middle() -> None:
    grey = torch.full((20, 1, 64, 64), 100.0)
    stripped = remove_skull(grey, torch.zeros_like(grey))
    assert not stripped[:, :, 0].any()
    assert not stripped[..., -1].any()
    assert torch.all(stripped[:, :, 20:44, 20:44] == 100)


def test_the_skull_stays_where_the_tumour_would_go_with_it() -> None:
    grey = torch.full((2, 1, 64, 64), 100.0)
    outlines = torch.zeros_like(grey)
    outlines[0, :, :6, 28:36] = 255
    outlines[1, :, 28:36, 28:36] = 255
    stripped = remove_skull(grey, outlines)
    assert torch.equal(stripped[0], grey[0])
    assert not stripped[1, :, 0].any()


def test_only_what_is_outlined_loses_its_skull() -> None:
    grey = torch.full((4, 1, 64, 64), 100.0)
    pictures = torch.cat([grey, torch.zeros_like(grey)], dim=1)
    known = torch.tensor([True, False, True, False])
    changed = Augmentation(strip=1.0)(pictures, outlined=known)
    assert not changed[known, 0, 0].any()
    assert torch.equal(changed[~known], pictures[~known])
    assert torch.equal(Augmentation(strip=1.0)(grey), grey)


@pytest.mark.parametrize("change", ["curve", "coarse"])
def test_a_change_comes_as_often_as_asked_and_keeps_the_range(change: str) -> None:
    grey = heads(300, 24) + torch.rand(300, 1, 24, 24) * 10
    changed = Augmentation(**{change: 0.4})(grey)
    touched = (changed - grey).abs().amax(dim=(1, 2, 3)) > 1
    assert 80 < int(touched.sum()) < 160
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 255
