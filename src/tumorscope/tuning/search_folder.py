"""The files of a search: where each stands, and what was asked for."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from tumorscope.datasets.locations import DataSource, noted, sources_from
from tumorscope.errors import ModelError
from tumorscope.files import write_text
from tumorscope.training.recipe import Recipe, load_recipe
from tumorscope.training.tracking import Tracker
from tumorscope.tuning.search_space import SearchSpace, load_search

_FACTS: Final = {
    "split": str,
    "fold": int,
    "trials": int,
    "study": str,
    "storage": str,
    "runner": str,
}
"""What `search.json` must hold beside the data sets."""

_HIDDEN = "***"
"""What stands in a URL in a password's place."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search was asked for.

    Attributes:
        recipe: What is varied.
        space: How.
        sources: The data sets.
        split: The protocol.
        fold: The fold whose training part is searched.
        trials: How many there are to be.
        study: The study's name in the storage.
        storage: An Optuna storage's URL; empty for a file in the folder.
        runner: Tells this folder's trials from those of others that share the study.
        tracker: Is told about the trials.
    """

    recipe: Recipe
    space: SearchSpace
    sources: tuple[DataSource, ...]
    split: str
    fold: int
    trials: int
    study: str
    storage: str = ""
    runner: str = field(default_factory=lambda: secrets.token_hex(8))
    tracker: Tracker | None = None


@dataclass(frozen=True)
class SearchFolder:
    """A search's folder.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def recipe_file(self) -> Path:
        """The recipe that is varied."""
        return self.path / "recipe.toml"

    @property
    def space_file(self) -> Path:
        """Which of its fields, and how."""
        return self.path / "search.toml"

    @property
    def plan_file(self) -> Path:
        """All else that was asked for."""
        return self.path / "search.json"

    @property
    def database(self) -> Path:
        """The study, unless it stands elsewhere."""
        return self.path / "study.db"

    @property
    def best_file(self) -> Path:
        """The best recipe: `train --recipe` takes it."""
        return self.path / "best.toml"

    @property
    def table_file(self) -> Path:
        """One row a trial."""
        return self.path / "trials.csv"

    @property
    def picture_file(self) -> Path:
        """Scores over the trials."""
        return self.path / "history.png"

    def run_folder(self, number: int) -> Path:
        """Return where a trial's run goes."""
        return self.path / "trials" / f"{number:04}"

    def url(self, plan: Plan) -> str:
        """Return the storage's URL, with its password.

        Raises:
            ModelError: It is no URL.
        """
        if plan.storage and without_password(plan.storage):
            return plan.storage
        return URL.create("sqlite", database=str(self.database)).render_as_string()

    def check_free(self) -> None:
        """Make sure that a search may begin here.

        Raises:
            ModelError: The folder holds something already.
        """
        if self.path.exists() and any(self.path.iterdir()):
            raise ModelError(f"{self.path}: not empty; go on with it by --resume, or name another")

    def note(self, plan: Plan) -> None:
        """Write down what was asked for; the recipe comes last."""
        facts = {
            **noted(plan.sources),
            "split": plan.split,
            "fold": plan.fold,
            "trials": plan.trials,
            "study": plan.study,
            "storage": without_password(plan.storage),
            "runner": plan.runner,
            "tracker": plan.tracker and plan.tracker.to_json(),
        }
        write_text(self.plan_file, json.dumps(facts, indent=2) + "\n")
        write_text(self.space_file, plan.space.to_toml())
        write_text(self.recipe_file, plan.recipe.to_toml())

    def plan(self, *, storage: str | None = None, trials: int | None = None) -> Plan:
        """Return what was asked for.

        Args:
            storage: Another URL for the same study; has to be given where there is a password.
            trials: Another number.

        Raises:
            ModelError: This is no folder of a search, it is damaged, or its study is not there.
        """
        if not self.recipe_file.is_file():
            raise ModelError(f"{self.path}: no folder of a search (it has no recipe.toml)")
        try:
            facts: dict[str, Any] = json.loads(self.plan_file.read_text(encoding="utf-8"))
            sources = tuple(sources_from(facts))
            _check_types(facts)
            recipe = load_recipe(self.recipe_file)
            plan = Plan(
                recipe=recipe,
                space=load_search(self.space_file, recipe),
                sources=sources,
                split=facts["split"],
                fold=facts["fold"],
                trials=trials or facts["trials"],
                study=facts["study"],
                storage=storage or facts["storage"],
                runner=facts["runner"],
                tracker=Tracker(**facts["tracker"]) if facts.get("tracker") else None,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{self.plan_file}: damaged ({error!r})") from None
        if f":{_HIDDEN}@" in plan.storage:
            raise ModelError(f"{self.path}: its storage has a password; give --storage again")
        if not plan.storage and not self.database.is_file():
            raise ModelError(f"{self.database}: gone, and with it the study; begin another search")
        return plan

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from searching in this folder.

        Raises:
            ModelError: One does already.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ModelError(
                f"{self.path}: another process searches here; to share a study give each its own "
                "--out and all the same --storage"
            ) from None
        try:
            yield
        finally:
            lock.release()


def _check_types(facts: dict[str, Any]) -> None:
    for name, kind in _FACTS.items():
        if not isinstance(facts[name], kind):
            raise TypeError(f"{name} is {facts[name]!r}")


def without_password(url: str) -> str:
    """Return a storage's URL fit to be noted and shown.

    Raises:
        ModelError: It is no URL.
    """
    try:
        return make_url(url).render_as_string(hide_password=True) if url else ""
    except SQLAlchemyError:
        raise ModelError(f"--storage {url}: no database URL, such as sqlite:///study.db") from None
