"""Shares of data sets, classes, hospitals and sequences come out as promised."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from tumorscope.datasets.catalogue import Slice
from tumorscope.training.balance import slice_weights


def slices(count: int, source: str, label: str, **more: str) -> list[Slice]:
    return [
        Slice(path=Path("x.png"), name=f"{label}/{more}/{n}", label=label, source=source, **more)
        for n in range(count)
    ]


def test_each_set_has_its_share_and_inside_it_all_is_even() -> None:
    items = [
        *slices(90, "own", "glioma"),
        *slices(10, "own", "notumor"),
        *slices(3, "other", "glioma", hospital="A", sequence="T1"),
        *slices(30, "other", "glioma", hospital="A", sequence="FLAIR"),
        *slices(7, "other", "glioma", hospital="B", sequence="T1"),
        *slices(5, "other", "notumor", hospital="A", sequence="T1"),
    ]
    weights = slice_weights(items, {"own": 0.6, "other": 0.2})
    assert weights.sum() == pytest.approx(1)
    found: Counter[tuple[str, ...]] = Counter()
    for item, weight in zip(items, weights, strict=True):
        for path in (
            (item.source,),
            (item.source, item.label),
            (item.source, item.label, item.hospital, item.sequence),
        ):
            found[path] += float(weight)
    assert found["own",] == pytest.approx(0.75)
    assert found["own", "glioma"] == pytest.approx(found["own", "notumor"])
    assert found["other", "glioma"] == pytest.approx(0.125)
    assert found["other", "glioma", "A", "FLAIR"] == pytest.approx(0.125 / 4)
    assert found["other", "glioma", "B", "T1"] == pytest.approx(0.125 / 2)


def test_copies_count_together_as_the_square_root_of_their_number() -> None:
    items = [*slices(4, "own", "glioma", cluster="same"), *slices(1, "own", "glioma", cluster="a")]
    weights = slice_weights(items, {"own": 1.0})
    assert weights[:4].sum() == pytest.approx(2 * weights[4])


def test_a_set_without_a_share_has_a_tenth() -> None:
    items = [*slices(5, "own", "glioma"), *slices(2, "mine", "glioma")]
    weights = slice_weights(items, {"own": 0.4, "absent": 0.9})
    assert torch.tensor(weights[:5]).sum() == pytest.approx(0.8)
