"""Measures what corrupted slices cost trained networks.

    python benchmarks/corruptions.py RUN
    python benchmarks/corruptions.py MODEL --data DIR --split kaggle-official

writes `results/corruptions_NAME.json`. Every slice of the test part gets each corruption of
`tumorscope.evaluation.corruptions` at five severities. RUN is what `train` or `crossval` left: the
network of a fold is tested on its own test part only.
"""

import argparse
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from measure import runs_in
from record import write_record
from tumorscope.cli.show import console, progress, table
from tumorscope.datasets.catalogue import Slice, slice_name
from tumorscope.datasets.locations import data_sources
from tumorscope.datasets.sources import read_data, read_set
from tumorscope.datasets.splits import PROTOCOLS, partition
from tumorscope.evaluation import Predictions
from tumorscope.evaluation.corruptions import SEVERITIES
from tumorscope.evaluation.evaluate import as_predictor
from tumorscope.evaluation.predictor import Predictor
from tumorscope.evaluation.robustness import measure_robustness
from tumorscope.files import write_bytes
from tumorscope.training.run_evaluation import RunPredictor

Test = tuple[Predictor, tuple[Slice, ...]]
"""A model and the slices that it is tested on, all with a group."""


def main() -> None:
    """Measure everything and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a run folder, an ONNX file or a bundled model's name")
    parser.add_argument("--data", type=Path, action="append", help="of an ONNX file: the data sets")
    parser.add_argument("--split", choices=sorted(PROTOCOLS), help="of an ONNX file: how it tests")
    parser.add_argument("--fold", type=int, default=1, help="of an ONNX file: the fold that tests")
    parser.add_argument("--limit", type=int, help="so many slices, of as many groups as can be")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", help="part of the record's name (default: the model's)")
    parser.add_argument("--plot", type=Path, help="draw accuracy against severity as a PNG file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    source = Path(options.model)
    command = f"python benchmarks/corruptions.py {source.name}"
    if source.is_dir():
        tests, split, fingerprint = read_runs(source)
    elif options.split:
        tests, fingerprint = read_model(options)
        split = options.split
        folds = PROTOCOLS[split].kind == "folds"
        command += f" --data DIR --split {split}" + f" --fold {options.fold}" * folds
    else:
        parser.error("an ONNX file needs --split")
    if options.limit:
        tests = limit_slices(tests, options.limit, options.seed)
        command += f" --limit {options.limit}"
    slices = [item for _, tested in tests for item in tested]
    found = measure_robustness(tests, seed=options.seed, progress=progress)
    figures = {
        "model": source.name,
        "split": split,
        **found.to_json(),
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


def read_runs(folder: Path) -> tuple[list[Test], str, str]:
    """Return the network of each fold with its own test part, the split and the fingerprint."""
    runs = runs_in(folder)
    facts = runs[0].data()
    found = {slice_name(item): item for path in facts["data"] for item in read_set(path).slices}
    tests: list[Test] = []
    for run in runs:
        tested = Predictions.load(run.path / "predictions.csv")
        slices = tuple(
            replace(found[name], group=group)
            for name, group in zip(tested.names, tested.groups, strict=True)
        )
        tests.append((RunPredictor(run), slices))
    return tests, facts["split"], facts["fingerprint"]


def read_model(options: argparse.Namespace) -> tuple[list[Test], str]:
    """Return a model with the test part of a split, and the fingerprint."""
    predictor = as_predictor(options.model)
    catalogue = read_data(data_sources(options.data or [], options.split), progress=progress)
    parts = partition(catalogue, split=options.split, fold=options.fold)
    return [(predictor, parts.test)], catalogue.fingerprint()


def limit_slices(tests: Sequence[Test], limit: int, seed: int) -> list[Test]:
    """Keep about so many slices: each class its share, its groups in turn a slice each."""
    every = [item for _, slices in tests for item in slices]
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
        (predictor, tuple(item for item in slices if slice_name(item) in kept))
        for predictor, slices in tests
    ]


def draw(figures: dict[str, object]) -> bytes:
    """Draw accuracy against severity, a line a corruption, as a PNG file."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for (kind, values), marker in zip(figures["accuracy"].items(), "os^vDP*", strict=True):
        steps, shares = (0, *SEVERITIES), [figures["clean"], *values]
        axes.plot(steps, [100 * share for share in shares], marker=marker, label=kind)
    axes.set_xlabel("severity of the corruption (0: none)")
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
    console().print(table(title, ["corruption", "kept", *map(str, SEVERITIES)], rows))


if __name__ == "__main__":
    main()
