"""Writes the leaderboard's entries, `results/leaderboard/*.json`; `make tables` shows them.

    python benchmarks/leaderboard.py classic --data ROOT
    python benchmarks/leaderboard.py records
    python benchmarks/leaderboard.py table PREDICTIONS.csv --data ROOT --split NAME --name NAME \
        --by WHO --command "python train.py" [--network NETWORK.onnx]

`classic` trains scikit-learn's classifiers on each fold and sends their predictions through
`tumorscope evaluate`, as `table` does with anybody's. `records` takes what other records in
`results/` have measured. Latency is that of one image beside ResNet-18 as published, in turn: of a
network as `architectures.py` measured it, both at 128 pixels; of scikit-learn's classifiers from
the prepared slice, ResNet-18 at 224 pixels.
"""

import argparse
import csv
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from peers import MEASURE, entrant, in_onnx, latency_figures, write_peers
from record import RESULTS, read_record, write_record
from tumorscope.cli.show import progress
from tumorscope.datasets.catalogue import Catalogue
from tumorscope.datasets.inputs import read_inputs
from tumorscope.datasets.locations import data_sources
from tumorscope.datasets.sources import read_data
from tumorscope.datasets.splits import PROTOCOLS, folds_of, partition
from tumorscope.evaluation import EvaluationResult, evaluate
from tumorscope.evaluation.predictor import LEAKED
from tumorscope.files import write_text
from tumorscope.latency.timing import take_turns

_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "ece", "miss_rate")
_ROUNDS, _LEAD = 100, 3
_FLOAT = onnx.TensorProto.FLOAT
_PLAIN = ("plain CNN", "Keras notebooks")
_PEERS = {
    "plain": _PLAIN,
    "monai-resnet18": ("ResNet-18", "MONAI"),
    "monai-densenet121": ("DenseNet121", "MONAI"),
    "monai-efficientnet_b0": ("EfficientNet-B0", "MONAI"),
}
"""The networks of `architectures.py` that are not ours: name, and whose."""

_SPLITS = ("kaggle-official", "kaggle-patient", "figshare-patient")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What stands beside the metrics of an entry.

    Attributes:
        name: What is entered.
        by: Whose method it is.
        ours: Whether it is this project's own.
        training: How it was trained, in a few words.
        command: What makes it again.
        seeds: Of the training.
        parameters: Weights; None where there are none.
        of_resnet18: Time of one image, ResNet-18 at the same input size is 1; None: not measured.
    """

    name: str
    by: str
    ours: bool
    training: str
    command: str
    seeds: Sequence[int]
    parameters: int | None = None
    of_resnet18: float | None = None


@dataclass(frozen=True)
class Classic:
    """A classifier of scikit-learn's.

    Attributes:
        name: What it is entered as.
        size: Side of the slices that it takes, in pixels.
        features: From slices `[N, S, S]` to features `[N, F]`.
        build: Makes a new classifier.
        scores: Whether it gives scores, not probabilities.
    """

    name: str
    size: int
    features: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    build: Callable[[], Any]
    scores: bool = False


def pixels(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the pixels as they are."""
    return grey.reshape(len(grey), -1).astype(np.float32) / 255


