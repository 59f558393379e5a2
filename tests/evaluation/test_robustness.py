"""What corruptions cost a model: a known model loses what it must, by corruption."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from tumorscope.datasets.sources import read_data
from tumorscope.evaluation import InputSpec
from tumorscope.evaluation.corruptions import KINDS
from tumorscope.evaluation.function_predictor import FunctionPredictor
from tumorscope.evaluation.robustness import measure_robustness

SIDES = (slice(None, 16), slice(-16, None))


def test_a_model_that_always_answers_alike_loses_nothing(phantoms: Path) -> None:
    slices = read_data([phantoms]).slices

    def glioma(batch: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.tile([1.0, 0.0, 0.0, 0.0], (len(batch), 1))

    found = measure_robustness(
        [(FunctionPredictor(glioma, InputSpec(size=16, softmax=False), "glioma"), slices)]
    )
    assert found.clean == 0.25
    assert found.mean_kept == pytest.approx(1.0)
    assert found.groups == 20
    assert list(found.kept) == list(KINDS)


def test_a_model_that_letters_fool_loses_by_letters(phantoms: Path) -> None:
    slices = [item for item in read_data([phantoms]).slices if item.label == "glioma"]

    def fooled(batch: NDArray[np.float32]) -> NDArray[np.float64]:
        corners = [batch[:, 0, down, across] for down in SIDES for across in SIDES]
        white = np.max([corner.max(axis=(1, 2)) for corner in corners], axis=0) > 0.4
        return np.where(white[:, None], [[0.0, 1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0, 0.0]])

    spec = InputSpec(size=96, channels=1, softmax=False)
    tests = [(FunctionPredictor(fooled, spec, "fooled"), slices)]
    found = measure_robustness(tests, seed=3)
    assert found.clean == 1.0
    assert found.accuracy["text"][-1] == 0.0
    assert found.kept["blur"] == 1.0
    assert found.to_json() == measure_robustness(tests, seed=3).to_json()


def test_slices_of_a_volume_are_corrupted_too(tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "glioma" / "P2.png", 1)
    grid = np.indices((40, 44, 48)).transpose(1, 2, 3, 0) - np.array([20, 22, 24])
    head = (np.linalg.norm(grid / np.array([16, 18, 20]), axis=-1) < 1) * (100.0 + grid[..., 2])
    (tmp_path / "notumor").mkdir()
    nibabel.save(nibabel.Nifti1Image(head, np.eye(4)), tmp_path / "notumor" / "P1.nii.gz")
    slices = read_data([tmp_path]).slices

    def healthy(batch: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.tile([0.0, 0.0, 1.0, 0.0], (len(batch), 1))

    spec = InputSpec(size=16, softmax=False)
    found = measure_robustness([(FunctionPredictor(healthy, spec, "healthy"), slices[-9:])])
    assert found.clean == 1.0
