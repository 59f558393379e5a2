"""Tests of the OOD score."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tumorscope.networks.ood_score import OodScore


def drawn(count: int, seed: int, spread: float = 1.0) -> NDArray[np.float32]:
    """Features that vary in some directions much, in others little."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(6, 24))
    plain = random.normal(size=(count, 6)) @ mixing + 0.1 * random.normal(size=(count, 24))
    return (spread * plain + 3).astype(np.float32)[:, :, None]


def fitted(count: int = 400) -> OodScore:
    """A score that knows two kinds of outlier: one to one side, one to any side."""
    outliers = drawn(count, seed=8)
    outliers[::2, 0] += 8
    outliers[1::2] += 3 * np.random.default_rng(1).normal(size=outliers[1::2].shape)
    ood_score = OodScore(24, 1)
    ood_score.fit(drawn(count, seed=2), outliers)
    return ood_score


def test_training_images_and_outliers_are_told_apart() -> None:
    ood_score = fitted()
    outliers = drawn(200, seed=9)
    outliers[:, 0] += 8
    usual = ood_score(torch.from_numpy(drawn(200, seed=3)))
    assert float(usual.quantile(0.98)) < float(ood_score(torch.from_numpy(outliers)).quantile(0.02))


def test_what_is_far_away_is_an_outlier_though_none_was_like_it() -> None:
    ood_score = fitted()
    usual = ood_score(torch.from_numpy(drawn(200, seed=3)))
    random = np.random.default_rng(4)
    far = drawn(200, seed=5) + 30 * random.normal(size=(200, 24, 1)).astype(np.float32)
    assert float((ood_score(torch.from_numpy(far)) > usual.max()).float().mean()) > 0.9


def test_features_in_another_part_are_an_outlier_though_their_mean_is_the_same() -> None:
    inside = np.concatenate([drawn(300, seed=2), drawn(300, seed=6)], axis=2)
    inside[:, 0, 0] += 6
    ood_score = OodScore(24, 2)
    ood_score.fit(inside, inside[:, :, ::-1].copy())
    usual = np.concatenate([drawn(200, seed=3), drawn(200, seed=7)], axis=2)
    usual[:, 0, 0] += 6
    moved = usual[:, :, ::-1].copy()
    scores = [ood_score(torch.from_numpy(each)) for each in (usual, moved)]
    assert float(scores[0].quantile(0.95)) < float(scores[1].quantile(0.05))


def test_before_it_is_fitted_every_score_is_zero() -> None:
    assert OodScore(24, 1)(torch.from_numpy(drawn(3, seed=2))).tolist() == [0.0, 0.0, 0.0]


def test_features_that_never_vary_do_no_harm() -> None:
    features = np.zeros((50, 3, 1), dtype=np.float32)
    features[:, 0, 0] = np.random.default_rng(0).normal(size=50)
    ood_score = OodScore(3, 1)
    ood_score.fit(features, features + 1)
    assert torch.isfinite(ood_score(torch.from_numpy(features))).all()


def test_what_is_no_number_has_no_score() -> None:
    features = torch.from_numpy(drawn(2, seed=3))
    features[0, 0] = torch.nan
    assert torch.isnan(fitted()(features)).tolist() == [True, False]


@pytest.mark.parametrize("count", [2, 30])
def test_a_few_images_are_enough(count: int) -> None:
    assert torch.isfinite(fitted(count)(torch.from_numpy(drawn(5, seed=3)))).all()
