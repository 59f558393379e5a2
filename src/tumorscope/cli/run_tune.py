"""Searches for a better recipe on a fold's training part."""

import argparse
import math
import shlex
from dataclasses import replace
from typing import Any

import optuna

from tumorscope.cli.choices import named_sources, overrides, settle
from tumorscope.cli.main import DISCLAIMER, STATUS_FAILED
from tumorscope.cli.run_train import (
    Bars,
    default_folder,
    idle_fields,
    make_partition,
    origin_of,
    quiet_libraries,
    resumable,
    tracker_of,
)
from tumorscope.cli.show import console, progress, resume_command, table, write_json
from tumorscope.cli.tune import DEFAULT_TRIALS
from tumorscope.datasets.sources import read_data
from tumorscope.errors import RecipeError
from tumorscope.training.fit import Hardware
from tumorscope.training.recipe import Recipe, load_recipe, value_of
from tumorscope.tuning.search_folder import Plan, SearchFolder
from tumorscope.tuning.search_space import load_search
from tumorscope.tuning.trials import Outcome, Trial
from tumorscope.tuning.tune import tune

_SHOWN = 3
"""How many of the best trials stand side by side on a screen."""


def run(options: argparse.Namespace) -> int:
    """Search, then show the best recipes."""
    quiet_libraries()
    settle(options)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.trials is not None and options.trials < 1:
        raise RecipeError(f"--trials {options.trials}: at least 1")
    if options.resume:
        folder = SearchFolder(options.resume)
        plan = folder.plan(storage=options.storage, trials=options.trials)
    else:
        plan = _plan(options)
        name = default_folder(plan.recipe, f"{plan.split}-tune")
        folder = SearchFolder(options.out or name)
        plan = replace(plan, tracker=tracker_of(options, folder.path))
    catalogue = read_data(plan.sources, progress=progress)
    parts = make_partition(catalogue, plan.split, plan.fold, plan.recipe)
    origin = origin_of(catalogue, plan.sources)
    out = console(stderr=True)
    out.print(
        f"{plan.recipe.name}: {len(plan.space.fields)} fields vary, {plan.trials} trials; "
        f"{len(parts.train):,} slices to learn from, {len(parts.validation):,} to score by"
    )
    if outside := plan.space.outside(plan.recipe):
        fields = ", ".join(f"{name} {_value(value)}" for name, value in outside.items())
        out.print(f"the recipe itself is no trial: outside what is searched is {fields}")
    for line in idle_fields(plan.recipe, parts):
        out.print(line)
    with (
        resumable(folder.recipe_file, resume_command("tune", folder.path)),
        _Bars(out) as bars,
    ):
        outcome = tune(
            parts,
            plan,
            folder,
            origin=origin,
            hardware=Hardware(accelerator=options.accelerator),
            resume=bool(options.resume),
            timeout=math.inf if options.timeout is None else options.timeout,
            progress=progress,
            callbacks=bars,
        )
    if options.json:
        write_json(options.json, outcome.to_json())
    if options.json != "-":
        _say(outcome, plan.recipe, folder)
    return 0 if outcome.ranked else STATUS_FAILED


def _plan(options: argparse.Namespace) -> Plan:
    recipe = load_recipe(options.recipe, overrides(options))
    return Plan(
        recipe=recipe,
        space=load_search(options.search, recipe),
        sources=tuple(named_sources(options)),
        split=options.split,
        fold=options.fold,
        trials=DEFAULT_TRIALS if options.trials is None else options.trials,
        study=options.study or f"{recipe.name}-{options.split}-{options.fold}",
        storage=options.storage or "",
    )


class _Bars(Bars):
    """Shows batches as one line that moves and trials as lines that stay."""

    def epoch(self, row: dict[str, float]) -> None:
        """Say nothing: there are too many."""

    def begins(self, number: int, parameters: dict[str, Any]) -> None:
        """Add a line."""
        values = ", ".join(
            f"{name.rpartition('.')[2]} {_value(value)}" for name, value in parameters.items()
        )
        self._out.print(f"trial {number}: {values}")

    def ends(self, number: int, outcome: Outcome) -> None:
        """Add a line."""
        trial = next(trial for trial in outcome.trials if trial.number == number)
        said = f"{trial.state} after {trial.epochs} epochs"
        if trial.score is not None:
            said += f", {_score_name(outcome)} {_score(trial, outcome)}"
        if trial.reason:
            said += f": {trial.reason}"
        if outcome.ranked:
            best = outcome.ranked[0]
            said += f"; best: {_score(best, outcome)}, trial {best.number}"
        self._out.print(f"trial {number}: {said}")


def _say(outcome: Outcome, recipe: Recipe, folder: SearchFolder) -> None:
    """Show the best trials side by side."""
    out = console()
    out.print(
        f"{len(outcome.trials)} trials: {outcome.count('done')} trained to their end, "
        f"{outcome.count('pruned')} pruned, {outcome.count('failed')} failed, "
        f"{outcome.count('cut short')} cut short, {outcome.count('running')} under way"
    )
    if not outcome.ranked:
        out.print(f"no trial came to its end; trials: {folder.table_file}")
        return
    best = outcome.ranked[:_SHOWN]
    shares = outcome.importances
    columns = ["", recipe.name, *(f"trial {trial.number}" for trial in best)]
    rows = [[_score_name(outcome), "", *(_score(trial, outcome) for trial in best)]]
    for name in sorted(best[0].parameters, key=lambda name: -shares.get(name, 0.0)):
        values = (trial.parameters[name] for trial in best)
        rows.append([name, *map(_value, (value_of(recipe, name), *values))])
    if shares:
        columns.append("matters")
        rows[0].append("")
        for row in rows[1:]:
            row.append(f"{shares.get(row[0], 0.0):.0%}")
    out.print(table("The best trials", columns, rows))
    out.print(f"trials: {folder.table_file}, {folder.picture_file}")
    best_file = shlex.quote(str(folder.best_file))
    out.print(
        f"evaluate the best: tumorscope train --recipe {best_file} with this search's --data, "
        f"--split and --fold, whose test part no trial has seen; tumorscope crossval --recipe "
        f"{best_file} for all folds, a little flattered"
    )
    out.print(DISCLAIMER)


def _score_name(outcome: Outcome) -> str:
    return outcome.monitor.replace("_", " ")


def _score(trial: Trial, outcome: Outcome) -> str:
    assert trial.score is not None
    accuracy = outcome.monitor == "validation_accuracy"
    return f"{trial.score:.2%}" if accuracy else f"{trial.score:.4f}"


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
