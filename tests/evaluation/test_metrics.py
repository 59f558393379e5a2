"""The figures against values worked out by hand and against scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from tumorscope.classes import CLASSES, TUMOUR_CLASSES
from tumorscope.evaluation.metrics import roc_auc, scores, tally
from tumorscope.evaluation.predictions import Predictions
from tumorscope.evaluation.scoring import score_predictions


def predictions(
    target: list[int],
    probabilities: object,
    *,
    classes: tuple[str, ...] = CLASSES,
    groups: list[int] | None = None,
) -> Predictions:
    count = len(target)
    return Predictions(
        classes=classes,
        names=tuple(f"{row}.jpg" for row in range(count)),
        labels=tuple(classes[column] for column in target),
        groups=tuple(f"p{group}" for group in (groups or range(count))),
        clusters=tuple(f"s{row}" for row in range(count)),
        probabilities=np.asarray(probabilities, dtype=np.float64),
    )


def random_predictions(
    seed: int, count: int = 60, classes: tuple[str, ...] = CLASSES
) -> Predictions:
    """Images in groups of different sizes, some answers tied, every class there."""
    rng = np.random.default_rng(seed)
    target = np.concatenate([np.arange(len(classes)), rng.integers(0, len(classes), count)])
    logits = rng.normal(0, 1.5, (len(target), len(classes))) + 2 * np.eye(len(classes))[target]
    values = np.round(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 1) + 0.01
    values /= values.sum(axis=1, keepdims=True)
    groups = rng.integers(0, count // 3, len(target)).tolist()
    return predictions(target.tolist(), values, classes=classes, groups=groups)


def overall(table: Predictions) -> dict[str, float]:
    found = scores(tally(table).sum(axis=0), table.classes).overall
    return {name: float(value) for name, value in found.items()}


BY_HAND = predictions(
    # glioma twice right and once called no tumour; meningioma right; no tumour right and called
    # pituitary; pituitary called glioma.
    [0, 0, 0, 1, 2, 2, 3],
    [
        [0.80, 0.10, 0.05, 0.05],
        [0.70, 0.10, 0.10, 0.10],
        [0.30, 0.00, 0.70, 0.00],
        [0.05, 0.90, 0.05, 0.00],
        [0.00, 0.00, 1.00, 0.00],
        [0.10, 0.10, 0.20, 0.60],
        [0.50, 0.10, 0.10, 0.30],
    ],
)


def test_figures_worked_out_by_hand() -> None:
    found = overall(BY_HAND)
    assert found["accuracy"] == pytest.approx(4 / 7)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 1 / 2 + 0) / 4)
    assert found["macro_f1"] == pytest.approx((4 / 6 + 1 + 2 / 4 + 0) / 4)
    assert found["miss_rate"] == pytest.approx(1 / 5)
    assert found["false_positive_rate"] == pytest.approx(1 / 2)
    # Bins: 0.5, 0.6 (in (0.533, 0.6]), 0.7 twice with one right, 0.8, 0.9, 1.0.
    gaps = 0.5 + 0.6 + abs(1 - 1.4) + 0.2 + 0.1 + 0
    assert found["ece"] == pytest.approx(gaps / 7)
    surprise = -np.log([0.8, 0.7, 0.3, 0.9, 1.0, 0.2, 0.3]).sum()
    assert found["nll"] == pytest.approx(surprise / 7)
    errors = 0.055 + 0.12 + 0.98 + 0.015 + 0 + 1.02 + 0.76
    assert found["brier"] == pytest.approx(errors / 7)


def test_the_accuracy_of_the_surest_nine_tenths_by_hand() -> None:
    # Ten answers, the least sure of them wrong, and then one of the others too.
    top = np.linspace(0.5, 0.95, 10)
    values = np.stack([top, 1 - top, 0 * top, 0 * top], axis=1)
    assert overall(predictions([1] + [0] * 9, values))["selective_accuracy"] == 1.0
    found = overall(predictions([1, 0, 0, 1] + [0] * 6, values))["selective_accuracy"]
    assert found == pytest.approx(8 / 9)


def test_what_is_unsupported_is_not_among_the_surest() -> None:
    top = np.linspace(0.5, 0.95, 10)
    values = np.stack([top, 1 - top, 0 * top, 0 * top], axis=1)
    wrong_and_surest = predictions([0] * 9 + [1], values)
    assert overall(wrong_and_surest)["selective_accuracy"] == pytest.approx(8 / 9)
    verdicts = ("confident",) * 9 + ("unsupported",)
    refused = replace(wrong_and_surest, verdicts=verdicts)
    assert overall(refused)["selective_accuracy"] == 1.0
    levels = score_predictions(refused, title="", facts={}, resamples=20)
    for level in (levels.images, levels.slices, levels.patients):
        assert level.metrics["selective_accuracy"] == 1.0
    # Of more than a tenth some have to be counted: again those of the highest probabilities.
    most = replace(refused, verdicts=("uncertain",) * 2 + ("unsupported",) * 8)
    assert overall(most)["selective_accuracy"] == pytest.approx(8 / 9)


def test_figures_of_a_class_worked_out_by_hand() -> None:
    per_class = scores(tally(BY_HAND).sum(axis=0), CLASSES).per_class
    np.testing.assert_allclose(per_class["sensitivity"], [2 / 3, 1, 1 / 2, 0])
    np.testing.assert_allclose(per_class["specificity"], [3 / 4, 1, 4 / 5, 5 / 6])
    np.testing.assert_allclose(per_class["precision"], [2 / 3, 1, 1 / 2, 0])
    # Glioma: 0.8, 0.7, 0.3 against 0.05, 0, 0.1, 0.5: 11 of 12 pairs.
    assert roc_auc(BY_HAND)[0, 0] == pytest.approx(11 / 12)
    # Pituitary: 0.3 against 0.05, 0.1, 0, 0, 0, 0.6: 5 of 6 pairs.
    assert roc_auc(BY_HAND)[0, 3] == pytest.approx(5 / 6)


@pytest.mark.parametrize("classes", [CLASSES, TUMOUR_CLASSES])
@pytest.mark.parametrize("seed", range(5))
def test_figures_agree_with_scikit_learn(seed: int, classes: tuple[str, ...]) -> None:
    table = random_predictions(seed, classes=classes)
    target, predicted, values = table.target, table.predicted, table.probabilities
    found = overall(table)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(target, predicted))
    assert found["balanced_accuracy"] == pytest.approx(
        reference.balanced_accuracy_score(target, predicted)
    )
    assert found["macro_f1"] == pytest.approx(
        reference.f1_score(target, predicted, average="macro")
    )
    assert found["nll"] == pytest.approx(reference.log_loss(target, values))
    one_hot = np.eye(len(classes))[target]
    assert found["brier"] == pytest.approx(
        sum(
            reference.brier_score_loss(one_hot[:, column], values[:, column])
            for column in range(len(classes))
        )
    )
    per_class = scores(tally(table).sum(axis=0), classes).per_class
    precision, recall, f1, _ = reference.precision_recall_fscore_support(target, predicted)
    np.testing.assert_allclose(per_class["precision"], precision)
    np.testing.assert_allclose(per_class["sensitivity"], recall)
    np.testing.assert_allclose(per_class["f1"], f1)
    for column in range(len(classes)):
        others = target != column
        assert per_class["specificity"][column] == pytest.approx(
            np.mean(predicted[others] != column)
        )
        assert roc_auc(table)[0, column] == pytest.approx(
            reference.roc_auc_score(~others, values[:, column])
        )


def test_weighted_areas_agree_with_scikit_learn() -> None:
    table = random_predictions(3)
    weights = np.random.default_rng(0).integers(0, 4, (5, len(table))).astype(float)
    areas = roc_auc(table, weights)
    for row, weight in enumerate(weights):
        for column in range(4):
            assert areas[row, column] == pytest.approx(
                reference.roc_auc_score(
                    table.target == column, table.probabilities[:, column], sample_weight=weight
                )
            )


def test_an_impossible_answer_does_not_make_the_likelihood_infinite() -> None:
    table = predictions([0, 1], [[0, 1], [0, 1]], classes=("glioma", "notumor"))
    assert overall(table)["nll"] == pytest.approx(-np.log(np.finfo(float).eps) / 2)


def rounded(table: Predictions) -> dict[str, object]:
    return score_predictions(table, title="", facts={}, resamples=20).to_json()


def assert_same(left: object, right: object) -> None:
    """Compare nested figures, one rounding step apart at most."""
    if isinstance(left, dict):
        assert isinstance(right, dict)
        assert list(left) == list(right)
        for name in left:
            assert_same(left[name], right[name])
    elif isinstance(left, list):
        assert isinstance(right, list)
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert left == (pytest.approx(right, abs=2e-6) if isinstance(right, float) else right)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(seed: int, order: object) -> None:
    table = random_predictions(seed, count=20)
    rows = list(range(len(table)))
    order.shuffle(rows)  # type: ignore[attr-defined]
    assert_same(rounded(table), rounded(take(table, rows)))


def take(table: Predictions, rows: list[int], *, mark: str = "") -> Predictions:
    return Predictions(
        classes=table.classes,
        names=tuple(table.names[row] + mark for row in rows),
        labels=tuple(table.labels[row] for row in rows),
        groups=tuple(table.groups[row] + mark for row in rows),
        clusters=tuple(table.clusters[row] + mark for row in rows),
        probabilities=table.probabilities[rows],
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000))
def test_every_group_twice_leaves_the_figures_as_they_are(seed: int) -> None:
    table = random_predictions(seed, count=20)
    again = take(table, list(range(len(table))), mark="'")
    both = Predictions(
        classes=table.classes,
        names=table.names + again.names,
        labels=table.labels + again.labels,
        groups=table.groups + again.groups,
        clusters=table.clusters + again.clusters,
        probabilities=np.concatenate([table.probabilities, again.probabilities]),
    )
    assert overall(both) == pytest.approx(overall(table))
    assert overall(both.by_patient()) == pytest.approx(overall(table.by_patient()))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_mistake_mended_never_lowers_the_accuracy(seed: int) -> None:
    table = random_predictions(seed, count=20)
    mended = np.where(
        (table.target == table.predicted)[:, None], table.probabilities, np.eye(4)[table.target]
    )
    perfect = predictions(table.target.tolist(), mended)
    found = overall(perfect)
    assert found["accuracy"] == found["balanced_accuracy"] == found["macro_f1"] == 1
    assert found["brier"] <= overall(table)["brier"]
