"""Trains a network and evaluates it on the test part."""

import argparse
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tumorscope.classes import ANY_TUMOUR, NO_TUMOUR
from tumorscope.cli.choices import named_sources, overrides, settle
from tumorscope.cli.show import console, left_out, progress, resume_command, show_evaluation
from tumorscope.counting import counted
from tumorscope.datasets.catalogue import Catalogue
from tumorscope.datasets.locations import DataSource
from tumorscope.datasets.sources import read_data
from tumorscope.datasets.splits import Partition, partition
from tumorscope.errors import ModelError
from tumorscope.images.listing import summarise
from tumorscope.inference.decision import plain_name
from tumorscope.training.fit import Hardware, fit, is_first_process
from tumorscope.training.recipe import Recipe, load_recipe
from tumorscope.training.run_evaluation import evaluate_run
from tumorscope.training.run_folder import Origin, RunFolder
from tumorscope.training.tracking import TrackedRun, Tracker


def run(options: argparse.Namespace) -> int:
    """Train, then evaluate on the test part."""
    quiet_libraries()
    settle(options)
    if options.resume:
        before = RunFolder(options.resume)
        facts = before.data()
        if before.weights_file.is_file() and before.evaluation_file.is_file():
            raise ModelError(f"{options.resume}: this run is finished; nothing is left to do")
        recipe, folder = before.recipe(), options.resume
        sources = before.sources()
        split, fold = facts["split"], facts["fold"]
    else:
        recipe = load_recipe(options.recipe, overrides(options))
        split, fold = options.split, options.fold
        sources = named_sources(options)
        folder = options.out or default_folder(recipe, split)
    tracker = tracker_of(options, folder)
    catalogue = read_data(sources, progress=progress)
    parts = make_partition(catalogue, split, fold, recipe)
    hardware = Hardware(
        accelerator=options.accelerator, devices=options.devices, nodes=options.nodes
    )
    with resumable(RunFolder(folder).recipe_file, resume_command("train", folder)):
        done = train(
            catalogue,
            parts,
            recipe,
            folder,
            sources,
            hardware,
            resume=bool(options.resume),
            tracker=tracker,
        )
        if done is None:
            return 0
        if not parts.test or options.no_test:
            console().print(f"weights: {done.weights_file}")
            return 0
        result = evaluate_run(done, parts, catalogue, progress=progress)
        report = result.save(done.path)
        tracked = TrackedRun.noted(done)
        if tracked:
            tracked.add_evaluation(done, result.to_json())
        show_evaluation(result, report)
    return 0


def tracker_of(options: argparse.Namespace, folder: Path) -> Tracker | None:
    """Return what is told about a new run, besides its folder.

    Args:
        options: With what `add_tracker_arguments` describes.
        folder: The run's.
    """
    if options.tracker_uri and not options.tracker:
        raise ModelError("--tracker-uri goes with --tracker mlflow")
    return Tracker.of(options.tracker_uri, folder) if options.tracker else None


@contextmanager
def resumable(recipe_file: Path, command: str) -> Iterator[None]:
    """Say how to go on after Ctrl-C, a full disk or a lost process, once there is a run.

    Args:
        recipe_file: What is done is there from the moment that its recipe is.
        command: What goes on with it.
    """
    try:
        yield
    except KeyboardInterrupt:
        if not recipe_file.is_file():
            raise
        raise KeyboardInterrupt(f"stopped; go on with: {command}") from None
    except OSError as error:
        if recipe_file.is_file():
            first = "" if isinstance(error, ConnectionError) else "make room or mend it, then "
            error.add_note(f"{first}go on with: {command}")
        raise


def make_partition(catalogue: Catalogue, split: str, fold: int, recipe: Recipe) -> Partition:
    """Split a catalogue as a recipe wants it."""
    return partition(
        catalogue,
        split=split,
        fold=fold,
        validation_share=recipe.training.validation_share,
        seed=recipe.training.seed,
    )


