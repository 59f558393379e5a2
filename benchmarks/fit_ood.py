"""Fits the OOD score of the bundled model, and finds its limit on places that it has not seen.

    python benchmarks/fit_ood.py RUN --data ROOT --out RUN --version VERSION
    tumorscope export RUN --name tumorscope-edge --out tumorscope-edge.onnx

RUN is what `bundle_model.py` wrote. The score is fitted to its training slices. The limit is the
lowest that 99 % of the slices of its validation pass, and 98 % of those of each hospital of
`lgg_tcga` and of `other_scanners` by a score that was fitted without them all. By this limit is
counted, too, how much is refused of each place, and of kinds of made-up outliers, that a score did
without. No external set is read. The record is `results/ood_limit.json`.
"""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bundle_model import FEWEST, not_learned, sets_of, share
from ood import look
from record import write_record
from tumorscope.cli.show import progress
from tumorscope.datasets.catalogue import Slice
from tumorscope.datasets.inputs import read_inputs
from tumorscope.datasets.sources import read_data
from tumorscope.files import write_text
from tumorscope.networks.ood_score import OodScore
from tumorscope.training.outliers import KINDS, draw_outliers
from tumorscope.training.recipe import load_recipe
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import FITTED, load_weights, save_weights

_HARMLESS = {"validation": 0.01, "place": 0.02}
"""The share of slices that may be refused: of new patients, and of a new place."""
_TUMOUR_SETS = ("lgg_tcga", "other_scanners")
"""Their places set the limit. Healthy heads do not: they come from two places, of which one tells
too little of the other."""

Features = NDArray[np.float32]


def main() -> None:
    """Write the run folder and the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--version", required=True, help="the model's new version")
    options = parser.parse_args()
    run = RunFolder(options.run)
    trained = load_weights(run.weights_file)
    size = trained.description.input_size
    names = load_recipe("edge").training.shares
    slices = read_data([options.data / name for name in names], progress=progress).slices
    learned = run.part("train")
    train = [item for item in slices if (item.source, item.name) in learned and not item.doubt]
    order = np.random.default_rng(0).permutation(len(train))[:FITTED]
    inputs = read_inputs([train[at] for at in order], size=size, progress=progress)
    held = read_inputs(not_learned(slices, run, strangers=False), size=size, progress=progress)
    trained.fit_ood_score(inputs.grey)
    own = trained.ood_score(held.grey)
    assert own is not None
    features = look(trained, inputs.grey).features
    outliers = look(trained, draw_outliers(inputs.grey, len(features))).features
    places = np.array([_place(item) for item in inputs.slices])
    of_tumours = np.isin([item.source for item in inputs.slices], _TUMOUR_SETS)
    scores = _scores(features[~of_tumours], outliers, features[of_tumours])
    by_place = {place: scores[places[of_tumours] == place] for place in _large(places[of_tumours])}
    limit = max(
        float(np.quantile(own, 1 - _HARMLESS["validation"])),
        *(float(np.quantile(each, 1 - _HARMLESS["place"])) for each in by_place.values()),
    )
    limit = round(limit, 4)
    validation = {key: share(own[chosen] > limit) for key, chosen in sets_of(held.slices).items()}
    place_refused = {place: share(each > limit) for place, each in by_place.items()}
    for place in _large(places[~of_tumours]):
        left = places == place
        found = _scores(features[~left], outliers, features[left])
        place_refused[place] = share(found > limit)
    description = replace(trained.description, ood_threshold=limit)
    shutil.copytree(run.path, options.out)
    out = RunFolder(options.out)
    save_weights(out.weights_file, replace(trained, description=description))
    write_text(
        out.data_file, json.dumps({**run.data(), "version": options.version}, indent=2) + "\n"
    )
    write_record(
        "ood_limit",
        command="python benchmarks/fit_ood.py RUN --data ROOT --out RUN --version VERSION",
        figures={
            "version": options.version,
            "limit": limit,
            "refused of validation": validation,
            "refused of a place that the score did without": place_refused,
            "refused of kinds of outliers that the score did without": _kinds(
                features, outliers, limit
            ),
        },
        seeds=[0],
        n=len(features) + len(outliers) + len(held.grey),
        data_fingerprint=run.data()["fingerprint"],
    )


def _place(item: Slice) -> str:
    """Return where a slice comes from, as far as that is known."""
    if item.source == "healthy_t1":
        return item.group.partition("/")[0]
    return " ".join(filter(None, (item.source, item.hospital)))


def _large(places: NDArray[np.str_]) -> list[str]:
    """Return the places of enough slices, in order."""
    names, counts = np.unique(places, return_counts=True)
    return [str(name) for name in names[counts >= FEWEST]]


def _scores(inside: Features, outliers: Features, asked: Features) -> NDArray[np.float32]:
    """Return the scores `[N]` of some features by a score that is fitted to others."""
    score = OodScore(*inside.shape[1:])
    score.fit(inside, outliers)
    return np.asarray(score(torch.from_numpy(asked)).numpy())


def _kinds(features: Features, outliers: Features, limit: float) -> float | None:
    """Return the share of outliers that is refused, two kinds at a time being left out."""
    kinds = np.arange(len(outliers)) % len(KINDS)
    refused = []
    for first in range(0, len(KINDS), 2):
        left = np.isin(kinds, (first, first + 1))
        refused.append(_scores(features, outliers[~left], outliers[left]) > limit)
    return share(np.concatenate(refused))


if __name__ == "__main__":
    main()
