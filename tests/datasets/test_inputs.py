"""Slices become the model's inputs; what cannot be read is listed."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from PIL import Image

from tumorscope.datasets.catalogue import Slice
from tumorscope.datasets.inputs import read_inputs
from tumorscope.errors import DataError
from tumorscope.images import find_head, prepare, read_slice
from tumorscope.phantoms.drawing import draw_phantom

Draw = Callable[..., Path]
T = TypeVar("T")


def slices_of(*paths: Path) -> list[Slice]:
    return [Slice(path=path, name=path.name, label="no", source="set") for path in paths]


def test_inputs_are_the_one_preparation_in_order(tmp_path: Path, draw: Draw) -> None:
    paths = [draw(tmp_path / f"{number}.png", number) for number in range(5)]
    seen: list[tuple[str, int]] = []

    def watch(items: Iterable[T], *, total: int, label: str) -> Iterable[T]:
        seen.append((label, total))
        return items

    inputs = read_inputs(slices_of(*paths), size=48, progress=watch, label="reading test")
    assert seen == [("reading test", 5)]
    assert inputs.grey.shape == (5, 48, 48)
    assert inputs.grey.dtype == np.uint8
    assert [item.path for item in inputs.slices] == paths
    assert inputs.skipped == ()
    for path, grey in zip(paths, inputs.grey, strict=True):
        np.testing.assert_array_equal(grey, prepare(read_slice(path), 48))


def test_damaged_files_among_good_ones_are_skipped_and_listed(tmp_path: Path, draw: Draw) -> None:
    good = [draw(tmp_path / f"{number}.png", number) for number in range(2)]
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    inputs = read_inputs(slices_of(good[0], text, tmp_path / "gone.png", good[1]), size=32)
    assert len(inputs) == len(inputs.grey) == 2
    assert [item.path for item in inputs.slices] == good
    np.testing.assert_array_equal(inputs.grey[1], prepare(read_slice(good[1]), 32))
    assert [item.name for item in inputs.skipped] == ["text.jpg", "gone.png"]
    assert "not a JPEG, PNG, TIFF, BMP, GIF or WebP picture" in inputs.skipped[0].reason
    assert "no such file" in inputs.skipped[1].reason


def test_nothing_readable_is_an_error_and_nothing_at_all_is_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of the 1 pictures can be read; .*no such file"):
        read_inputs(slices_of(tmp_path / "gone.png"), size=32)
    assert read_inputs([], size=32).grey.shape == (0, 32, 32)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_an_outline_is_cut_out_as_its_picture(
    tmp_path: Path, *, mirrored: bool, scale: float
) -> None:
    """Also where the picture is a smaller, mirrored copy of the one that was outlined."""
    phantom = draw_phantom("glioma", plane="axial", patient_seed=3, slice_number=2, size=200)
    shown = np.fliplr(phantom.image) if mirrored else phantom.image
    side = round(200 * scale)
    Image.fromarray(shown).resize((side, side)).save(tmp_path / "a.png")
    Image.fromarray(phantom.mask).save(tmp_path / "mask.png")
    # What it should look like: the outline drawn as a picture and prepared with the same box.
    item = Slice(
        path=tmp_path / "a.png",
        name="a",
        label="glioma",
        source="set",
        mask=tmp_path / "mask.png",
        mirrored=mirrored,
    )
    healthy = Slice(path=tmp_path / "a.png", name="b", label="notumor", source="set")
    unknown = Slice(path=tmp_path / "a.png", name="c", label="glioma", source="set")
    found = read_inputs([item, healthy, unknown], size=96, outlines=True)
    assert found.outlines is not None
    assert found.outlined is not None
    assert found.outlined.tolist() == [True, True, False]
    assert not found.outlines[1:].any()
    top, bottom, left, right = find_head(read_slice(tmp_path / "a.png"))
    rows, columns = np.nonzero((np.fliplr(phantom.mask) if mirrored else phantom.mask) > 127)
    expected = (
        (rows.mean() * scale - top) / (bottom - top) * 96,
        (columns.mean() * scale - left) / (right - left) * 96,
    )
    rows, columns = np.nonzero(found.outlines[0] > 127)
    assert (rows.mean(), columns.mean()) == pytest.approx(expected, abs=1.0)
    assert read_inputs([item], size=96).outlines is None


def test_an_outline_that_cannot_be_read_is_named_and_its_slice_kept(
    tmp_path: Path, draw: Draw
) -> None:
    path = draw(tmp_path / "a.png", 1)
    (tmp_path / "mask.png").write_bytes(b"no picture")
    item = Slice(path=path, name="a", label="glioma", source="set", mask=tmp_path / "mask.png")
    other = Slice(path=path, name="b", label="notumor", source="set")
    found = read_inputs([item, other], size=32, outlines=True)
    assert [item.name for item in found.slices] == ["a", "b"]
    assert found.outlined is not None
    assert found.outlined.tolist() == [False, True]
    (skipped,) = found.skipped
    assert skipped.name == "outline of a"
    assert "mask.png" in skipped.reason


@pytest.mark.parametrize("value", [1, 4, 200])
def test_masks_of_numbers_mark_what_masks_of_levels_do(
    tmp_path: Path, draw: Draw, value: int
) -> None:
    path = draw(tmp_path / "a.png", 1)
    marked = np.zeros(read_slice(path).shape, dtype=np.uint8)
    marked[20:60, 20:60] = value
    Image.fromarray(marked).save(tmp_path / "mask.png")
    item = Slice(path=path, name="a", label="glioma", source="set", mask=tmp_path / "mask.png")
    found = read_inputs([item], size=32, outlines=True)
    assert found.outlines is not None
    assert found.outlines.max() == (value if value > 15 else 255)


def test_an_outline_that_marks_nothing_is_none_of_a_tumour(tmp_path: Path, draw: Draw) -> None:
    path = draw(tmp_path / "a.png", 1)
    Image.new("L", (64, 64)).save(tmp_path / "mask.png")
    tumour, none = (
        Slice(path=path, name=label, label=label, source="set", mask=tmp_path / "mask.png")
        for label in ("glioma", "notumor")
    )
    found = read_inputs([tumour, none], size=32, outlines=True)
    assert found.outlined is not None
    assert found.outlined.tolist() == [False, True]
    (skipped,) = found.skipped
    assert "marks nothing, though the slice has a tumour" in skipped.reason


def test_an_outline_of_another_shape_than_its_picture_is_named_and_not_used(
    tmp_path: Path, draw: Draw
) -> None:
    path = draw(tmp_path / "a.png", 1)
    width, height = Image.open(path).size
    slices = []
    for number, size in enumerate(((width, height // 2), (2 * width, 2 * height))):
        mask = tmp_path / f"mask{number}.png"
        Image.new("L", size, 255).save(mask)
        slices.append(Slice(path=path, name=mask.stem, label="glioma", source="set", mask=mask))
    found = read_inputs(slices, size=32, outlines=True)
    assert found.outlined is not None
    assert found.outlined.tolist() == [False, True]
    (skipped,) = found.skipped
    assert skipped.name == "outline of mask0"
    assert "mask0.png" in skipped.reason
    assert f"its picture {width}x{height}: of another shape" in skipped.reason
