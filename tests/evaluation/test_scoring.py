"""The evaluation as a whole: its JSON, its levels and folds, and test parts with holes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tumorscope.classes import CLASSES, TUMOUR_CLASSES
from tumorscope.datasets.catalogue import Slice
from tumorscope.evaluation import Predictions, score_predictions


def table(
    target: list[int],
    predicted: list[int],
    *,
    classes: tuple[str, ...] = CLASSES,
    groups: list[str] | None = None,
    clusters: list[str] | None = None,
    folds: tuple[int, ...] = (),
) -> Predictions:
    count = len(target)
    rest = 0.2 / (len(classes) - 1)
    return Predictions(
        classes=classes,
        names=tuple(f"{row}.jpg" for row in range(count)),
        labels=tuple(classes[column] for column in target),
        groups=tuple(groups or [f"p{row}" for row in range(count)]),
        clusters=tuple(clusters or [f"s{row}" for row in range(count)]),
        probabilities=rest + (0.8 - rest) * np.eye(len(classes))[predicted],
        folds=folds,
    )


def test_the_json_holds_everything_in_plain_types() -> None:
    predictions = table([0, 1, 2, 3, 0, 2], [0, 1, 2, 3, 2, 0])
    evaluation = score_predictions(
        predictions,
        title="a test",
        facts={"protocol": "kaggle-official", "twins": np.int64(3), "gap": np.float32("nan")},  # type: ignore[dict-item]
        resamples=50,
    )
    written = evaluation.to_json()
    # allow_nan: what is not there is null, never NaN, which is no JSON.
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    for level in (written, written["by_slice"], written["by_patient"]):
        assert isinstance(level, dict)
        assert level["n"] == level["groups"] == 6
        assert level["accuracy"] == 0.666667
        assert level["confusion"] == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
        low, high = level["interval"]["accuracy"]
        assert 0 <= low < 0.666667 < high <= 1
        assert set(level["interval"]) == set(evaluation.images.metrics)
        glioma = level["per_class"]["glioma"]
        assert glioma["n"] == 2
        assert glioma["sensitivity"] == 0.5
        assert set(glioma["interval"]) == {
            "precision", "sensitivity", "specificity", "f1", "roc_auc",
        }  # fmt: skip
    assert written["miss_rate"] == 0.25
    assert written["false_positive_rate"] == 0.5
    assert written["classes"] == list(CLASSES)
    assert written["facts"] == {"protocol": "kaggle-official", "twins": 3, "gap": "nan"}
    assert written["by_fold"] == {}
    assert "not for diagnosis" in str(written["research_use_only"])


def test_copies_count_once_by_slice_and_patients_once_by_patient() -> None:
    # Patient a: one slice, right, four times. Patient b: two slices, both wrong.
    predictions = table(
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 2, 2],
        groups=["a"] * 4 + ["b"] * 2,
        clusters=["s", "s", "s", "s", "t", "u"],
    )
    evaluation = score_predictions(predictions, title="", facts={}, resamples=20)
    assert evaluation.images.metrics["accuracy"] == pytest.approx(4 / 6, abs=1e-6)
    assert evaluation.slices.metrics["accuracy"] == pytest.approx(1 / 3, abs=1e-6)
    assert evaluation.patients.metrics["accuracy"] == 0.5
    assert (evaluation.images.n, evaluation.slices.n, evaluation.patients.n) == (6, 3, 2)
    assert {evaluation.images.groups, evaluation.slices.groups, evaluation.patients.groups} == {2}


def test_without_a_healthy_class_nothing_is_called_no_tumour() -> None:
    predictions = table([0, 1, 2], [0, 1, 1], classes=TUMOUR_CLASSES)
    written = score_predictions(predictions, title="", facts={}, resamples=20).to_json()
    assert written["miss_rate"] is None
    assert written["false_positive_rate"] is None
    assert written["interval"]["miss_rate"] is None  # type: ignore[index]


@pytest.mark.filterwarnings("error")
def test_a_class_that_is_not_there_has_no_figures() -> None:
    predictions = table([0, 0, 1, 1], [0, 1, 1, 3])
    evaluation = score_predictions(predictions, title="", facts={}, resamples=20)
    pituitary = evaluation.images.per_class["pituitary"]
    assert pituitary.n == 0
    assert pituitary.metrics["sensitivity"] is None
    assert pituitary.metrics["roc_auc"] is None
    assert pituitary.metrics["precision"] == 0
    assert evaluation.images.per_class["notumor"].metrics["precision"] is None
    assert evaluation.images.metrics["balanced_accuracy"] == 0.5
    assert evaluation.images.metrics["macro_auc"] is None
    assert evaluation.images.metrics["false_positive_rate"] is None


@pytest.mark.filterwarnings("error")
def test_one_group_gives_figures_without_intervals() -> None:
    predictions = table([0, 1, 2], [0, 1, 1], groups=["p"] * 3)
    evaluation = score_predictions(predictions, title="", facts={}, resamples=20)
    assert evaluation.images.metrics["accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    assert set(evaluation.images.interval.values()) == {None}


def test_one_image_is_judged() -> None:
    written = score_predictions(table([2], [2]), title="", facts={}, resamples=20).to_json()
    assert written["accuracy"] == 1
    assert written["n"] == 1


def test_folds_are_told_apart() -> None:
    predictions = table([0, 1, 2, 3, 0], [0, 1, 2, 0, 0], folds=(1, 1, 2, 2, 2))
    evaluation = score_predictions(predictions, title="", facts={}, resamples=20)
    assert evaluation.folds[1] == {
        "n": 2, "accuracy": 1, "balanced_accuracy": 1, "macro_f1": 1,
    }  # fmt: skip
    assert evaluation.folds[2]["accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    assert list(evaluation.to_json()["by_fold"]) == ["1", "2"]  # type: ignore[call-overload]


def test_hospitals_and_sequences_are_told_apart_where_the_data_names_them() -> None:
    labels = ["glioma", "notumor", "glioma", "notumor", "meningioma"]
    hospitals = ["A", "A", "B", "B", ""]
    slices = [
        Slice(path=Path(name), name=name, label=label, source="x", plane="axial", hospital=hospital)
        for name, label, hospital in zip("abcde", labels, hospitals, strict=True)
    ]
    answers = np.eye(4)[[0, 2, 2, 2, 0]] * 0.96 + 0.01
    predictions = Predictions.of_slices(slices, answers, classes=CLASSES)
    found = score_predictions(predictions, title="", facts={}, slices=slices[::-1], resamples=20)
    assert list(found.scans) == ["hospital"]  # one plane, and no sequence: nothing to tell apart
    assert {name: level.n for name, level in found.scans["hospital"].items()} == {
        "A": 2, "B": 2, "not known": 1,
    }  # fmt: skip
    misses = {name: level.metrics["miss_rate"] for name, level in found.scans["hospital"].items()}
    assert misses == {"A": 0, "B": 1, "not known": 0}
    assert found.to_json()["by_hospital"]["A"]["per_class"]["notumor"]["roc_auc"] == 1  # type: ignore[index]
    assert score_predictions(predictions, title="", facts={}, resamples=20).scans == {}


def test_verdicts_are_counted_and_judged() -> None:
    predictions = table([0, 1, 2, 3, 0], [0, 1, 2, 0, 0])
    assert (
        "verdicts" not in score_predictions(predictions, title="", facts={}, resamples=20).to_json()
    )
    predicted = ("confident", "confident", "uncertain", "confident", "uncertain")
    evaluation = score_predictions(
        replace(predictions, verdicts=predicted), title="", facts={}, resamples=20
    )
    assert evaluation.to_json()["verdicts"] == {
        "confident": {"n": 3, "share": 0.6, "accuracy": 0.666667},
        "uncertain": {"n": 2, "share": 0.4, "accuracy": 1.0},
        "unsupported": {"n": 0, "share": 0.0, "accuracy": None},
    }


def test_the_same_seed_gives_the_same_json() -> None:
    predictions = table([0, 1, 2, 3, 0], [0, 1, 2, 0, 0])
    first = score_predictions(predictions, title="", facts={}, seed=5).to_json()
    assert score_predictions(predictions, title="", facts={}, seed=5).to_json() == first
