"""Ranks pictures whose label is likely wrong, by predictions that did not know it.

Confident learning (Northcutt, Jiang and Chuang 2021, https://doi.org/10.1613/jair.1.12125): a
picture is suspect when another class than its own is the most probable of those that reach what
they usually reach on their own pictures; the list is ranked by the margin between the two.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelError:
    """A picture whose label is likely wrong.

    Attributes:
        place: Its position among the audited files.
        given: Its label.
        likely: The class that it is taken for.
        score: By how much the likely class is more probable than the given one, up to 1.
    """

    place: int
    given: str
    likely: str
    score: float


@dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """What predictions say about the labels.

    Attributes:
        ranked: The likely errors, the likeliest first; copies of one slice share a score.
        predicted: How many of the files have a prediction.
        agreeing: How many of these are predicted as they are labelled.
        learned_from: How many of these have a near-duplicate or their patient among what their
            model learned from, which hides errors; None where that cannot be told.
    """

    ranked: tuple[LabelError, ...]
    predicted: int
    agreeing: int
    learned_from: int | None

    def to_json(self, names: Sequence[str]) -> dict[str, object]:
        """Return plain values; names are the audited files'."""
        return {
            "predicted": self.predicted,
            "agreeing": self.agreeing,
            "learned_from": self.learned_from,
            "ranked": self.rows(names),
        }

    def rows(self, names: Sequence[str]) -> list[dict[str, str | float]]:
        """Return the ranking as a table, `file, class, likely, score`.

        Args:
            names: The audited files' names.
        """
        return [
            {
                "file": names[item.place],
                "class": item.given,
                "likely": item.likely,
                "score": round(item.score, 4),
            }
            for item in self.ranked
        ]


def rank_label_errors(
    labels: NDArray[np.intp],
    probabilities: NDArray[np.float64],
    *,
    clusters: Sequence[Hashable],
    groups: Sequence[Hashable],
) -> list[tuple[int, int, float]]:
    """Rank likely label errors by confident learning.

    Copies of a slice are one slice: they share their mean probabilities. What a class usually
    reaches is a mean over patients, not over slices, so that none with many slices decides.

    Args:
        labels: Given classes as column numbers, `[N]`.
        probabilities: Out of fold, `[N, C]`.
        clusters: Pictures with the same one show one slice, length N.
        groups: Patients, length N.

    Returns:
        Row, likely class and score (the margin) of each suspect, the highest score first.
    """
    _, cluster = np.unique([str(name) for name in clusters], return_inverse=True)
    sums = np.zeros((len(labels), probabilities.shape[1]))
    np.add.at(sums, cluster, probabilities)
    shared = (sums / np.maximum(np.bincount(cluster, minlength=len(labels)), 1)[:, None])[cluster]
    rows = list(zip(groups, cluster.tolist(), labels.tolist(), strict=True))
    copies = Counter(rows)
    slices = Counter((group, label) for group, _, label in copies)
    weights = np.array([1 / copies[row] / slices[row[0], row[2]] for row in rows])
    own = labels[:, None] == np.arange(probabilities.shape[1])
    totals = (own * weights[:, None]).sum(axis=0)
    usual = (own * weights[:, None] * shared).sum(axis=0) / np.maximum(totals, 1e-12)
    usual[totals == 0] = np.inf
    likely = np.where(shared >= usual, shared, -1).argmax(axis=1)
    every = np.arange(len(labels))
    margins = shared[every, likely] - shared[every, labels]
    suspect = (shared[every, likely] >= usual[likely]) & (likely != labels)
    return [
        (int(row), int(likely[row]), float(margins[row]))
        for row in sorted(np.flatnonzero(suspect), key=lambda row: (-margins[row], row))
    ]
