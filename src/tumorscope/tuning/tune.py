"""Searches a recipe: one trial after another.

Optuna draws the recipes (tree-structured Parzen estimator, Bergstra et al. 2011, of all fields
together) and, from a third of the epochs on, prunes those whose best epoch so far is worse than the
median of the others at that epoch. The study is a database that several processes may share. Every
trial is a run folder; one that was cut short goes on from its last whole epoch as another trial of
the same values.
"""

import functools
import gc
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol

import numpy as np
import optuna
import torch
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from tumorscope.datasets.inputs import read_inputs
from tumorscope.datasets.splits import Partition
from tumorscope.errors import DivergedError, ModelError, RecipeError
from tumorscope.progress import Progress, silent
from tumorscope.training.callbacks import Listener, SilentListener
from tumorscope.training.fit import Hardware, fit
from tumorscope.training.module import HistoryRow
from tumorscope.training.recipe import vary
from tumorscope.training.run_folder import Origin, RunFolder
from tumorscope.training.tracking import TrackedRun
from tumorscope.tuning.search_folder import Plan, SearchFolder, without_password
from tumorscope.tuning.trials import (
    INSTEAD_OF,
    REASON,
    Outcome,
    lower_is_better,
    outcome_of,
    write_outcome,
)

_RUNNER: Final = "runner"
"""The attribute that says which folder's process tries a trial."""

_FIRST: Final = "first"
"""The attribute with the number of the trial whose run goes on."""

_ABOUT: Final = "about"
"""The study's attribute that says what it searches."""

_SQLITE_PATIENCE: Final = 60.0
"""Seconds to wait while another process writes to the same file."""

_PAUSES: Final = (0.5, 2.0)
"""Seconds between tries to connect."""


class SearchObserver(Listener, Protocol):
    """Is told how far the search is."""

    def begins(self, number: int, parameters: dict[str, Any]) -> None:
        """Told before each trial."""

    def ends(self, number: int, outcome: Outcome) -> None:
        """Told after each trial."""


class SearchCallbacks(SilentListener):
    """Says nothing: the default."""

    def begins(self, number: int, parameters: dict[str, Any]) -> None:
        """Do nothing."""

    def ends(self, number: int, outcome: Outcome) -> None:
        """Do nothing."""


def tune(
    partition: Partition,
    plan: Plan,
    folder: SearchFolder,
    *,
    origin: Origin,
    hardware: Hardware,
    resume: bool = False,
    timeout: float = math.inf,
    progress: Progress = silent,
    callbacks: SearchObserver | None = None,
) -> Outcome:
    """Try recipes until there are enough trials, or the time is up.

    Args:
        partition: Each trial learns from its training part and is scored by its validation part;
            its test part is not read.
        plan: What is varied, how, and how often.
        folder: Where it goes; new or empty unless `resume`.
        origin: Where the slices come from.
        hardware: What a trial may use; one device.
        resume: Go on with the search that is in the folder.
        timeout: Seconds after which no other trial is begun.
        progress: Shows how far the reading is.
        callbacks: Is told about trials, epochs and batches.

    Returns:
        What the study holds in the end, of this process and of others.

    Raises:
        ModelError: The folder holds something else, another process searches in it, the storage
            cannot be used, or the study there is about something else.
        RecipeError: There is no validation part, or a recipe that was drawn cannot be trained here.
    """
    if not partition.validation:
        raise RecipeError(
            "a search needs a validation part to score by: --set training.validation_share=0.1"
        )
    end = time.monotonic() + timeout
    callbacks = callbacks or SearchCallbacks()
    train = functools.partial(
        fit,
        partition,
        origin=origin,
        hardware=hardware,
        tracker=plan.tracker,
        progress=progress,
        # Most trials read the same pictures at the same size: the two parts stay in memory.
        read=functools.lru_cache(maxsize=2)(read_inputs),
    )
    with _storage_errors(plan):
        if not resume:
            folder.check_free()
        study = _open(plan, folder, origin)
        with folder.alone():
            folder.note(plan)
            _take_up(study, plan)
            outcome = _note(study, plan, folder)
            while _finished(outcome) < plan.trials and time.monotonic() < end:
                study.sampler = _sampler(study, plan)
                trial = study.ask(plan.space.distributions(plan.recipe))
                trial.set_user_attr(_RUNNER, plan.runner)
                callbacks.begins(trial.number, trial.params)
                _try(study, trial, plan, folder, train, callbacks)
                outcome = _note(study, plan, folder)
                callbacks.ends(trial.number, outcome)
    return outcome


def _open(plan: Plan, folder: SearchFolder, origin: Origin) -> optuna.Study:
    """Open the study, or begin it with the recipe as it stands as the first trial."""
    if not plan.storage:
        folder.path.mkdir(parents=True, exist_ok=True)
    storage = _connect(folder.url(plan))
    study = optuna.create_study(
        storage=storage,
        study_name=plan.study,
        load_if_exists=True,
        direction="minimize" if lower_is_better(plan.recipe) else "maximize",
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=5, n_warmup_steps=math.ceil(plan.recipe.training.epochs / 3)
        ),
    )
    about = {
        "recipe": plan.recipe.to_toml(),
        "search space": plan.space.to_toml(),
        "split": plan.split,
        "fold": plan.fold,
        "data": origin.fingerprint,
    }
    if _ABOUT not in study.user_attrs and not study.get_trials(deepcopy=False):
        study.set_user_attr(_ABOUT, about)
        place = plan.space.place_of(plan.recipe)
        if place is not None:
            study.enqueue_trial(place, skip_if_exists=True)
    known = study.user_attrs.get(_ABOUT, {})
    others = [name for name, value in about.items() if known.get(name) != value]
    if others:
        raise ModelError(
            f"the study '{plan.study}' was begun with another {others[0]}: give the same, or "
            "another name with --study"
        )
    return study


