"""Zooms keep the middle of a picture where it is, and the rest at its distance times the zoom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorscope.images.zooms import ZOOMS, zoomed

SIDE = 160


@given(row=st.integers(30, 129), column=st.integers(30, 129), size=st.integers(8, 20))
def test_what_stands_somewhere_moves_away_from_the_middle(row: int, column: int, size: int) -> None:
    grey = np.zeros((1, SIDE, SIDE), np.uint8)
    grey[0, row - size // 2 :, column - size // 2 :][: size // 2 * 2, : size // 2 * 2] = 200
    for zoom, views in zip(ZOOMS, zoomed(grey), strict=True):
        (view,) = views
        assert view.dtype == np.uint8
        assert view.shape == (SIDE, SIDE)
        share = view / view.sum()
        rows, columns = np.indices(view.shape) + 0.5
        middle = SIDE / 2
        assert (share * rows).sum() - middle == pytest.approx(zoom * (row - middle), abs=0.3)
        assert (share * columns).sum() - middle == pytest.approx(zoom * (column - middle), abs=0.3)
        assert view.sum() == pytest.approx(zoom**2 * grey.sum(), rel=0.05)


def test_what_is_outside_is_black_and_each_picture_stays_its_own() -> None:
    grey = np.stack([np.full((SIDE, SIDE), value, np.uint8) for value in (40, 250)])
    smaller, larger = zoomed(grey)
    assert smaller[:, 0].max() == smaller[:, :, -1].max() == 0
    assert smaller[:, SIDE // 2, SIDE // 2].tolist() == [40, 250]
    assert np.array_equal(larger, grey)
