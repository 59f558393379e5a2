"""Trained networks come in, a record of what they make of corrupted slices goes out.

    python benchmarks/corruptions.py RUN
    python benchmarks/corruptions.py MODEL --data DIR --split kaggle-official

writes `results/corruptions_NAME.json`. Every slice of the test part gets each fault of
`tumorscope.evaluation.corruptions` at five strengths, as it was read, before the preparation. RUN
is what `train` or `crossval` left: the network of a fold judges its own test part only. Refusals
play no part: the most probable class counts.
"""

import argparse
import io
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from measure import runs_in
from record import write_record
from tumorscope.cli.show import console, progress, table
from tumorscope.datasets.catalogue import Slice, slice_name
from tumorscope.datasets.locations import data_paths
from tumorscope.datasets.sources import read_data, read_set
from tumorscope.datasets.splits import PROTOCOLS, partition
from tumorscope.evaluation import Predictions
from tumorscope.evaluation.corruptions import KINDS, STRENGTHS, corrupt
from tumorscope.files import write_bytes
from tumorscope.images import prepare, read_slice
from tumorscope.inference import Classifier
from tumorscope.training.trained_network import load_weights

_CONDITIONS = [None, *((kind, strength) for kind in KINDS for strength in STRENGTHS)]
"""The clean slice, and every fault at every strength."""

_RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Judge:
    """A network and what it is judged on.

    Attributes:
        classes: In the order of its answers.
        size: Side of its input in pixels.
        ask: From inputs, uint8 `[N, S, S]`, to probabilities or logits `[N, classes]`.
        slices: Its test part; all with a group.
    """

    classes: tuple[str, ...]
    size: int
    ask: Callable[[NDArray[np.uint8]], NDArray[np.floating]]
    slices: tuple[Slice, ...]


def main() -> None:
    """Judge everything and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a run folder, an ONNX file or a bundled model's name")
    parser.add_argument("--data", type=Path, action="append", help="of an ONNX file: the data sets")
    parser.add_argument("--split", choices=sorted(PROTOCOLS), help="of an ONNX file: how it tests")
    parser.add_argument("--fold", type=int, default=1, help="of an ONNX file: the fold that tests")
    parser.add_argument("--limit", type=int, help="so many slices, of as many groups as can be")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", help="part of the record's name (default: the model's)")
    parser.add_argument("--plot", type=Path, help="draw accuracy against strength as a PNG file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    source = Path(options.model)
    command = f"python benchmarks/corruptions.py {source.name}"
    if source.is_dir():
        judges, split, fingerprint = read_runs(source)
    elif options.split:
        judges, fingerprint = read_model(options)
        split = options.split
        folds = PROTOCOLS[split].kind == "folds"
        command += f" --data DIR --split {split}" + f" --fold {options.fold}" * folds
    else:
        parser.error("an ONNX file needs --split")
    if options.limit:
        judges = limit_slices(judges, options.limit, options.seed)
        command += f" --limit {options.limit}"
    slices = [item for judge in judges for item in judge.slices]
    right = np.concatenate([find_right(judge, options.seed) for judge in judges], axis=1)
    figures = {
        "model": source.name,
        "split": split,
        **sum_up(right, [item.group for item in slices], options.seed),
        "n_by_class": dict(sorted(Counter(item.label for item in slices).items())),
    }
    if options.plot:
        write_bytes(options.plot, draw(figures))
    show(figures)
    write_record(
        f"corruptions_{options.name or source.stem}",
        command=f"{command} --seed {options.seed}",
        figures=figures,
        seeds=[options.seed],
        n=len(slices),
        data_fingerprint=fingerprint,
    )


def read_runs(folder: Path) -> tuple[list[Judge], str, str]:
    """Return the network of each fold with its own test part, the split and the fingerprint."""
    runs = runs_in(folder)
    facts = runs[0].data()
    found = {
        slice_name(item): item for path in facts["data"] for item in read_set(Path(path)).slices
    }
    judges = []
    for run in runs:
        trained = load_weights(run.weights_file)
        tested = Predictions.load(run.path / "predictions.csv")
        judges.append(
            Judge(
                classes=trained.description.classes,
                size=trained.description.input_size,
                ask=trained.probabilities,
                slices=tuple(
                    replace(found[name], group=group)
                    for name, group in zip(tested.names, tested.groups, strict=True)
                ),
            )
        )
    return judges, facts["split"], facts["fingerprint"]


def read_model(options: argparse.Namespace) -> tuple[list[Judge], str]:
    """Return an ONNX file's network with the test part of a split, and the fingerprint."""
    classifier = Classifier.load(options.model, threads=options.threads)
    catalogue = read_data(data_paths(options.data, options.split), progress=progress)
    parts = partition(catalogue, split=options.split, fold=options.fold)
    judge = Judge(
        classes=classifier.facts.classes,
        size=classifier.facts.input_size,
        ask=classifier.probabilities,
        slices=parts.test,
    )
    return [judge], catalogue.fingerprint()


