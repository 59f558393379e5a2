"""Measures how much accuracy a model keeps on corrupted slices."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorscope.datasets.catalogue import Slice, slice_name
from tumorscope.datasets.pictures import read_picture
from tumorscope.evaluation.corruptions import KINDS, SEVERITIES, Kind, corrupt
from tumorscope.evaluation.predictor import Predictor
from tumorscope.progress import Progress, silent

_CONDITIONS: tuple[tuple[Kind, int] | None, ...] = (
    None,
    *((kind, severity) for kind in KINDS for severity in SEVERITIES),
)
"""The clean slice, and every corruption at every severity."""

_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """What corruptions cost.

    Attributes:
        groups: How many groups the slices come from.
        clean: Accuracy on the clean slices.
        mean_kept: The mean accuracy over all corruptions and severities, as a share of `clean`.
        mean_kept_interval: Its 95 % interval by bootstrap over groups.
        kept: The same by corruption.
        accuracy: By corruption, one number a severity.
    """

    groups: int
    clean: float
    mean_kept: float
    mean_kept_interval: tuple[float, float]
    kept: Mapping[str, float]
    accuracy: Mapping[str, tuple[float, ...]]

    def to_json(self) -> dict[str, Any]:
        """Return plain Python types, rounded to six digits."""
        return {
            "groups": self.groups,
            "clean": round(self.clean, 6),
            "mean_kept": round(self.mean_kept, 6),
            "mean_kept_interval": [round(end, 6) for end in self.mean_kept_interval],
            "kept": {kind: round(value, 6) for kind, value in self.kept.items()},
            "accuracy": {
                kind: [round(value, 6) for value in values]
                for kind, values in self.accuracy.items()
            },
        }


def measure_robustness(
    tests: Sequence[tuple[Predictor, Sequence[Slice]]],
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Robustness:
    """Corrupt slices as they were read, before the preparation, and ask models about them.

    Refusals play no part: the most probable class counts.

    Args:
        tests: Models with the slices that each is tested on, one a fold; every slice has a group.
        seed: Of the corruptions and of the bootstrap.
        progress: Shows how far it is.

    Raises:
        UnreadableImageError: A slice cannot be read.
    """
    right = np.concatenate(
        [_find_right(predictor, slices, seed, progress) for predictor, slices in tests], axis=1
    )
    groups = [item.group for _, slices in tests for item in slices]
    names, number = np.unique(np.array(groups), return_inverse=True)
    sums = np.zeros((len(names), len(right)))
    np.add.at(sums, number, right.T)
    chance = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), chance, size=_RESAMPLES) @ sums
    drawn = drawn[drawn[:, 0] > 0]  # else there is nothing to keep a share of
    kept = drawn[:, 1:].mean(axis=1) / drawn[:, 0]
    low, high = np.percentile(kept, (2.5, 97.5))
    accuracy = right.mean(axis=1)
    clean = float(accuracy[0])
    corrupted = accuracy[1:].reshape(len(KINDS), len(SEVERITIES))
    return Robustness(
        groups=len(names),
        clean=clean,
        mean_kept=float(corrupted.mean()) / clean,
        mean_kept_interval=(float(low), float(high)),
        kept={
            kind: float(values.mean()) / clean
            for kind, values in zip(KINDS, corrupted, strict=True)
        },
        accuracy={
            kind: tuple(float(value) for value in values)
            for kind, values in zip(KINDS, corrupted, strict=True)
        },
    )


def _find_right(
    predictor: Predictor, slices: Sequence[Slice], seed: int, progress: Progress
) -> NDArray[np.bool_]:
    """Tell which slices are predicted right, shape `[conditions, N]`."""
    greys = [read_picture(item) for item in slices]
    seeds = [zlib.crc32(f"{seed}/{slice_name(item)}".encode()) for item in slices]
    target = np.array([predictor.classes.index(item.label) for item in slices], dtype=np.intp)
    size = predictor.input_size
    right = np.empty((len(_CONDITIONS), len(greys)), dtype=np.bool_)
    inputs = np.empty((len(greys), size, size), dtype=np.uint8)
    rows = progress(range(len(_CONDITIONS)), total=len(_CONDITIONS), label="corrupting")
    for row in rows:
        condition = _CONDITIONS[row]
        for number, grey in enumerate(greys):
            changed = corrupt(grey, *condition, seeds[number]) if condition else grey
            inputs[number] = predictor.prepare(changed, size)
        right[row] = predictor.predict(inputs).probabilities.argmax(axis=1) == target
    return right
