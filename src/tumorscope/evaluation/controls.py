"""Measures how much a split leaks: its accuracy on labels that mean nothing."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tumorscope import RESEARCH_USE_ONLY
from tumorscope.arguments import check_count
from tumorscope.datasets.catalogue import Catalogue, Slice
from tumorscope.datasets.inputs import read_inputs
from tumorscope.datasets.splits import folds_of, partition
from tumorscope.progress import Progress, silent

_SIZE: Final = 32
"""Side of the slices that are compared, in pixels."""

_CHUNK: Final = 256
"""Test slices that are compared at a time: bounds memory."""


@dataclass(frozen=True, kw_only=True)
class RandomLabels:
    """What a nearest-neighbour classifier reaches where labels are shuffled by group.

    Attributes:
        split: The protocol.
        n: Test images, over all folds.
        shuffles: How often the labels were shuffled.
        accuracy: The mean over the shuffles.
        range: The 2.5th and 97.5th percentile over the shuffles.
        chance: What labels that do not depend on the image reach, mean over the shuffles.
    """

    split: str
    n: int
    shuffles: int
    accuracy: float
    range: tuple[float, float]
    chance: float

    def __str__(self) -> str:
        low, high = self.range
        return (
            f"{self.split}: with labels shuffled by group, the nearest training image has the "
            f"test image's label in {self.accuracy:.1%} ({low:.1%} to {high:.1%} over "
            f"{self.shuffles:,} shuffles; chance {self.chance:.1%}): what is above chance is "
            "memory of patients and copies, not diagnosis"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain Python types, shares rounded to six digits."""
        return {
            "control": "random-labels",
            "classifier": f"nearest neighbour of the prepared {_SIZE} x {_SIZE} pixels, "
            "training images mirrored, too",
            "split": self.split,
            "n": self.n,
            "shuffles": self.shuffles,
            "accuracy": round(self.accuracy, 6),
            "range": [round(end, 6) for end in self.range],
            "chance": round(self.chance, 6),
            "research_use_only": RESEARCH_USE_ONLY,
        }


def random_labels(
    catalogue: Catalogue,
    split: str,
    *,
    shuffles: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> RandomLabels:
    """Measure what a split leaks by labels that mean nothing (a permutation control).

    Every group keeps its slices and gets the label of another group, so that there is nothing to
    learn but who is who. A nearest-neighbour classifier then answers the test part from the
    training part: where no group stands on both sides it can be right by chance only. Which
    training slice is nearest does not depend on the labels, so it is sought once.

    Args:
        catalogue: Slices that all have a group.
        split: A protocol's name; all its folds are pooled.
        shuffles: How often the labels are shuffled.
        seed: Of the shuffling.
        progress: Shows how far the reading is.

    Raises:
        ArgumentError: The seed is below 0.
        DataError: The protocol is unknown, does not fit the data, or has no test part.
    """
    check_count("seed", seed, least=0)
    parts = [partition(catalogue, split=split, fold=fold) for fold in folds_of(catalogue, split)]
    used = sorted(
        {item for part in parts for item in (*part.train, *part.validation, *part.test)},
        key=lambda item: (item.source, item.name),
    )
    inputs = read_inputs(used, size=_SIZE, progress=progress, label="reading")
    row_of = {(item.source, item.name): row for row, item in enumerate(inputs.slices)}

    def rows(slices: Sequence[Slice]) -> NDArray[np.intp]:
        keys = [(item.source, item.name) for item in slices]
        return np.array([row_of[key] for key in keys if key in row_of], dtype=np.intp)

    tested = [rows(part.test) for part in parts]
    nearest = [
        _nearest(inputs.grey, rows((*part.train, *part.validation)), test)
        for part, test in zip(parts, tested, strict=True)
    ]
    shuffled = _shuffled_labels(inputs.slices, shuffles, seed)
    target = shuffled[:, np.concatenate(tested)]
    predicted = shuffled[:, np.concatenate(nearest)]
    accuracies = (target == predicted).mean(axis=1)
    low, high = np.percentile(accuracies, (2.5, 97.5))
    return RandomLabels(
        split=split,
        n=target.shape[1],
        shuffles=shuffles,
        accuracy=float(accuracies.mean()),
        range=(float(low), float(high)),
        chance=_chance(target, predicted),
    )


def _nearest(
    grey: NDArray[np.uint8], train: NDArray[np.intp], test: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the row of the training slice, mirrored or not, that is most like each test slice."""
    both = np.concatenate([grey[train], grey[train, :, ::-1]])
    references = _features(both)
    found = [
        (_features(grey[test[start : start + _CHUNK]]) @ references.T).argmax(axis=1)
        for start in range(0, len(test), _CHUNK)
    ]
    return np.asarray(np.tile(train, 2)[np.concatenate(found)], dtype=np.intp)


def _features(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return pixels with mean 0 and length 1: their dot product is the correlation."""
    flat = grey.reshape(len(grey), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(lengths, 1e-6), dtype=np.float32)


def _shuffled_labels(slices: Sequence[Slice], shuffles: int, seed: int) -> NDArray[np.int8]:
    """Return labels as numbers, `[shuffles, N]`: in each row groups have changed labels."""
    by_group: dict[str, Counter[str]] = defaultdict(Counter)
    for item in slices:
        by_group[item.group][item.label] += 1
    names = sorted(by_group)
    usual = [by_group[name].most_common(1)[0][0] for name in names]
    labels = np.unique(np.array(usual), return_inverse=True)[1].astype(np.int8)
    number = {name: row for row, name in enumerate(names)}
    group = np.array([number[item.group] for item in slices])
    random = np.random.default_rng(seed)
    return np.stack([random.permutation(labels)[group] for _ in range(shuffles)])


def _chance(target: NDArray[np.int8], predicted: NDArray[np.int8]) -> float:
    """Return the accuracy of predictions that have these frequencies and nothing to do with it."""
    total = 0.0
    for label in np.unique(target):
        total += float(((target == label).mean(axis=1) * (predicted == label).mean(axis=1)).mean())
    return total
