"""The bootstrap over groups: against a plain loop, against theory, and where it has no answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from tumorscope.classes import CLASSES, TUMOUR_CLASSES
from tumorscope.evaluation.intervals import bootstrap
from tumorscope.evaluation.predictions import Predictions


def table(
    target: list[int], predicted: list[int], groups: list[int], classes: tuple[str, ...] = CLASSES
) -> Predictions:
    """Images with answers that are sure to different degrees."""
    rows = np.arange(len(target))
    probabilities = np.full((len(target), len(classes)), 0.02)
    probabilities[rows, predicted] = 0.5 + 0.4 * (rows % 7) / 7
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Predictions(
        classes=classes,
        names=tuple(f"{row}.jpg" for row in rows),
        labels=tuple(classes[column] for column in target),
        groups=tuple(f"p{group:03}" for group in groups),
        clusters=tuple(f"s{row}" for row in rows),
        probabilities=probabilities,
    )


def draw(seed: int, *, images: int, groups: int, right: float = 0.8) -> Predictions:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 4, images)
    predicted = np.where(rng.random(images) < right, target, rng.integers(0, 4, images))
    return table(target.tolist(), predicted.tolist(), rng.integers(0, groups, images).tolist())


def test_the_vectorised_bootstrap_equals_a_plain_loop() -> None:
    predictions = draw(0, images=80, groups=15)
    found = bootstrap(predictions, resamples=50, seed=7)

    groups = sorted(set(predictions.groups))
    draws = np.random.default_rng(7).multinomial(len(groups), [1 / len(groups)] * len(groups), 50)
    accuracy, f1, area, sensitivity = [], [], [], []
    for counts in draws:
        rows = [
            row
            for row, group in enumerate(predictions.groups)
            for _ in range(counts[groups.index(group)])
        ]
        target, predicted = predictions.target[rows], predictions.predicted[rows]
        accuracy.append(reference.accuracy_score(target, predicted))
        f1.append(reference.f1_score(target, predicted, average="macro"))
        area.append(reference.roc_auc_score(target == 1, predictions.probabilities[rows, 1]))
        sensitivity.append(reference.recall_score(target, predicted, average=None)[2])
    for interval, values in (
        (found.overall["accuracy"], accuracy),
        (found.overall["macro_f1"], f1),
        (found.per_class["roc_auc"][1], area),
        (found.per_class["sensitivity"][2], sensitivity),
    ):
        assert interval == pytest.approx(tuple(np.percentile(values, (2.5, 97.5))))


def test_single_images_give_the_width_of_the_binomial() -> None:
    target = [row % 4 for row in range(400)]
    predicted = [(label + (row % 5 == 0)) % 4 for row, label in enumerate(target)]
    found = bootstrap(table(target, predicted, list(range(400))), resamples=4000)
    half = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert found.overall["accuracy"] == pytest.approx((0.8 - half, 0.8 + half), abs=0.006)


def test_images_that_err_together_widen_the_interval() -> None:
    target = [0, 1, 2, 3] * 100
    right = [row // 20 % 5 != 0 for row in range(400)]
    predicted = [
        label if good else (label + 1) % 4 for label, good in zip(target, right, strict=True)
    ]
    alone = bootstrap(table(target, predicted, list(range(400)))).overall["accuracy"]
    together = bootstrap(table(target, predicted, [row // 20 for row in range(400)])).overall[
        "accuracy"
    ]
    assert alone is not None
    assert together is not None
    assert together[1] - together[0] > 3 * (alone[1] - alone[0])


def test_one_seed_one_interval() -> None:
    predictions = draw(1, images=60, groups=20)
    assert bootstrap(predictions, seed=3) == bootstrap(predictions, seed=3)
    assert bootstrap(predictions, seed=3) != bootstrap(predictions, seed=4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 500), groups=st.integers(1, 12))
def test_intervals_are_ordered_and_within_range(seed: int, groups: int) -> None:
    predictions = draw(seed, images=25, groups=groups)
    found = bootstrap(predictions, resamples=30)
    every = [*found.overall.items()]
    every += [(name, pair) for name, pairs in found.per_class.items() for pair in pairs]
    for name, pair in every:
        if pair is not None:
            assert 0 <= pair[0] <= pair[1]
            assert name in ("nll", "brier") or pair[1] <= 1
    if len(set(predictions.groups)) == 1:
        assert all(pair is None for _, pair in every)


def test_a_figure_that_hangs_on_one_group_has_no_interval() -> None:
    # All no-tumour images are of one group; pituitary is not there and is never predicted.
    predictions = table([0, 0, 1, 1, 2, 2], [0, 1, 1, 0, 2, 0], [1, 2, 3, 4, 5, 5])
    found = bootstrap(predictions, resamples=200)
    assert found.overall["accuracy"] is not None
    assert found.overall["miss_rate"] is not None
    assert found.overall["false_positive_rate"] is None
    assert found.overall["macro_auc"] is None
    assert [pair is None for pair in found.per_class["sensitivity"]] == [False, False, True, True]
    assert [pair is None for pair in found.per_class["roc_auc"]] == [False, False, True, True]
    assert [pair is None for pair in found.per_class["specificity"]] == [False] * 4


def test_resamples_without_the_class_are_left_out() -> None:
    # Two of thirty groups hold a meningioma: some resamples have none of them.
    target = [0] * 28 + [1, 1]
    predictions = table(target, [*target[:-1], 0], list(range(30)), classes=TUMOUR_CLASSES)
    found = bootstrap(predictions, resamples=300)
    assert found.per_class["sensitivity"][1] == (0, 1)
    assert "miss_rate" not in found.overall


def test_when_no_resample_holds_the_class_there_is_no_interval() -> None:
    target = [0] * 38 + [1, 1]
    predictions = table(target, target, list(range(40)), classes=TUMOUR_CLASSES)
    absent = next(
        seed
        for seed in range(100)
        if not np.random.default_rng(seed).multinomial(40, [1 / 40] * 40, size=1)[0, 38:].any()
    )
    assert bootstrap(predictions, resamples=1, seed=absent).per_class["sensitivity"][1] is None
