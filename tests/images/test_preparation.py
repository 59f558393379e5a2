"""A slice and its copies (squashed, padded, enlarged, as JPEG) give nearly the same input."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image

from tumorscope.classes import CLASSES
from tumorscope.images import find_head, prepare, read_slice
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.phantoms.outlines import PLANES

Grey = NDArray[np.uint8]

PHANTOMS = [
    draw_phantom(label, plane=plane, patient_seed=seed, slice_number=2).image
    for seed, (label, plane) in enumerate(
        zip(CLASSES * 2, (PLANES * 3)[: 2 * len(CLASSES)], strict=True)
    )
]
BLACK, DARK, MIDDLE, WHITE = 0, 40, 128, 255


def _difference(grey: Grey, copy: Grey, size: int = 128) -> float:
    """Mean absolute difference of the two inputs, in grey values."""
    return float(np.abs(prepare(grey, size).astype(int) - prepare(copy, size)).mean())


def _resized(grey: Grey, width: float, height: float) -> Grey:
    new = (round(grey.shape[1] * width), round(grey.shape[0] * height))
    return np.asarray(Image.fromarray(grey).resize(new, Image.Resampling.LANCZOS))


def _as_jpeg(grey: Grey, quality: int) -> Grey:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _padded(grey: Grey, colour: int) -> Grey:
    height, width = grey.shape
    widths = ((height // 3, height // 20), (width // 9, width))
    return np.pad(grey, widths, constant_values=colour)


def _in_contrast(grey: Grey, factor: float, offset: float) -> Grey:
    changed: Grey = np.clip(np.rint(grey * factor + offset), 0, 255).astype(np.uint8)
    return changed


COPIES: dict[str, tuple[Callable[[Grey], Grey], float, float]] = {
    "narrowed to 0.6": (lambda grey: _resized(grey, 0.6, 1), 6, 9),
    "widened to 1.6": (lambda grey: _resized(grey, 1.6, 1), 4, 10),
    "enlarged 2 times": (lambda grey: _resized(grey, 2, 2), 4, 7),
    "padded black": (lambda grey: _padded(grey, BLACK), 0.5, 1),
    "padded dark": (lambda grey: _padded(grey, DARK), 0.5, 1),
    "padded grey": (lambda grey: _padded(grey, MIDDLE), 0.5, 1),
    "padded white": (lambda grey: _padded(grey, WHITE), 0.5, 1),
    "black in white": (lambda grey: _padded(_padded(grey, BLACK), WHITE), 0.5, 1),
    "JPEG": (lambda grey: _as_jpeg(grey, 75), 5, 7),
    "JPEG in white": (lambda grey: _as_jpeg(_padded(grey, WHITE), 85), 6, 7),
    "widened in grey, JPEG": (
        lambda grey: _as_jpeg(_resized(_padded(grey, MIDDLE), 1.3, 1), 85), 6, 8),
    "less contrast": (lambda grey: _in_contrast(grey, 0.6, 40), 4, 7),
    "darker": (lambda grey: _in_contrast(grey, 0.7, 0), 3, 6),
}  # fmt: skip
"""Copies, the mean and the largest difference allowed on phantoms, in grey values of 255."""


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_phantoms_give_nearly_the_same_input(name: str) -> None:
    copy, mean, largest = COPIES[name]
    differences = [_difference(grey, copy(grey)) for grey in PHANTOMS]
    assert np.mean(differences) < mean
    assert max(differences) < largest


def test_different_phantoms_differ_far_more_than_copies() -> None:
    pairs = zip(PHANTOMS[:-3], PHANTOMS[3:], strict=True)  # the same plane, another patient
    assert min(_difference(first, second) for first, second in pairs) > 15


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_real_slices_give_nearly_the_same_input(name: str, real_data: Path) -> None:
    """Real slices have heads cut off at the rim, letters and noise: the odd one comes out worse."""
    copy, mean, _ = COPIES[name]
    files = sorted((real_data / "figshare" / "images").glob("*.jpg"))[::211]
    files += sorted((real_data / "kaggle").glob("Testing/*/*.jpg"))[::89]
    differences = [_difference(grey, copy(grey)) for grey in map(read_slice, files)]
    assert len(differences) > 20
    assert np.mean(differences) < mean + 1
    assert np.median(differences) < mean


@settings(max_examples=40, deadline=None)
@given(
    widths=st.tuples(*[st.integers(0, 300)] * 4),
    colour=st.sampled_from([BLACK, DARK, MIDDLE, 200, WHITE]),
)
def test_a_frame_of_any_width_changes_nothing(
    widths: tuple[int, int, int, int], colour: int
) -> None:
    top, bottom, left, right = widths
    framed = np.pad(PHANTOMS[0], ((top, bottom), (left, right)), constant_values=colour)
    assert _difference(PHANTOMS[0], framed) < 1


@pytest.mark.parametrize("grey", PHANTOMS)
def test_the_mirrored_slice_gives_the_mirrored_input(grey: Grey) -> None:
    mirrored = prepare(np.ascontiguousarray(grey[:, ::-1]), 128)[:, ::-1]
    assert np.abs(prepare(grey, 128).astype(int) - mirrored).mean() < 3


def _disc(height: int, width: int, box: tuple[int, int, int, int]) -> Grey:
    """An uneven ellipse of about grey 150 that fills a box (top, bottom, left, right), on 5."""
    top, bottom, left, right = box
    y, x = np.mgrid[:height, :width] + 0.5
    inside = ((y - (top + bottom) / 2) / (bottom - top) * 2) ** 2
    inside = inside + ((x - (left + right) / 2) / (right - left) * 2) ** 2 < 1
    uneven = np.random.default_rng(0).integers(120, 180, inside.shape)
    disc: Grey = np.where(inside, uneven, 5).astype(np.uint8)
    return disc


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((200, 200), (20, 180, 40, 160)),
        ((120, 300), (10, 100, 150, 290)),
        ((400, 200), (200, 390, 5, 195)),
        ((600, 600), (300, 420, 60, 160)),
        ((100, 100), (-30, 70, 20, 80)),
    ],
)
def test_the_box_lies_round_the_head(
    shape: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    top, bottom, left, right = find_head(_disc(*shape, box))
    tolerance = 0.02 * max(box[1] - box[0], box[3] - box[2])
    assert top == pytest.approx(max(0, box[0]), abs=tolerance)
    assert bottom == pytest.approx(box[1], abs=tolerance)
    assert left == pytest.approx(box[2], abs=tolerance)
    assert right == pytest.approx(box[3], abs=tolerance)


def test_letters_and_lines_beside_the_head_do_not_widen_the_box() -> None:
    plain = _disc(300, 300, (60, 240, 60, 240))
    marked = plain.copy()
    marked[10:22, 10:20] = 255  # a letter
    marked[:, 295:297] = 200  # a line down the side
    np.testing.assert_allclose(find_head(marked), find_head(plain), atol=2)


# fmt: off
GOLDEN = {
    "axial": [
        61.6, 100.3, 99.6, 37.7,
        122.0, 152.7, 141.4, 90.0,
        117.1, 143.4, 157.1, 108.0,
        45.9, 99.4, 106.8, 61.4,
    ],
    "coronal": [
        64.5, 104.5, 105.0, 45.2,
        125.4, 152.9, 131.6, 102.8,
        92.7, 92.3, 90.7, 94.2,
        43.6, 90.5, 85.7, 80.2,
    ],
    "sagittal": [
        62.2, 108.9, 100.3, 45.9,
        104.0, 144.3, 128.2, 97.8,
        95.9, 64.6, 117.4, 75.5,
        56.2, 81.3, 79.4, 51.9,
    ],
}
# fmt: on
"""Means of 4 x 4 blocks of the prepared phantom of patient 7, row by row."""


@pytest.mark.parametrize("plane", PLANES)
def test_the_input_is_what_it_was(plane: str) -> None:
    """A change here makes every model trained before wrong: raise `PREPARATION_VERSION`."""
    grey = draw_phantom("glioma", plane=plane, patient_seed=7, slice_number=2).image
    blocks = prepare(grey, 64).reshape(4, 16, 4, 16).mean(axis=(1, 3))
    np.testing.assert_allclose(blocks.ravel(), GOLDEN[plane], atol=2)


def test_the_contrast_is_stretched_and_hardly_anything_is_clipped() -> None:
    for grey in PHANTOMS:
        result = prepare(grey, 96)
        assert np.percentile(result, 99.9) > 235
        assert np.percentile(result, 0.1) < 12
        assert (result == 255).mean() < 0.02


@settings(max_examples=150, deadline=None)
@given(
    grey=arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=60)),
    size=st.integers(1, 70),
)
def test_whatever_comes_in_a_square_of_bytes_goes_out(grey: Grey, size: int) -> None:
    before = grey.copy()
    result = prepare(grey, size)
    assert result.shape == (size, size)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(grey, before)


@pytest.mark.parametrize(
    "grey",
    [
        np.zeros((100, 80), np.uint8),
        np.full((100, 80), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (100, 80), np.uint8),
        np.random.default_rng(0).integers(0, 256, (2, 3000), np.uint8),
        np.random.default_rng(0).integers(0, 256, (3000, 1), np.uint8),
        np.eye(200, dtype=np.uint8) * 255,
        np.pad(np.full((1, 1), 255, np.uint8), 99),
    ],
    ids=["black", "white", "noise", "wide", "tall", "diagonal", "point"],
)
def test_odd_pictures_pass(grey: Grey) -> None:
    top, bottom, left, right = find_head(grey)
    assert 0 <= top < bottom <= grey.shape[0]
    assert 0 <= left < right <= grey.shape[1]
    assert prepare(grey, 64).shape == (64, 64)


@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_flat_picture_stays_flat(value: int) -> None:
    assert (prepare(np.full((50, 70), value, np.uint8), 32) == value).all()


@pytest.mark.parametrize(
    ("grey", "said"),
    [
        (np.zeros((50, 50, 3), np.uint8), r"\(50, 50, 3\) of uint8"),
        (np.zeros((50, 50), np.float32), r"\(50, 50\) of float32"),
        (np.zeros(50, np.uint8), r"\(50,\) of uint8"),
    ],
)
def test_what_is_no_grey_slice_is_refused(grey: NDArray[np.generic], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        prepare(grey, 64)  # type: ignore[arg-type]


def test_a_size_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 pixel, not 0"):
        prepare(PHANTOMS[0], 0)


@pytest.mark.parametrize("shape", [(0, 0), (0, 40), (40, 0)])
def test_a_slice_without_pixels_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="has no pixels"):
        prepare(np.zeros(shape, np.uint8), 64)
