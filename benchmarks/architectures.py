"""Networks trained alike come in, a record and a plot of accuracy against latency go out.

    python benchmarks/architectures.py --data DIR [--folds 1 2] [--epochs 20]

trains every network by `architectures.toml` on the same folds, one after the other, then times all
of them in turn, one image a call in ONNX Runtime, beside ResNet-18 as published at the same input,
and writes `results/architectures.json` and the plot. What is trained already is not trained again,
so a stopped comparison goes on where it was; `--train-only` with `--networks` leaves parts of the
work to several processes.
"""

import argparse
import io
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from measure import make_run
from peers import MEASURE, entrant, in_onnx, latency_figures, write_peers
from record import ROOT, write_record
from tumorscope.cli.show import console, progress, table
from tumorscope.datasets.splits import PROTOCOLS
from tumorscope.evaluation import Predictions, score_predictions
from tumorscope.evaluation.predictions import pool
from tumorscope.export.onnx_file import build_onnx
from tumorscope.files import write_bytes
from tumorscope.latency.timing import take_turns
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import load_weights

NETWORKS = {
    "litenet": (),
    "litenet-imagenet": ("network.weights=imagenet", "network.frozen=2"),
    "litenet-imagenet-outlines": (
        "network.weights=imagenet",
        "network.frozen=2",
        "loss.outline=2.0",
    ),
    "slicenet-nano": ("network.name=slicenet", "network.size=nano"),
    "slicenet-small": ("network.name=slicenet", "network.size=small"),
    "slicenet-medium": ("network.name=slicenet", "network.size=medium"),
    "plain": ("network.name=plain",),
    "monai-resnet18": ("network.name=monai:resnet18",),
    "monai-densenet121": ("network.name=monai:densenet121",),
    "monai-efficientnet_b0": ("network.name=monai:efficientnet_b0",),
}
"""The networks, and what they change of the common recipe."""

_RECIPE = Path("benchmarks/architectures.toml")
_LEAD = 3
"""Calls before each timed one: in use a network finds the caches as it left them."""

_COLOURS = {"litenet": "#d55e00", "slicenet": "#0072b2", "plain": "#6b737c", "monai": "#009e73"}


def main() -> None:
    """Train what is not trained, time everything, write record and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", required=True, metavar="DIR", help="data sets")
    parser.add_argument("--split", default="figshare-patient", choices=sorted(PROTOCOLS))
    parser.add_argument("--folds", type=int, nargs="+", default=[1])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "architectures")
    parser.add_argument("--train-only", action="store_true", help="leave out timing and record")
    parser.add_argument("--threads", type=int, default=2, help="of the timed networks")
    parser.add_argument("--calls", type=int, default=200, help="timed calls of each network")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs/pictures/architectures.png")
    parser.add_argument("--name", help="of a record beside the first, architectures_NAME; no plot")
    options = parser.parse_args()
    common = [f"training.epochs={options.epochs}", f"training.seed={options.seed}", *options.set]
    runs: dict[str, list[RunFolder]] = {}
    for name in options.networks:
        for fold in options.folds:
            folder = options.runs / name / f"fold-{fold}"
            make_run(
                folder,
                recipe=str(ROOT / _RECIPE),
                overrides=[*NETWORKS[name], *common],
                split=options.split,
                data=options.data,
                fold=fold,
            )
            runs.setdefault(name, []).append(RunFolder(folder))
    if options.train_only:
        return
    latencies = time_networks(runs, options.threads, options.calls)
    networks = {name: {**pooled(runs[name]), **latencies[name]} for name in runs}
    size = runs[options.networks[0]][0].recipe().input.size
    show(networks)
    if not options.name:
        write_bytes(options.plot, draw(networks, size))
    facts = runs[options.networks[0]][0].data()
    changes = "".join(f" --set {field}" for field in options.set)
    if options.networks != list(NETWORKS):
        changes += f" --networks {' '.join(options.networks)}"
    if options.name:
        changes += f" --name {options.name}"
    write_record(
        f"architectures_{options.name}" if options.name else "architectures",
        command="python benchmarks/architectures.py --data" + " DIR" * len(options.data)
        + f" --split {options.split} --folds {' '.join(map(str, options.folds))} "
        f"--epochs {options.epochs} --seed {options.seed}{changes}",
        figures={
            "split": options.split,
            "folds": options.folds,
            "input_size": size,
            "epochs": options.epochs,
            "recipe": str(_RECIPE),
            "threads": options.threads,
            "latency_of": MEASURE,
            "networks": networks,
        },
        seeds=[options.seed],
        n=next(iter(networks.values()))["n"],
        data_fingerprint=facts["fingerprint"],
    )  # fmt: skip


def pooled(runs: Sequence[RunFolder]) -> dict[str, object]:
    """Return a network's figures over its folds."""
    tables = [Predictions.load(run.path / "predictions.csv") for run in runs]
    level = score_predictions(pool(tables), title="", facts={}).images
    names = ("accuracy", "balanced_accuracy", "ece", "miss_rate")
    network = load_weights(runs[0].weights_file).network
    speeds = [row["images_per_second"] for run in runs for row in run.history()]
    return {
        "network": runs[0].recipe().network.model_dump(),
        "outline_loss": runs[0].recipe().loss.outline,
        "n": level.n,
        "groups": level.groups,
        **{name: level.metrics[name] for name in names},
        "interval": {name: level.interval[name] for name in names},
        "parameters": sum(value.numel() for value in network.parameters()),
        "training_images_per_second": round(statistics.median(speeds), 1),
    }


