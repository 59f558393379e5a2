"""Measures how well facts about the files alone predict the class.

A class that can be told from the size, the mode or the border of a file can be told without
looking at the brain: a network trained on such files may learn just that.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from tumorscope.audit.file_facts import FACT_NAMES, FileFacts

FOLDS: Final = 5
"""Parts of the cross-validation; a class needs as many groups."""

_SEED: Final = 0

ALL_FACTS: Final = "all file facts"


@dataclass(frozen=True)
class Shortcut:
    """How well a fact predicts the class.

    Attributes:
        fact: Name of the fact, one of `FACT_NAMES`' values, or `ALL_FACTS`.
        balanced_accuracy: Mean sensitivity over the classes in cross-validation by group.
        chance: What guessing reaches: one by the number of classes.
    """

    fact: str
    balanced_accuracy: float
    chance: float

    @property
    def skill(self) -> float:
        """The way from chance (0) to always right (1)."""
        return (self.balanced_accuracy - self.chance) / (1 - self.chance)


def find_shortcuts(
    facts: Sequence[FileFacts], labels: Sequence[str], groups: Sequence[str]
) -> tuple[Shortcut, ...]:
    """Predict the class from file facts alone, in cross-validation that keeps groups together.

    All facts together go into a random forest, each fact alone into a small decision tree.

    Args:
        facts: One a file.
        labels: The class of each file, in the same order.
        groups: The patient or near-duplicate cluster of each file, in the same order.

    Returns:
        All facts together first, then the single facts, the strongest first. Empty when fewer
        than two classes have five groups each; rarer classes are left out.
    """
    classes, groups_ = np.asarray(labels), np.asarray(groups)
    common = sorted(set(labels) - set(rare_classes(labels, groups)))
    if len(common) < 2:
        return ()
    kept = np.isin(classes, common)
    table, classes, groups_ = _table(facts)[kept], classes[kept], groups_[kept]
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=_SEED)
    folds = list(splitter.split(table, classes, groups_))
    chance = 1 / len(common)

    def measure(name: str, model: Any, columns: NDArray[np.float64]) -> Shortcut:
        predicted = cross_val_predict(model, columns, classes, cv=folds)
        return Shortcut(name, float(balanced_accuracy_score(classes, predicted)), chance)

    forest = RandomForestClassifier(
        100, min_samples_leaf=3, class_weight="balanced", random_state=_SEED, n_jobs=2
    )
    tree = DecisionTreeClassifier(
        max_leaf_nodes=32, min_samples_leaf=3, class_weight="balanced", random_state=_SEED
    )
    single = [
        measure(name, tree, table[:, [column]]) for column, name in enumerate(FACT_NAMES.values())
    ]
    single.sort(key=lambda shortcut: -shortcut.balanced_accuracy)
    return measure(ALL_FACTS, forest, table), *single


def rare_classes(labels: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Return the classes that `find_shortcuts` leaves out: too few groups to be cross-validated.

    Args:
        labels: The class of each file.
        groups: The patient or near-duplicate cluster of each file, in the same order.
    """
    pairs = Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    return sorted(name for name, count in pairs.items() if count < FOLDS)


def _table(facts: Sequence[FileFacts]) -> NDArray[np.float64]:
    """Return the facts as numbers, one row a file; modes are numbered in alphabetical order."""
    modes = sorted({item.mode for item in facts})
    return np.array(
        [
            [modes.index(value) if isinstance(value, str) else value for value in astuple(item)]
            for item in facts
        ],
        dtype=np.float64,
    )
