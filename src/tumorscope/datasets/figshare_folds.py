"""The two partitions that the figshare set's authors published, by their patient IDs.

`cvind` comes with the data set (`cvind.mat`) and is the one that published results use;
`cvind5fold` comes with the authors' later code for retrieval.
"""

import csv
import functools
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import NamedTuple


class FigshareFolds(NamedTuple):
    """A patient's fold, 1 to 5, in each of the two partitions."""

    cvind: int
    cvind5fold: int


@functools.cache
def figshare_folds() -> Mapping[str, FigshareFolds]:
    """Return the folds of the 233 patients, by the published patient ID."""
    table = resources.files("tumorscope.datasets") / "manifests" / "figshare_folds.csv"
    rows = csv.DictReader(table.read_text("utf-8").splitlines())
    return MappingProxyType(
        {row["patient"]: FigshareFolds(int(row["cvind"]), int(row["cvind5fold"])) for row in rows}
    )
