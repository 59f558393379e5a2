"""Tests of the OOD score."""

import numpy as np
import pytest
import torch

from tumorscope.networks.ood_score import OodScore


def test_the_distance_is_one_on_average_and_grows_away_from_the_mean() -> None:
    random = np.random.default_rng(0)
    mixing = random.normal(size=(6, 6))
    features = (random.normal(size=(2000, 6)) @ mixing + 3).astype(np.float32)
    ood_score = OodScore(6)
    ood_score.fit(features)
    found = ood_score(torch.from_numpy(features))
    assert float(found.mean()) == pytest.approx(1.0, abs=0.05)
    away = torch.from_numpy(features[:5] + 20 * mixing[0].astype(np.float32))
    assert (ood_score(away) > 10).all()


def test_features_that_never_vary_do_no_harm() -> None:
    features = np.zeros((50, 3), dtype=np.float32)
    features[:, 0] = np.random.default_rng(0).normal(size=50)
    ood_score = OodScore(3)
    ood_score.fit(features)
    assert torch.isfinite(ood_score(torch.from_numpy(features))).all()