def time_networks(
    runs: dict[str, list[RunFolder]], threads: int, calls: int
) -> dict[str, dict[str, float]]:
    """Time the exported networks of the first fold in turn, and ResNet-18 as published."""
    with tempfile.TemporaryDirectory() as place:
        folder, entrants = Path(place), []
        for name, (first, *_) in runs.items():
            trained = load_weights(first.weights_file)
            onnx.save(build_onnx(trained, batch=1), folder / f"{name}.onnx")
            entrants.append(entrant(name, folder / f"{name}.onnx"))
        side = entrants[0].shape[-1]
        every = [*entrants, *write_peers(folder, names=(MEASURE,), side=side)]
        asks = {each.name: in_onnx(each, threads) for each in every}
        seconds = take_turns(asks, rounds=calls, lead=_LEAD, progress=progress)
    return {
        each.name: {
            "multiply_adds": each.multiply_adds,
            **latency_figures(seconds[each.name], seconds[MEASURE]),
        }
        for each in entrants
    }


def draw(networks: dict[str, dict[str, object]], size: int) -> bytes:
    """Draw accuracy, with its interval, against latency as a PNG file."""
    figure = Figure(figsize=(7.6, 5.0), layout="constrained")
    axes = figure.add_subplot()
    taken: list[tuple[float, float]] = []
    for name, found in sorted(networks.items(), key=lambda item: -item[1]["accuracy"]):
        colour = _COLOURS[name.split("-")[0]]
        low, high = (100 * end for end in found["interval"]["accuracy"])
        place = found["of_resnet18"], 100 * found["accuracy"]
        axes.plot([place[0]] * 2, [low, high], color=colour, alpha=0.3, linewidth=1.5)
        axes.plot(*place, "o", color=colour, markersize=7)
        # Below its point where a name stands right above.
        near = any(abs(x / place[0] - 1) < 0.3 and y - place[1] < 2 for x, y in taken)
        taken.append(place)
        axes.annotate(
            name,
            place,
            xytext=(6, -11 if near else 4),
            textcoords="offset points",
            color=colour,
            size=8.5,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    times = [found["of_resnet18"] for found in networks.values()]
    axes.set_xlim(min(times) / 1.5, max(times) * 4)  # Names stand to the right of the points.
    axes.set_xlabel(f"time of one image on a CPU, published ResNet-18 at {size} pixels = 1")
    axes.set_ylabel("accuracy in %, 95 % interval")
    axes.grid(color="#e3e6ea")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


def show(networks: dict[str, dict[str, object]]) -> None:
    """Print accuracies and ratios."""
    rows = [
        [
            name,
            f"{found['accuracy']:.1%}",
            f"{found['median_ms']:.2f}",
            f"{found['of_resnet18']:.2f}",
        ]
        for name, found in networks.items()
    ]
    console().print(table("Networks", ["network", "accuracy", "ms", f"of {MEASURE}"], rows))


if __name__ == "__main__":
    main()
