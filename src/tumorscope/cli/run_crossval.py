"""Trains and evaluates on every fold, and pools the predictions."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from tumorscope.cli.choices import named_sources, overrides, settle
from tumorscope.cli.run_train import (
    default_folder,
    make_partition,
    quiet_libraries,
    resumable,
    tracker_of,
    train,
)
from tumorscope.cli.show import console, progress, resume_command, show_evaluation, write_json
from tumorscope.datasets.catalogue import Catalogue
from tumorscope.datasets.locations import DataSource
from tumorscope.datasets.sources import read_data
from tumorscope.datasets.splits import folds_of
from tumorscope.errors import ModelError
from tumorscope.evaluation.predictions import Predictions
from tumorscope.training.fit import Hardware, is_first_process
from tumorscope.training.recipe import Recipe, load_recipe
from tumorscope.training.run_evaluation import evaluate_pooled, evaluate_run
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.tracking import TrackedRun, Tracker


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is done: the same for every fold."""

    folder: Path
    recipe: Recipe
    split: str
    sources: list[DataSource]
    hardware: Hardware
    resume: bool
    tracker: Tracker | None


def run(options: argparse.Namespace) -> int:
    """Train and evaluate fold by fold; what is finished already is kept."""
    quiet_libraries()
    settle(options)
    plan = _plan(options)
    catalogue = read_data(plan.sources, progress=progress)
    runs = []
    for fold in folds_of(catalogue, plan.split):
        runs.append(RunFolder(plan.folder / f"fold-{max(fold, 1)}"))
        with resumable(runs[0].recipe_file, resume_command("crossval", plan.folder)):
            _run_fold(runs[-1], catalogue, fold, plan)
    if not is_first_process():
        return 0
    result = evaluate_pooled(runs, catalogue, plan.folder)
    report = result.save(plan.folder)
    if plan.tracker:
        pooled = RunFolder(plan.folder)
        tracked = plan.tracker.begin(pooled, {"folds": len(runs), "split": plan.split})
        tracked.add_evaluation(pooled, result.to_json())
        tracked.end("FINISHED")
    if options.json:
        write_json(options.json, result.to_json())
    if options.json != "-":
        show_evaluation(result, report)
    return 0


def _plan(options: argparse.Namespace) -> _Plan:
    hardware = Hardware(
        accelerator=options.accelerator, devices=options.devices, nodes=options.nodes
    )
    if options.resume:
        first = RunFolder(min(options.resume.glob("fold-*"), default=options.resume))
        if first.path == options.resume and first.recipe_file.exists():
            raise ModelError(
                f"{options.resume}: one run, no cross-validation; go on with it by: "
                f"{resume_command('train', options.resume)}"
            )
        facts, tracked = first.data(), TrackedRun.noted(first)
        return _Plan(
            folder=options.resume,
            recipe=first.recipe(),
            split=facts["split"],
            sources=first.sources(),
            hardware=hardware,
            resume=True,
            tracker=tracked and tracked.tracker,
        )
    recipe = load_recipe(options.recipe, overrides(options))
    folder = options.out or default_folder(recipe, f"{options.split}-crossval")
    if is_first_process() and folder.exists() and any(folder.iterdir()):
        raise ModelError(f"{folder}: not empty; go on with it by --resume, or name another")
    return _Plan(
        folder=folder,
        recipe=recipe,
        split=options.split,
        sources=named_sources(options),
        hardware=hardware,
        resume=False,
        tracker=tracker_of(options, folder),
    )


def _run_fold(run: RunFolder, catalogue: Catalogue, fold: int, plan: _Plan) -> None:
    parts = make_partition(catalogue, plan.split, fold, plan.recipe)
    if run.recipe_file.is_file():
        run.check_data(catalogue.fingerprint(), parts)
    if not run.evaluation_file.is_file():
        if not run.weights_file.is_file():
            begun = plan.resume and run.recipe_file.is_file()
            train(
                catalogue,
                parts,
                plan.recipe,
                run.path,
                plan.sources,
                plan.hardware,
                resume=begun,
                tracker=plan.tracker,
            )
        if is_first_process():
            result = evaluate_run(run, parts, catalogue, progress=progress)
            result.save(run.path)
            tracked = TrackedRun.noted(run)
            if tracked:
                tracked.add_evaluation(run, result.to_json())
    if is_first_process():
        found = Predictions.load(run.path / "predictions.csv")
        right = (found.target == found.predicted).mean()
        console(stderr=True).print(
            f"fold {max(fold, 1)}: accuracy {right:.2%} of {len(found):,} images"
        )