def gradients(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return histograms of oriented gradients (Dalal & Triggs 2005).

    Cells of 8 x 8 pixels, 9 orientations, blocks of 2 x 2 cells.
    """
    down, across = np.gradient(grey.astype(np.float32), axis=(1, 2))
    length = np.hypot(down, across)
    number = np.minimum((np.arctan2(down, across) % np.pi) / np.pi * 9, 8).astype(int)
    count, side = len(grey), grey.shape[1] // 8
    cells = np.stack(
        [
            np.where(number == each, length, 0).reshape(count, side, 8, side, 8).sum(axis=(2, 4))
            for each in range(9)
        ],
        axis=-1,
    )
    blocks = np.concatenate(
        [cells[:, :-1, :-1], cells[:, 1:, :-1], cells[:, :-1, 1:], cells[:, 1:, 1:]], axis=-1
    )
    blocks /= np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + 1e-3)
    return np.asarray(blocks.reshape(count, -1), dtype=np.float32)


CLASSICS = {
    "logistic": Classic(
        "logistic regression on 32 x 32 pixels",
        32,
        pixels,
        lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300)),
    ),
    "hog-svm": Classic(
        "linear SVM on gradient histograms (HOG), 64 x 64 pixels",
        64,
        gradients,
        lambda: make_pipeline(StandardScaler(), LinearSVC(C=1e-3, random_state=0)),
        scores=True,
    ),
    "nearest": Classic(
        "nearest neighbour of 32 x 32 pixels", 32, pixels, lambda: KNeighborsClassifier(1)
    ),
}


def main() -> None:
    """Write entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    classic = commands.add_parser("classic")
    classic.add_argument("names", nargs="*", default=list(CLASSICS), help=", ".join(CLASSICS))
    classic.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    classic.add_argument("--splits", nargs="+", default=_SPLITS)
    commands.add_parser("records")
    table = commands.add_parser("table")
    table.add_argument("table", type=Path, help="a CSV file as docs/evaluate.md describes")
    table.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    table.add_argument("--split", required=True, choices=sorted(PROTOCOLS))
    table.add_argument("--fold", type=int)
    table.add_argument("--command", required=True, help="what makes the predictions again")
    table.add_argument("--seed", type=int, default=0)
    table.add_argument("--network", type=Path, help="as an ONNX file, to be counted and timed")
    table.add_argument("--name", required=True)
    table.add_argument("--by", required=True, help="whose method it is")
    table.add_argument("--training", default="", help="how it was trained, in a few words")
    options = parser.parse_args()
    {"classic": add_classics, "records": add_records, "table": add_table}[options.what](options)


def add_classics(options: argparse.Namespace) -> None:
    """Train scikit-learn's classifiers on every fold, and evaluate their CSV files."""
    for split in options.splits:
        catalogue = read_data(data_sources([options.data], split), progress=progress)
        for name in options.names:
            classic = CLASSICS[name]
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / f"{name}.csv"
                model = _predict_folds(classic, catalogue, split, file)
                result = evaluate(file, data=options.data, split=split, progress=progress)
            write_entry(
                f"{name}_{split}",
                Entry(
                    name=classic.name,
                    by="scikit-learn",
                    ours=False,
                    training="training and validation part, defaults but for C",
                    command=f"python benchmarks/leaderboard.py classic {name} --data ROOT "
                    f"--splits {split}",
                    seeds=[0],
                    parameters=_parameters(model),
                    of_resnet18=_time_classic(classic, model),
                ),
                result,
            )


def _predict_folds(classic: Classic, catalogue: Catalogue, split: str, file: Path) -> Any:
    """Write the predictions for the test parts of all folds; return the last fold's classifier."""
    inputs = read_inputs(catalogue.slices, size=classic.size, progress=progress)
    features = classic.features(inputs.grey)
    row_of = {(item.source, item.name): row for row, item in enumerate(inputs.slices)}
    rows: list[list[object]] = []
    for fold in folds_of(catalogue, split):
        parts = partition(catalogue, split=split, fold=fold)
        learned = [
            row_of[item.source, item.name]
            for item in (*parts.train, *parts.validation)
            if item.label in parts.classes
        ]
        labels = [inputs.slices[row].label for row in learned]
        model = classic.build().fit(features[learned], labels)
        answer = model.decision_function if classic.scores else model.predict_proba
        values = answer(features[[row_of[item.source, item.name] for item in parts.test]])
        rows += [[item.name, *each] for item, each in zip(parts.test, values, strict=True)]
    prefix = "score_" if classic.scores else ""
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([["file", *(prefix + c for c in model.classes_)], *rows])
    return model


def _parameters(model: Any) -> int | None:
    last = model[-1] if hasattr(model, "steps") else model
    return int(last.coef_.size + last.intercept_.size) if hasattr(last, "coef_") else None


def _time_classic(classic: Classic, model: Any) -> float:
    grey = np.random.default_rng(0).integers(0, 255, (1, classic.size, classic.size), np.uint8)
    return _of_resnet18(lambda: model.predict(classic.features(grey)), 224)


def _of_resnet18(ask: Callable[[], object], side: int) -> float:
    """Return the median time of a call, ResNet-18's at an input of this side is 1."""
    with tempfile.TemporaryDirectory() as folder:
        (peer,) = write_peers(Path(folder), names=(MEASURE,), side=side)
        asks = {"entry": ask, MEASURE: in_onnx(peer, 1)}
        seconds = take_turns(asks, rounds=_ROUNDS, lead=_LEAD, progress=progress)
    return float(latency_figures(seconds["entry"], seconds[MEASURE])["of_resnet18"])


def add_records(_: argparse.Namespace) -> None:
    """Take entries from records that other benchmarks wrote."""
    for path in sorted(RESULTS.glob("architectures*.json")):
        _copy_networks(read_record(path.stem))
    networks = read_record("architectures")["figures"]["networks"]
    for recipe, split, network in (
        ("quick", "kaggle-official", "slicenet-small"),
        ("quick", "kaggle-patient", "slicenet-small"),
        ("quick", "figshare-patient", "slicenet-small"),
        ("edge", "kaggle-patient", "litenet-imagenet"),
        ("figshare", "figshare-patient", "litenet-imagenet"),
        ("figshare", "figshare-cvind", "litenet-imagenet"),
        ("figshare", "kaggle-official", "litenet-imagenet"),
        ("student", "sartaj-official", "plain"),
        ("quick", "sartaj-official", "slicenet-small"),
    ):
        source = f"{recipe}_{split}"
        record = read_record(source)
        first = record["figures"]["by_seed"][0]
        alike = networks[network]
        soup = ", mean of two networks' weights" if recipe == "figshare" else ""
        sets = ", sets added" if len(record["figures"].get("sets", [])) > 1 else ""
        ours = recipe != "student"
        title = f"recipe `{recipe}`{soup}{sets}"
        _copy_record(
            source,
            record,
            first,
            entry={
                "entry": title if ours else _PLAIN[0],
                "by": "tumorscope" if ours else _PLAIN[1],
                "ours": ours,
                "training": f"recipe `{recipe}`",
                "split": split,
                "folds": [int(fold) for fold in first["by_fold"]],
                "leaked": first["leaked"],
                "accuracy": record["figures"]["mean_accuracy"],
                "parameters": alike["parameters"],
                "of_resnet18": alike["of_resnet18"],
            },
        )


def _copy_networks(record: Mapping[str, Any]) -> None:
    """Enter each network of a record of `architectures.py`."""
    figures = record["figures"]
    for name, found in figures["networks"].items():
        ours = name not in _PEERS
        _copy_record(
            f"{name.replace(':', '-')}_{figures['split']}_{figures['epochs']}-epochs",
            record,
            found,
            entry={
                "entry": f"`{name}`" if ours else _PEERS[name][0],
                "by": "tumorscope" if ours else _PEERS[name][1],
                "ours": ours,
                "training": f"{figures['epochs']} epochs at {figures['input_size']} px, "
                "our recipe `architectures`",
                "split": figures["split"],
                "folds": figures["folds"],
                "leaked": 0,
            },
        )


def _copy_record(
    name: str, record: Mapping[str, Any], found: Mapping[str, Any], *, entry: Mapping[str, Any]
) -> None:
    """Write an entry with the command, commit, seeds and machine of the record it is from."""
    kept = ("n", "groups", *_METRICS, "parameters", "of_resnet18")
    metrics = {key: found.get(key) for key in kept}
    interval = {key: found["interval"].get(key) for key in ("accuracy",)}
    values = {**metrics, "interval": interval, **entry}
    write_text(
        RESULTS / "leaderboard" / f"{name}.json",
        json.dumps({**record, "n": found["n"], "figures": values}, indent=2) + "\n",
    )


def add_table(options: argparse.Namespace) -> None:
    """Evaluate anybody's predictions and enter them."""
    result = evaluate(options.table, data=options.data, split=options.split, fold=options.fold)
    write_entry(
        f"{options.table.stem}_{options.split}" + f"_fold-{options.fold}" * bool(options.fold),
        Entry(
            name=options.name,
            by=options.by,
            ours=False,
            training=options.training,
            command=options.command,
            seeds=[options.seed],
            **(_measured(options.network) if options.network else {}),
        ),
        result,
    )


def _measured(path: Path) -> dict[str, Any]:
    """Return parameters and latency of a network in an ONNX file."""
    weights = onnx.load(path).graph.initializer
    network = entrant(path.stem, path)
    return {
        "parameters": sum(math.prod(each.dims) for each in weights if each.data_type == _FLOAT),
        "of_resnet18": _of_resnet18(in_onnx(network, 1), network.shape[-1]),
    }


def write_entry(name: str, entry: Entry, result: EvaluationResult) -> None:
    """Write an entry's record."""
    metrics = result.to_json()
    folds = sorted(set(result.predictions.folds))
    write_record(
        f"leaderboard/{name}",
        command=entry.command,
        figures={
            "entry": entry.name,
            "by": entry.by,
            "ours": entry.ours,
            "training": entry.training,
            "split": metrics["facts"]["protocol"],
            "folds": [int(fold) for fold in folds],
            "n": metrics["n"],
            "groups": metrics["groups"],
            **{key: metrics[key] for key in _METRICS},
            "interval": {"accuracy": metrics["interval"]["accuracy"]},
            "leaked": metrics["facts"][LEAKED],
            "parameters": entry.parameters,
            "of_resnet18": entry.of_resnet18,
        },
        seeds=entry.seeds,
        n=metrics["n"],
        data_fingerprint=metrics["facts"]["data fingerprint"],
    )
    print(f"{entry.name}: {result.summary[0]}")


if __name__ == "__main__":
    main()