def limit_slices(judges: Sequence[Judge], limit: int, seed: int) -> list[Judge]:
    """Keep about so many slices: each class its share, its groups in turn a slice each."""
    every = [item for judge in judges for item in judge.slices]
    turns: Counter[tuple[str, str]] = Counter()
    by_class: dict[str, list[tuple[int, str]]] = {}
    for row in np.random.default_rng(seed).permutation(len(every)):
        item = every[row]
        turns[item.label, item.group] += 1
        by_class.setdefault(item.label, []).append(
            (turns[item.label, item.group], slice_name(item))
        )
    kept = set()
    for ranked in by_class.values():
        count = round(limit * len(ranked) / len(every))
        # (Python's sort keeps the order that was drawn among those of one turn.)
        kept.update(name for _, name in sorted(ranked, key=lambda item: item[0])[:count])
    return [
        replace(judge, slices=tuple(item for item in judge.slices if slice_name(item) in kept))
        for judge in judges
    ]


def find_right(judge: Judge, seed: int) -> NDArray[np.bool_]:
    """Tell which slices are sorted right, shape `[conditions, N]`."""
    greys = [read_slice(item.path) for item in judge.slices]
    seeds = [zlib.crc32(f"{seed}/{slice_name(item)}".encode()) for item in judge.slices]
    truth = np.array([judge.classes.index(item.label) for item in judge.slices], dtype=np.intp)
    right = np.empty((len(_CONDITIONS), len(greys)), dtype=np.bool_)
    inputs = np.empty((len(greys), judge.size, judge.size), dtype=np.uint8)
    rows = progress(range(len(_CONDITIONS)), total=len(_CONDITIONS), label="judging faults")
    for row in rows:
        fault = _CONDITIONS[row]
        for number, grey in enumerate(greys):
            changed = corrupt(grey, *fault, seeds[number]) if fault else grey
            inputs[number] = prepare(changed, judge.size)
        right[row] = judge.ask(inputs).argmax(axis=1) == truth
    return right


def sum_up(right: NDArray[np.bool_], groups: Sequence[str], seed: int) -> dict[str, object]:
    """Return accuracies, and what is kept of the clean one, with an interval over groups."""
    names, number = np.unique(np.array(groups), return_inverse=True)
    sums = np.zeros((len(names), len(right)))
    np.add.at(sums, number, right.T)
    chance = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), chance, size=_RESAMPLES) @ sums
    kept = drawn[:, 1:].mean(axis=1) / drawn[:, 0]
    accuracy = right.mean(axis=1)
    faulty = accuracy[1:].reshape(len(KINDS), len(STRENGTHS))
    return {
        "groups": len(names),
        "clean": round(float(accuracy[0]), 6),
        "mean_kept": round(float(faulty.mean() / accuracy[0]), 6),
        "mean_kept_interval": [round(float(end), 6) for end in np.percentile(kept, (2.5, 97.5))],
        "kept": {
            kind: round(float(values.mean() / accuracy[0]), 6)
            for kind, values in zip(KINDS, faulty, strict=True)
        },
        "accuracy": {
            kind: [round(float(value), 6) for value in values]
            for kind, values in zip(KINDS, faulty, strict=True)
        },
    }


def draw(figures: dict[str, object]) -> bytes:
    """Draw accuracy against strength, a line a fault, as a PNG file."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for (kind, values), marker in zip(figures["accuracy"].items(), "os^vDP*", strict=True):
        steps, shares = (0, *STRENGTHS), [figures["clean"], *values]
        axes.plot(steps, [100 * share for share in shares], marker=marker, label=kind)
    axes.set_xlabel("strength of the fault (0: none)")
    axes.set_ylabel("accuracy in %")
    axes.grid(color="#e3e6ea")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


def show(figures: dict[str, object]) -> None:
    """Print the accuracies."""
    rows = [
        [kind, f"{figures['kept'][kind]:.1%}", *(f"{value:.1%}" for value in values)]
        for kind, values in figures["accuracy"].items()
    ]
    title = f"{figures['model']}: clean {figures['clean']:.1%}, kept {figures['mean_kept']:.1%}"
    console().print(table(title, ["fault", "kept", *map(str, STRENGTHS)], rows))


if __name__ == "__main__":
    main()
