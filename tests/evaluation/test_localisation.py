"""Heatmaps on outlines: what counts as inside, how much overlaps, and what is kept of it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tumorscope.datasets.sources import read_data
from tumorscope.datasets.splits import partition
from tumorscope.errors import DataError
from tumorscope.evaluation.localisation import Localisation, localise, pool_localisations
from tumorscope.training.run_evaluation import evaluate_run
from tumorscope.training.run_folder import RunFolder


def square(top: int, left: int, side: int = 16, *, of: int = 64) -> NDArray[np.uint8]:
    outline = np.zeros((of, of), dtype=np.uint8)
    outline[top : top + side, left : left + side] = 255
    return outline


def small_map(outline: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a perfect network draws at an eighth of the side."""
    side = outline.shape[0] // 8
    return outline.reshape(side, 8, side, 8).mean(axis=(1, 3)).astype(np.float32)


def found(heatmaps: list[NDArray[np.float32]], outlines: list[NDArray[np.uint8]]) -> Localisation:
    count = len(heatmaps)
    return localise(
        np.stack(heatmaps),
        np.stack(outlines),
        names=[f"{number}.png" for number in range(count)],
        groups=[f"P{number // 2}" for number in range(count)],
    )


def test_a_map_of_the_outline_itself_is_right_and_one_elsewhere_wrong() -> None:
    outline = square(16, 32)
    right, wrong = small_map(outline), small_map(square(40, 0))
    nothing = np.zeros((8, 8), dtype=np.float32)
    result = found([right, right * 1e-3, wrong, nothing], [outline] * 4)
    assert result.peak_inside.tolist() == [True, True, False, False]
    assert result.dice[0] > 0.85
    assert result.dice[1] == result.dice[0]  # half of its own maximum counts
    assert result.dice[2:].tolist() == [0.0, 0.0]


def test_a_map_of_half_the_outline_overlaps_by_two_thirds() -> None:
    outline = square(0, 0, side=32)
    half = np.zeros((64, 64), dtype=np.float32)
    half[:32, :16] = 1.0
    assert found([half], [outline]).dice[0] == pytest.approx(2 / 3, abs=0.01)


def test_what_is_saved_comes_back_and_folds_are_pooled(tmp_path: Path) -> None:
    outline = square(16, 32)
    first = found([small_map(outline)] * 3, [outline] * 3)
    second = found([small_map(square(40, 0))] * 2, [outline] * 2)
    first.save(tmp_path / "a.csv")
    again = Localisation.load(tmp_path / "a.csv")
    assert again.names == first.names
    assert again.groups == first.groups
    assert again.peak_inside.tolist() == first.peak_inside.tolist()
    np.testing.assert_allclose(again.dice, first.dice, atol=1e-6)
    figures = pool_localisations([again, second]).to_json()
    assert (figures["n"], figures["groups"]) == (5, 2)
    assert figures["peak_inside"] == 0.6
    low, high = figures["interval"]["peak_inside"]
    assert (low, high) == (0.5, 1.0)  # patients with two of four and with one of one inside
    alone = found([small_map(outline)], [outline]).to_json()
    assert alone["interval"] == {"peak_inside": None, "dice": None}


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "localisation.csv"
    path.write_text("name,group,peak_inside,dice\na,b,1,much\n")
    with pytest.raises(DataError, match=r"localisation\.csv: not a table"):
        Localisation.load(path)


def test_an_evaluated_run_tells_where_it_looked(
    trained: Path, phantoms: Path, tmp_path: Path
) -> None:
    catalogue = read_data([phantoms])
    parts = partition(catalogue, split="grouped-folds")
    result = evaluate_run(RunFolder(trained), parts, catalogue)
    metrics = result.to_json()["localisation"]
    outlined = [item for item in parts.test if item.label != "notumor"]
    assert metrics["n"] == len(outlined)
    report = result.save(tmp_path)
    assert len((tmp_path / "localisation.csv").read_text().splitlines()) == 1 + len(outlined)
    assert "tumours with an outline" in report.read_text()
