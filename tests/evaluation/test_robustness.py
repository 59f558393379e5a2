"""What corruptions cost a model: a known model loses what it must, by corruption."""

from pathlib import Path

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
