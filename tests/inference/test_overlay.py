"""An overlay shows the slice, where the network looked, and the probabilities."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorscope.inference import Prediction
from tumorscope.inference.overlay import draw_overlay, write_overlay
from tumorscope.phantoms.drawing import draw_phantom


def prediction(heat: tuple[int, int] | None = (1, 1)) -> Prediction:
    heatmap = np.full((7, 7), -1, dtype=np.float32)
    if heat:
        heatmap[heat] = 3
    shown = draw_phantom("glioma", plane="axial", patient_seed=2, slice_number=2, size=120).image
    return Prediction(
        path="folder/scan.nii.gz",
        slice=12,
        label="glioma",
        probability=0.7,
        probabilities={"glioma": 0.7, "meningioma": 0.25, "notumor": 0.05, "pituitary": 0.0},
        verdict="uncertain",
        reason="between glioma (70 %) and meningioma (25 %)",
        model="m 1",
        milliseconds=1.0,
        heatmap=heatmap,
        picture=shown,
    )


def colour(picture: Image.Image) -> np.ndarray:
    """How colourful each pixel is."""
    values = np.asarray(picture, dtype=int)
    return np.ptp(values, axis=2)


def test_heat_stands_where_the_map_is_high() -> None:
    picture = draw_overlay(prediction((1, 1)), note="a note")
    panel = colour(picture)[68:468]
    columns = np.flatnonzero((panel > 60).any(axis=0))
    rows = np.flatnonzero((panel > 60).any(axis=1))
    middle = 16 + 400 + 16 + 200
    # All of it in the panel on the right, and there on the upper left.
    assert columns.min() > 432
    assert columns.mean() < middle
    assert rows.mean() < 200
    mirrored = colour(draw_overlay(prediction((5, 5)), note=""))[68:468]
    assert np.flatnonzero((mirrored > 60).any(axis=0)).mean() > middle
    assert np.flatnonzero((mirrored > 60).any(axis=1)).mean() > 200


def test_left_panel_is_the_slice() -> None:
    answer = prediction()
    assert answer.picture is not None
    left = np.asarray(draw_overlay(answer, note=""))[68:468, 16:416, 0].astype(float)
    expected = np.asarray(Image.fromarray(answer.picture).resize((400, 400)), dtype=float)
    assert np.corrcoef(left.ravel(), expected.ravel())[0, 1] > 0.99


def test_bars_are_as_long_as_the_probabilities() -> None:
    answer = prediction(None)
    values = np.asarray(draw_overlay(answer, note=""), dtype=int)
    bright = []
    for row in range(4):
        line = values[68 + 400 + 16 + row * 26 + 10]
        bright.append(int((np.abs(line - (58, 60, 70)).sum(axis=1) > 40)[126:-90].sum()))
    assert bright[0] > bright[1] > bright[2] >= bright[3]
    assert bright[0] / (values.shape[1] - 216) == pytest.approx(0.7, abs=0.05)


def test_flat_and_missing_maps() -> None:
    flat = draw_overlay(prediction(None), note="")
    assert (colour(flat)[68:468] < 30).all()
    alone = draw_overlay(replace(prediction(), heatmap=None), note="")
    assert alone.width < flat.width
    wide = replace(prediction(), picture=prediction().picture[30:90])  # type: ignore[index]
    assert draw_overlay(wide, note="").height < flat.height


def test_file_is_written(tmp_path: Path) -> None:
    answer = replace(prediction(), path="\udcff" + "x" * 200, slice=None)
    write_overlay(answer, tmp_path / "new" / "a.png", note="Research use only")
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (848, 630)


@pytest.mark.parametrize("lacking", ["picture", "label"])
def test_prediction_without_slice_or_label(lacking: str) -> None:
    with pytest.raises(ValueError, match="with its slice and a label"):
        draw_overlay(replace(prediction(), **{lacking: None}), note="")  # type: ignore[arg-type]
