"""Measures what about a scan, apart from the brain, tells the classes of the training data.

    python benchmarks/shortcuts.py --data ROOT

writes `results/shortcuts.json`. From each fact alone (data set and hospital, sequence, plane, rim,
sharpness, brightness) a decision tree predicts whether a slice of the recipe `edge`'s training data
shows a tumour, in cross-validation by group: the area under the ROC curve is 0.5 where the fact
says nothing. Once every slice counts the same, once as often as the recipe shows it in training.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import laplace
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import OrdinalEncoder

from record import write_record
from tumorscope.classes import NO_TUMOUR
from tumorscope.cli.show import progress
from tumorscope.datasets.catalogue import Slice
from tumorscope.datasets.inputs import read_inputs
from tumorscope.datasets.sources import read_data
from tumorscope.training.balance import slice_weights
from tumorscope.training.recipe import load_recipe

_SIDE = 128
_FOLDS = 5
_RIM = 8
"""Width of the rim of an input, in pixels."""


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    options = parser.parse_args()
    shares = load_recipe("edge").training.shares
    catalogue = read_data([options.data / name for name in shares], progress=progress)
    slices = [item for item in catalogue.slices if not item.doubt and item.split != "test"]
    inputs = read_inputs(slices, size=_SIDE, progress=progress)
    facts = _facts(inputs.slices, inputs.grey)
    weights = {
        "as they are": np.ones(len(inputs)),
        "as edge shows them": slice_weights(inputs.slices, shares),
    }
    labels = np.array([item.label != NO_TUMOUR for item in inputs.slices])
    groups = np.unique([item.group or item.name for item in inputs.slices], return_inverse=True)[1]
    found = {
        which: {name: _auc(columns, labels, groups, weight) for name, columns in facts.items()}
        for which, weight in weights.items()
    }
    write_record(
        "shortcuts",
        command="python benchmarks/shortcuts.py --data ROOT",
        figures={"auc": found, "sets": sorted(shares)},
        seeds=[0],
        n=len(inputs),
        data_fingerprint=catalogue.fingerprint(),
    )


def _facts(slices: Sequence[Slice], grey: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Return columns of numbers `[N, columns]` by the fact that they tell."""
    named = [
        ("data set and hospital", [f"{item.source} {item.hospital}" for item in slices]),
        ("sequence", [item.sequence for item in slices]),
        ("plane", [item.plane for item in slices]),
    ]
    facts = {name: OrdinalEncoder().fit_transform(np.array(each)[:, None]) for name, each in named}
    values = grey.astype(np.float32)
    rim = np.ones(grey.shape[1:], dtype=bool)
    rim[_RIM:-_RIM, _RIM:-_RIM] = False
    flat = values.reshape(len(values), -1)
    edges = np.array([np.abs(laplace(each)).mean() for each in values])
    facts["rim of the head (skull and scalp)"] = values[:, rim].mean(axis=1)[:, None]
    facts["sharpness"] = (edges / flat.std(axis=1).clip(1))[:, None]
    facts["brightness"] = np.quantile(flat, (0.25, 0.5, 0.75, 0.95), axis=1).T
    return facts | {"all together": np.concatenate(list(facts.values()), axis=1)}


def _auc(
    columns: NDArray[np.float64],
    labels: NDArray[np.bool_],
    groups: NDArray[np.intp],
    weights: NDArray[np.float64],
) -> float:
    """Return how well the columns tell slices with a tumour from those without."""
    found = np.empty(len(labels))
    splitter = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
    for train, test in splitter.split(columns, labels, groups):
        forest = RandomForestClassifier(50, min_samples_leaf=20, random_state=0, n_jobs=2)
        forest.fit(columns[train], labels[train], weights[train])
        found[test] = forest.predict_proba(columns[test])[:, 1]
    return round(float(roc_auc_score(labels, found, sample_weight=weights)), 4)


if __name__ == "__main__":
    main()
