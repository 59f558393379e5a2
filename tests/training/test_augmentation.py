"""Each change of a batch does what its name says, and no more."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tumorscope.training.augmentation import Augmentation, _grid


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def noise_pictures(count: int = 6, side: int = 24) -> Tensor:
    return torch.rand(count, 1, side, side) * 255.0


def disc(side: int = 65, radius: float = 0.5) -> Tensor:
    """A bright disc in the middle, smooth at the edge."""
    axis = torch.linspace(-1, 1, side)
    distance = torch.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)
    return (torch.sigmoid((radius - distance) * 40) * 200.0)[None, None]


def centre(picture: Tensor) -> tuple[float, float]:
    """Row and column of the centre of brightness."""
    axis = torch.arange(picture.shape[-1], dtype=torch.float32)
    weight = picture.sum()
    return float((picture.sum(-1) * axis).sum() / weight), float(
        (picture.sum(-2) * axis).sum() / weight
    )


def test_no_strength_is_no_change() -> None:
    grey = noise_pictures()
    assert torch.equal(Augmentation()(grey.clone()), grey)


@pytest.mark.parametrize("rotation", [0.0, 5.0])
def test_the_pictures_may_come_out_smaller(rotation: float) -> None:
    small = Augmentation(rotation=rotation)(disc(64).repeat(3, 2, 1, 1), 32)
    assert small.shape == (3, 2, 32, 32)
    torch.testing.assert_close(small[:1, :1], disc(32), atol=20.0, rtol=0)


def test_smaller_pictures_are_as_sharp_as_resized_ones() -> None:
    """What is moved at its own size loses its finest detail; what is made smaller then does not."""
    large = noise_pictures(8, 64)
    resized = nn.functional.interpolate(large, (32, 32), mode="bilinear", antialias=True)
    own, finer = (
        Augmentation(shift=0.2)(pictures, 32)[..., 8:24, 8:24] for pictures in (resized, large)
    )
    assert own.var() < 0.7 * resized[..., 8:24, 8:24].var()
    assert finer.var() > resized[..., 8:24, 8:24].var()


def test_a_flip_of_probability_one_mirrors_left_to_right() -> None:
    grey = noise_pictures()
    torch.testing.assert_close(Augmentation(flip=1.0)(grey), grey.flip(-1), atol=0.01, rtol=0)


def test_a_flip_of_one_half_mirrors_about_half_and_leaves_the_others() -> None:
    grey = noise_pictures(400, 8)
    changed = Augmentation(flip=0.5)(grey)
    mirrored = (changed - grey.flip(-1)).abs().amax((1, 2, 3)) < 0.01
    same = (changed - grey).abs().amax((1, 2, 3)) < 0.01
    assert torch.all(mirrored ^ same)
    assert 150 < int(mirrored.sum()) < 250


def test_a_shift_moves_a_dot_by_at_most_its_share_to_all_sides() -> None:
    side, share = 64, 0.125
    grey = torch.zeros(300, 1, side, side)
    grey[:, :, 31:33, 31:33] = 255.0
    places = torch.tensor([centre(picture[0]) for picture in Augmentation(shift=share)(grey)])
    moved = places - 31.5
    largest = side * share
    assert float(moved.abs().max()) <= largest + 0.01
    for extreme in (moved.amin(0), moved.amax(0)):
        assert torch.all(extreme.abs() > 0.9 * largest)


@pytest.mark.parametrize(
    "change", [Augmentation(zoom=0.5), Augmentation(rotation=90.0), Augmentation(stretch=0.5)]
)
def test_zoom_rotation_and_stretch_keep_the_middle_where_it_is(change: Augmentation) -> None:
    for picture in change(disc(radius=0.4).repeat(20, 1, 1, 1)):
        assert centre(picture[0]) == pytest.approx((32, 32), abs=0.1)


def test_a_zoom_draws_factors_to_both_sides_up_to_its_strength() -> None:
    grey = disc().repeat(300, 1, 1, 1)
    areas = Augmentation(zoom=0.3)(grey).sum((1, 2, 3)) / grey[0].sum()
    factors = areas.sqrt()
    assert float(factors.max()) == pytest.approx(1.3, abs=0.02)
    assert float(factors.min()) == pytest.approx(1 / 1.3, abs=0.02)


def test_a_stretch_keeps_the_area_and_changes_the_aspect_ratio() -> None:
    grey = disc(radius=0.4).repeat(200, 1, 1, 1)
    changed = Augmentation(stretch=0.5)(grey)
    area = changed.sum((1, 2, 3)) / grey[0].sum()
    torch.testing.assert_close(area, torch.ones(200), atol=0.02, rtol=0)
    middle = changed[:, 0, 32, :].sum(1) / changed[:, 0, :, 32].sum(1)
    assert float(middle.max()) == pytest.approx(1.5, abs=0.05)
    assert float(middle.min()) == pytest.approx(1 / 1.5, abs=0.05)


def test_a_rotation_turns_by_at_most_its_angle_to_both_sides() -> None:
    side = 65
    grey = torch.zeros(300, 1, side, side)
    grey[:, :, 32, 52] = 255.0  # east of the middle
    places = [centre(picture[0]) for picture in Augmentation(rotation=30.0)(grey)]
    angles = torch.tensor([math.degrees(math.atan2(row - 32, col - 32)) for row, col in places])
    assert float(angles.abs().max()) <= 31.5
    assert float(angles.max()) > 27
    assert float(angles.min()) < -27


def test_contrast_keeps_black_and_the_order_of_grey_values() -> None:
    ramp = torch.linspace(0, 255, 256).view(1, 1, 16, 16).repeat(100, 1, 1, 1)
    changed = Augmentation(contrast=0.5)(ramp).flatten(1)
    assert torch.all(changed[:, 0] == 0)
    assert torch.all(changed.diff(dim=1) >= 0)
    assert float(changed[:, 128].max()) > 160
    assert float(changed[:, 128].min()) < 100


def test_contrast_of_the_greatest_strength_still_keeps_black() -> None:
    assert not Augmentation(contrast=2.0)(torch.zeros(50, 1, 8, 8)).any()


def test_noise_has_a_spread_up_to_the_stated_one_and_no_bias() -> None:
    grey = torch.full((400, 1, 32, 32), 128.0)
    changed = Augmentation(noise=0.1)(grey) - 128.0
    spreads = changed.flatten(1).std(dim=1)
    assert float(spreads.max()) == pytest.approx(25.5, rel=0.1)
    assert float(spreads.mean()) == pytest.approx(12.75, rel=0.1)
    assert float(changed.mean()) == pytest.approx(0.0, abs=0.3)


def test_each_picture_draws_its_own_values() -> None:
    same = noise_pictures(1).repeat(5, 1, 1, 1)
    changed = Augmentation(rotation=10, shift=0.1, zoom=0.1, contrast=0.2, noise=0.02)(same)
    for first in range(5):
        for second in range(first):
            assert not torch.allclose(changed[first], changed[second], atol=1.0)


strengths = st.fixed_dictionaries(
    {
        "rotation": st.floats(0, 180),
        "flip": st.floats(0, 1),
        "shift": st.floats(0, 1),
        "zoom": st.floats(0, 2),
        "stretch": st.floats(0, 2),
        "contrast": st.floats(0, 2),
        "noise": st.floats(0, 1),
    }
)


@settings(max_examples=20, deadline=None)
@given(
    strengths=strengths,
    count=st.integers(1, 4),
    side=st.integers(4, 40),
    seed=st.integers(0, 2**31),
)
def test_range_shape_and_repeatability_hold_at_every_strength(
    strengths: dict[str, float], count: int, side: int, seed: int
) -> None:
    grey = noise_pictures(count, side)
    change = Augmentation(**strengths)
    torch.manual_seed(seed)
    first = change(grey.clone())
    torch.manual_seed(seed)
    second = change(grey.clone())
    assert torch.equal(first, second)
    assert first.shape == grey.shape
    assert torch.isfinite(first).all()
    assert float(first.min()) >= 0.0
    assert float(first.max()) <= 255.0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), side=st.integers(1, 50))
def test_the_grid_is_torchs_affine_grid(seed: int, side: int) -> None:
    matrices = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(seed))
    rows = [tuple(matrices[:, row].T) for row in (0, 1)]
    expected = torch.nn.functional.affine_grid(matrices, [5, 1, side, side], align_corners=False)
    torch.testing.assert_close(_grid(rows[0], rows[1], side), expected, atol=1e-5, rtol=1e-5)


def test_an_outline_moves_with_its_picture_and_keeps_its_values() -> None:
    pictures = disc(radius=0.3).expand(8, 1, -1, -1)
    both = torch.cat([pictures, (pictures > 100) * 255.0], dim=1)
    changed = Augmentation(rotation=30, shift=0.2, zoom=0.3, contrast=0.5, noise=0.1)(both)
    for grey, outline in zip(changed[:, :1], changed[:, 1:], strict=True):
        row, column = centre(outline[0])
        found = centre((grey[0] > 0.5 * grey.max()).float())
        assert found == pytest.approx((row, column), abs=1.5)
        assert outline.max() > 254


def test_a_turn_is_by_quarters_and_as_often_as_asked() -> None:
    grey = noise_pictures(400, 8)
    changed = Augmentation(rot90=0.5)(grey)
    turns = [torch.rot90(grey, number, (-2, -1)) for number in range(4)]
    is_turned = torch.stack([(changed - each).abs().amax((1, 2, 3)) < 0.05 for each in turns])
    assert torch.all(is_turned.sum(dim=0) == 1)
    counts = is_turned.sum(dim=1).tolist()
    assert 150 < counts[0] < 250
    assert min(counts[1:]) > 30


def test_a_field_changes_brightness_smoothly_and_at_most_so_much() -> None:
    grey = torch.full((20, 1, 64, 64), 100.0)
    changed = Augmentation(bias_field=0.5)(grey)
    assert changed.min() >= 100 / 1.5 - 0.01
    assert changed.max() <= 150.01
    assert changed.std(dim=(1, 2, 3)).min() > 1
    assert (changed[..., 1:] - changed[..., :-1]).abs().max() < 8


def test_blur_takes_away_fine_detail_and_keeps_the_mean() -> None:
    grey = noise_pictures(40, 160)
    changed = Augmentation(blur=1.0)(grey)
    assert changed.mean() == pytest.approx(float(grey.mean()), abs=1)
    roughness = [
        (each[..., 1:] - each[..., :-1]).abs().mean(dim=(1, 2, 3)) for each in (changed, grey)
    ]
    assert torch.all(roughness[0] < roughness[1])
    assert roughness[0].min() < 0.2 * roughness[1].mean()