def _connect(url: str) -> optuna.storages.RDBStorage:
    """Connect to a database.

    Optuna makes its tables without a lock: of processes that begin together all but one fail at
    first.
    """
    sqlite = make_url(url).get_backend_name() == "sqlite"
    arguments = {"connect_args": {"timeout": _SQLITE_PATIENCE}} if sqlite else None
    try:
        for pause in _PAUSES:
            with suppress(SQLAlchemyError):
                return optuna.storages.RDBStorage(url, arguments)
            time.sleep(pause)
        return optuna.storages.RDBStorage(url, arguments)
    except (ImportError, RuntimeError) as error:  # no driver; made by another version of Optuna
        raise ModelError(f"storage {without_password(url)}: {error}") from None


def _take_up(study: optuna.Study, plan: Plan) -> None:
    """Enqueue again what this folder's last process was killed in the middle of."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if trial.user_attrs.get(_RUNNER) == plan.runner:
            first = trial.user_attrs.get(_FIRST, trial.number)
            attributes = {_FIRST: first, INSTEAD_OF: trial.number}
            study.enqueue_trial(trial.params, user_attrs=attributes)
            study.tell(trial.number, state=TrialState.FAIL)


def _note(study: optuna.Study, plan: Plan, folder: SearchFolder) -> Outcome:
    outcome = outcome_of(study, plan)
    write_outcome(folder, outcome)
    return outcome


def _finished(outcome: Outcome) -> int:
    return outcome.count("done", "pruned", "failed")


def _sampler(study: optuna.Study, plan: Plan) -> optuna.samplers.BaseSampler:
    """Return a sampler for the next trial, seeded by its number.

    One for the whole search would, in a search that goes on, draw its first trials again; and all
    that share a study would draw the same.
    """
    seeds = [plan.recipe.training.seed, len(study.get_trials(deepcopy=False))]
    if plan.storage:
        seeds.append(int(plan.runner, 16))
    seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=seed, multivariate=True)


def _try(
    study: optuna.Study,
    trial: optuna.Trial,
    plan: Plan,
    folder: SearchFolder,
    train: Callable[..., RunFolder | None],
    callbacks: SearchObserver,
) -> None:
    """Train one trial's recipe, or the rest of it, and tell the study how that ended."""
    run = RunFolder(folder.run_folder(trial.user_attrs.get(_FIRST, trial.number)))
    reporter = _Reporter(trial, plan.recipe.training.monitor, callbacks)
    begun = _FIRST in trial.user_attrs and run.recipe_file.is_file()
    if begun:
        reporter.report(run.history())
    elif _FIRST in trial.user_attrs:
        shutil.rmtree(run.path, ignore_errors=True)
    try:
        values = {**trial.params, "training.soup": 1}  # the score is one network's
        recipe = vary(plan.recipe, values, named=f"trial {trial.number}")
        train(recipe, run.path, resume=begun, listener=reporter)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        tracked = TrackedRun.noted(run)
        if tracked:
            tracked.end("KILLED")
    except (torch.OutOfMemoryError, MemoryError):
        _fail(study, trial, "out of memory")
    except DivergedError:
        _fail(study, trial, "diverged")
    except RecipeError as error:
        _fail(study, trial, str(error))
        raise
    else:
        best = min if lower_is_better(plan.recipe) else max
        study.tell(trial, best(row[reporter.monitor] for row in run.history()))
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    gc.collect()  # Lightning's objects hold each other, and with them a GPU's memory


def _fail(study: optuna.Study, trial: optuna.Trial, reason: str) -> None:
    trial.set_user_attr(REASON, reason)
    study.tell(trial, state=TrialState.FAIL)


class _Reporter:
    """Passes on what a run says, tells the study about epochs, and ends a run without promise.

    Args:
        trial: Whose run it is.
        monitor: The figure that is the score.
        callbacks: Is told as well.
    """

    def __init__(self, trial: optuna.Trial, monitor: str, callbacks: SearchObserver) -> None:
        self.monitor = monitor
        self._trial, self._callbacks = trial, callbacks
        self._reported: set[int] = set()

    def batch(self, epoch: int, epochs: int, done: int, total: int, rate: float) -> None:
        """Pass it on."""
        self._callbacks.batch(epoch, epochs, done, total, rate)

    def epoch(self, row: HistoryRow) -> None:
        """Pass it on, and stop where others were better or nothing can be learned any more."""
        self._callbacks.epoch(row)
        self.report([row])
        if not math.isfinite(row["validation_loss"]) or self._trial.should_prune():
            raise optuna.TrialPruned

    def report(self, rows: Sequence[HistoryRow]) -> None:
        """Tell the study about epochs; the last one may come again in a run that goes on."""
        for row in rows:
            step = int(row["epoch"])
            if step not in self._reported:
                self._trial.report(row[self.monitor], step)
            self._reported.add(step)


@contextmanager
def _storage_errors(plan: Plan) -> Iterator[None]:
    """Say in a line that the database failed, without its password."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        raise ModelError(
            f"storage {without_password(plan.storage) or 'study.db'}: {str(cause).splitlines()[0]}"
        ) from error
