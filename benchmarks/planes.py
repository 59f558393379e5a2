"""Measures evaluated runs of `figshare-patient` plane by plane.

    python benchmarks/planes.py RUN... --data ROOT

writes `results/planes.json`. Nobody published the planes of the figshare slices. A linear
classifier learns them from the healthy heads, whose planes are known, on features of a network for
photographs, and then from the figshare slices that it is sure of. `benchmarks/planes.csv` holds
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

from record import ROOT, write_record
from tumorscope.evaluation import Predictions
from tumorscope.evaluation.planes import score_by_plane, tell_planes
from tumorscope.images import prepare, read_slice
from tumorscope.networks.litenet import LiteNet

_SIZE = 160


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
    planes = tell_planes(known, np.array([row["plane"] for row in healthy]), _features(paths))
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


def _by_plane(run: Path, plane_of: dict[str, str]) -> dict[str, dict[str, object]]:
    table = Predictions.load(run / "predictions.csv")
    levels = score_by_plane(table, [plane_of[Path(name).stem] for name in table.names])
    return {
        plane: {
            "n": images.n,
            "groups": images.groups,
            "accuracy": images.metrics["accuracy"],
            "interval": images.interval["accuracy"],
        }
        for plane, images in levels.items()
    }


if __name__ == "__main__":
    main()
