"""Judged runs of `figshare-patient` come in, a record of how they do plane by plane goes out.

    python benchmarks/planes.py RUN... --data ROOT

writes `results/planes.json`. Nobody published the planes of the figshare slices. A linear
classifier learns them from the healthy heads, whose planes are known, on features of a network for
photographs, and then from the figshare slices that it is surest of. `benchmarks/planes.csv` holds
120 slices told by eye, on which it is checked.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from record import ROOT, write_record
from tumorscope.evaluation import Predictions, score_predictions
from tumorscope.images import prepare, read_slice
from tumorscope.networks.litenet import LiteNet

_SIZE = 160
_ROUNDS, _SURE = 3, 0.8
"""Rounds of learning from the figshare slices whose plane has at least this probability."""


def main() -> None:
    """Tell the planes, check them, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    options = parser.parse_args()
    with (options.data / "healthy_t1/index.csv").open(newline="") as file:
        healthy = list(csv.DictReader(file))
    known = _features([options.data / "healthy_t1" / row["file"] for row in healthy])
    paths = sorted((options.data / "figshare/images").glob("*.jpg"))
    planes = _tell(known, np.array([row["plane"] for row in healthy]), _features(paths))
    plane_of = {path.stem: plane for path, plane in zip(paths, planes, strict=True)}
    with (ROOT / "benchmarks/planes.csv").open(newline="") as file:
        seen = [(f"{int(row['index']):04d}", row["plane"]) for row in csv.DictReader(file)]
    first = json.loads((options.runs[0] / "evaluation.json").read_text())
    write_record(
        "planes",
        command="python benchmarks/planes.py RUN... --data ROOT",
        figures={
            "told_by_eye": len(seen),
            "of_these_told_alike": sum(plane_of[stem] == plane for stem, plane in seen),
            "runs": {run.name: _by_plane(run, plane_of) for run in options.runs},
        },
        seeds=[0],
        n=len(paths),
        data_fingerprint=first["facts"]["data fingerprint"],
    )


def _features(paths: Sequence[Path]) -> NDArray[np.float32]:
    """Return what a network for photographs sees in the four quarters of each slice."""
    network = LiteNet()
    network.load_imagenet()
    network.eval()
    found = []
    with torch.inference_mode():
        for path in paths:
            grey = torch.from_numpy(prepare(read_slice(path), _SIZE))[None, None].float()
            maps = network.trunk_maps(grey)[1]
            found.append(torch.nn.functional.adaptive_avg_pool2d(maps, 2).flatten().numpy())
    return np.stack(found)


def _tell(
    known: NDArray[np.float32], planes: NDArray[np.str_], asked: NDArray[np.float32]
) -> NDArray[np.str_]:
    model: Pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    model.fit(known, planes)
    for _ in range(_ROUNDS):
        chances = model.predict_proba(asked)
        told, sure = model.classes_[chances.argmax(axis=1)], chances.max(axis=1) > _SURE
        model.fit(np.concatenate([known, asked[sure]]), np.concatenate([planes, told[sure]]))
    return np.asarray(model.predict(asked))


def _by_plane(run: Path, plane_of: dict[str, str]) -> dict[str, dict[str, object]]:
    table = Predictions.load(run / "predictions.csv")
    planes = np.array([plane_of[Path(name).stem] for name in table.names])
    result: dict[str, dict[str, object]] = {}
    for plane in sorted(set(planes)):
        rows = np.flatnonzero(planes == plane)
        part = Predictions(
            classes=table.classes,
            names=tuple(table.names[row] for row in rows),
            labels=tuple(table.labels[row] for row in rows),
            groups=tuple(table.groups[row] for row in rows),
            clusters=tuple(table.clusters[row] for row in rows),
            probabilities=table.probabilities[rows],
        )
        images = score_predictions(part, title=plane, facts={}).images
        result[plane] = {
            "n": images.n,
            "groups": images.groups,
            "accuracy": images.metrics["accuracy"],
            "interval": images.interval["accuracy"],
        }
    return result


if __name__ == "__main__":
    main()
