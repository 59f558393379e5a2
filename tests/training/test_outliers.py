"""Tests of the made-up outliers."""

import numpy as np
import pytest

from tumorscope.images import prepare
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.training.outliers import draw_outliers


@pytest.fixture(scope="module")
def slices() -> np.ndarray:
    """A few drawn slices, prepared."""
    return np.stack(
        [
            prepare(draw_phantom("glioma", plane="axial", patient_seed=n, slice_number=2).image, 64)
            for n in range(4)
        ]
    )


def test_they_are_inputs_of_every_kind_and_unlike_the_slices(slices: np.ndarray) -> None:
    found = draw_outliers(slices, 200)
    assert found.shape == (200, 64, 64)
    assert found.dtype == np.uint8
    assert len({picture.tobytes() for picture in found[:11]}) == 11  # one of each kind
    flat = [picture.astype(float).flatten() for picture in found]
    for picture in slices:
        nearest = max(np.corrcoef(picture.flatten(), each)[0, 1] for each in flat)
        assert nearest < 0.95


def test_the_same_seed_makes_the_same(slices: np.ndarray) -> None:
    first, again, other = (draw_outliers(slices, 8, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("side", [32, 160])
def test_any_side_will_do(side: int) -> None:
    plain = np.zeros((1, side, side), dtype=np.uint8)
    assert draw_outliers(plain, 16).shape == (16, side, side)
