"""What a person reads of a study: best recipe, table, picture."""

import csv
import io
import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from tumorscope.evaluation.plots import search_plot
from tumorscope.files import write_bytes, write_text
from tumorscope.training.recipe import Recipe, vary
from tumorscope.tuning.search_folder import Plan, SearchFolder

State = Literal["done", "pruned", "failed", "cut short", "running"]

REASON: Final = "reason"
"""The attribute that says why a trial failed."""

INSTEAD_OF: Final = "instead of"
"""The attribute with the number of the trial that was killed and goes on as this one."""

_ENOUGH: Final = 10
"""Whole trials from which on it is told which fields matter."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One recipe that was tried.

    Attributes:
        number: Its number in the study, from 0.
        state: How it ended; `pruned`: early, for others did better.
        score: The best epoch's; of a pruned one the last epoch's; None where there is none.
        epochs: How many were trained.
        seconds: How long it took.
        parameters: Its fields' values.
        reason: Why it failed.
    """

    number: int
    state: State
    score: float | None
    epochs: int
    seconds: float | None
    parameters: dict[str, Any]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return all of it for `--json`."""
        return dict(self.__dict__)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a search has found so far.

    Attributes:
        study: The study's name.
        monitor: What the score is: the recipe's `training.monitor`.
        trials: All of them, in order.
        ranked: Those trained to their end, the best first.
        importances: How much of the score's differences each field explains, adding up to 1;
            empty while there are too few trials to say, or all have one score.
        recipe: The best; None while no trial came to its end.
    """

    study: str
    monitor: str
    trials: tuple[Trial, ...]
    ranked: tuple[Trial, ...]
    importances: dict[str, float]
    recipe: Recipe | None

    def count(self, *states: State) -> int:
        """Return how many trials ended like this."""
        return sum(trial.state in states for trial in self.trials)

    def to_json(self) -> dict[str, Any]:
        """Return all of it for `--json`."""
        return {
            "study": self.study,
            "monitor": self.monitor,
            "best": self.ranked[0].to_json() if self.ranked else None,
            "importances": self.importances,
            "trials": [trial.to_json() for trial in self.trials],
        }


def outcome_of(study: optuna.Study, plan: Plan) -> Outcome:
    """Return what a study has found so far."""
    found = study.get_trials(deepcopy=False)
    later = {trial.user_attrs.get(INSTEAD_OF): trial.number for trial in found}
    trials = tuple(
        _trial(frozen, later.get(frozen.number))
        for frozen in found
        if frozen.state is not TrialState.WAITING
    )
    sign = -1.0 if lower_is_better(plan.recipe) else 1.0
    ranked = sorted(
        (trial for trial in trials if trial.state == "done"),
        key=lambda trial: -sign * (trial.score or 0.0),
    )
    importances = {}
    if len(ranked) >= _ENOUGH and ranked[0].score != ranked[-1].score:
        importances = optuna.importance.get_param_importances(study)
    best = None
    if ranked:
        changes = {**ranked[0].parameters, "name": f"{plan.recipe.name}-tuned"}
        best = vary(plan.recipe, changes, named=f"trial {ranked[0].number}")
    return Outcome(
        study=plan.study,
        monitor=plan.recipe.training.monitor,
        trials=trials,
        ranked=tuple(ranked),
        importances=importances,
        recipe=best,
    )


def lower_is_better(recipe: Recipe) -> bool:
    """Tell whether the score is a loss."""
    return recipe.training.monitor == "validation_loss"


def _trial(frozen: FrozenTrial, later: int | None) -> Trial:
    reason = frozen.user_attrs.get(REASON, "")
    if later is not None:
        reason = f"goes on as trial {later}"
    states: dict[TrialState, State] = {
        TrialState.COMPLETE: "done",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed" if later is None else "cut short",
    }
    seconds = frozen.duration.total_seconds() if frozen.duration else None
    return Trial(
        number=frozen.number,
        state=states.get(frozen.state, "running"),
        score=frozen.value,
        epochs=frozen.last_step or 0,
        seconds=seconds,
        parameters=dict(frozen.params),
        reason=reason,
    )


def write_outcome(folder: SearchFolder, outcome: Outcome) -> None:
    """Write the best recipe, the table and the picture."""
    names = sorted({name for trial in outcome.trials for name in trial.parameters})
    columns = ("number", "state", outcome.monitor, "epochs", "seconds", *names, "reason")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for trial in outcome.trials:
        parameters = [trial.parameters.get(name, "") for name in names]
        seconds = "" if trial.seconds is None else f"{trial.seconds:.1f}"
        score = "" if trial.score is None else f"{trial.score:.6g}"
        row = (trial.number, trial.state, score, trial.epochs, seconds, *parameters, trial.reason)
        writer.writerow(row)
    write_text(folder.table_file, text.getvalue())
    write_bytes(
        folder.picture_file,
        search_plot(
            [
                (trial.number, math.nan if trial.score is None else trial.score, trial.state)
                for trial in outcome.trials
            ],
            monitor=outcome.monitor,
            importances=outcome.importances,
        ),
    )
    if outcome.recipe is not None:
        best = outcome.ranked[0]
        origin = (
            f"# Trial {best.number} of {len(outcome.trials)} of the search {outcome.study}: "
            f"{outcome.monitor} {best.score:.6g}.\n"
        )
        write_text(folder.best_file, origin + outcome.recipe.to_toml())