def train(
    catalogue: Catalogue,
    parts: Partition,
    recipe: Recipe,
    folder: Path,
    sources: Sequence[DataSource],
    hardware: Hardware,
    *,
    resume: bool = False,
    tracker: Tracker | None = None,
) -> RunFolder | None:
    """Fit with bars on the screen."""
    out = console(stderr=True, quiet=not is_first_process())
    groups = len({item.group for item in (*parts.train, *parts.validation)})
    missing = ", ".join(_not_validated(parts))
    out.print(
        f"{recipe.name}: {len(parts.train):,} training slices, {len(parts.validation):,} "
        f"validation{f' (no slice of: {missing})' if missing else ''}, "
        f"{len(parts.test):,} test; {groups:,} groups"
    )
    for note in catalogue.notes:
        out.print(note)
    if catalogue.ignored:
        out.print(summarise(catalogue.ignored))
    if catalogue.skipped:
        out.print(f"{counted(len(catalogue.skipped), 'file')} skipped (listed in data.json)")
        for line in left_out(catalogue.skipped, "in data.json"):
            out.print(line)
    for reason, count in _left_out(parts).items():
        out.print(f"{count:,} {reason}")
    for line in idle_fields(recipe, parts):
        out.print(line)
    origin = origin_of(catalogue, sources)
    with Bars(out) as bars:
        return fit(
            parts,
            recipe,
            folder,
            origin=origin,
            hardware=hardware,
            resume=resume,
            tracker=tracker,
            progress=progress,
            listener=bars,
        )


def origin_of(catalogue: Catalogue, sources: Sequence[DataSource]) -> Origin:
    """Return what a run notes of its data."""
    return Origin(
        sources=tuple(sources),
        fingerprint=catalogue.fingerprint(),
        skipped=catalogue.skipped,
        ignored=catalogue.ignored,
        notes=catalogue.notes,
    )


def idle_fields(recipe: Recipe, parts: Partition) -> list[str]:
    """Return which fields of a recipe change nothing with this data, and why, a line each."""
    sets = {item.source for item in parts.train}
    others = sorted(recipe.training.shares.keys() - sets)
    lines = list(recipe.idle_fields())
    if others:
        lines.append(
            f"training.shares names {', '.join(others)}, not among the data: "
            f"the sets to train on are {', '.join(sorted(sets))}"
        )
    if recipe.augmentation.paint and NO_TUMOUR not in {item.label for item in parts.train}:
        lines.append("augmentation.paint changes nothing: every training slice has a tumour")
    return lines


def _not_validated(parts: Partition) -> list[str]:
    """Return the classes that are learned but that no validation slice is of."""
    validated = {item.label for item in parts.validation}
    learned = {item.label for item in parts.train} - {ANY_TUMOUR}  # (of added sets, no class)
    return [plain_name(name) for name in sorted(learned - validated) if validated]


def _left_out(parts: Partition) -> dict[str, int]:
    counts = {
        "slices left out, their label is doubted": parts.doubted,
        "slices left out, their patient is in the test or the training part": parts.left_out,
        "slices left out, the split has no part or no class for them": parts.unused,
        "test slices show a patient or slice that is in training too: this split leaks": (
            parts.leaked
        ),
    }
    return {reason: count for reason, count in counts.items() if count}


def default_folder(recipe: Recipe, split: str) -> Path:
    """Return a new folder's name under `runs/`."""
    now = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", recipe.name)
    return Path("runs") / f"{now}-{name}-{split}"


def quiet_libraries() -> None:
    """Keep Lightning's notes on what it found out of the way; its warnings stay."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)


class Bars:
    """Shows batches as one line that moves and epochs as lines that stay.

    Args:
        out: The console, on standard error.
    """

    def __init__(self, out: Console) -> None:
        self._out = out
        self._live = Live(console=out, transient=True, auto_refresh=False)

    def __enter__(self) -> Self:
        if self._out.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._out.is_terminal:
            self._live.stop()

    def batch(self, epoch: int, epochs: int, done: int, total: int, rate: float) -> None:
        """Move the line."""
        if self._out.is_terminal:
            filled = round(30 * done / max(total, 1))
            self._live.update(
                Text(
                    f"epoch {epoch}/{epochs} {'━' * filled}{'╌' * (30 - filled)} "
                    f"{done}/{total} batches, {rate:,.0f} images/s"
                ),
                refresh=True,
            )

    def epoch(self, row: dict[str, float]) -> None:
        """Add a line."""
        validation = ""
        if "validation_loss" in row:
            validation = (
                f"validation loss {row['validation_loss']:.3f}  "
                f"accuracy {row['validation_accuracy']:.1%}  "
            )
        self._out.print(
            f"epoch {row['epoch']:3.0f}  loss {row['train_loss']:.3f}  accuracy "
            f"{row['train_accuracy']:.1%}  {validation}{row['images_per_second']:,.0f} images/s"
        )
