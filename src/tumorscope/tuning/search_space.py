"""Search spaces: which fields of a recipe may vary.

A table is named after a recipe's field and holds either a range or choices:

    [optimizer.learning_rate]
    low = 1e-4
    high = 3e-3
    log = true        # as likely between 1e-4 and 1e-3 as between 1e-3 and 1e-2

    [training.batch_size]
    choices = [16, 32, 64]

A range of a field with whole numbers may have a `step`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self

import tomli_w
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tumorscope.errors import RecipeError
from tumorscope.training.recipe import Recipe, bundled, read_toml, value_of, vary

_FIXED: Final = (
    "training.monitor",
    "training.validation_share",
    "training.keep",
    "training.soup",
    "training.seed",
    "decision.false_negative_cost",
)
"""Fields that no score can judge: it depends on them, does not show them, or they are luck."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Searched(BaseModel):
    """How one field varies: within a range, or among choices.

    Attributes:
        low: The smallest value.
        high: The largest.
        log: Whether values are drawn by their logarithm.
        step: Between two whole numbers.
        choices: The values themselves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Finite | None = None
    high: Finite | None = None
    log: bool = False
    step: Annotated[int, Field(ge=1)] = 1
    choices: tuple[Any, ...] = ()

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if self.choices:
            if self.model_fields_set != {"choices"}:
                raise ValueError("choices stand alone, without low, high, log and step")
            if len(self.choices) < 2 or any(self.choices.count(one) > 1 for one in self.choices):
                raise ValueError("choices are two or more, all different")
        elif self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        elif self.low >= self.high:
            raise ValueError("low is not below high")
        elif self.log and self.low <= 0:
            raise ValueError("log needs a low above 0")
        elif self.step > 1 and (self.log or (self.high - self.low) % self.step):
            raise ValueError("step has to divide high less low, and log takes none")
        return self

    def values(self, *, whole: bool) -> tuple[Any, ...]:
        """Return values that a recipe must take if it is to take all of them."""
        if self.choices:
            return self.choices
        assert self.low is not None
        assert self.high is not None
        return (self.low, self.low + self.step, self.high) if whole else (self.low, self.high)

    def distribution(self, *, whole: bool) -> BaseDistribution:
        """Return what Optuna draws from.

        Args:
            whole: Whether the field holds whole numbers.
        """
        if self.choices:
            return CategoricalDistribution(self.choices)
        assert self.low is not None
        assert self.high is not None
        if whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=self.step)
        return FloatDistribution(self.low, self.high, log=self.log)

    def holds(self, value: Any) -> bool:
        """Tell whether a value may be drawn."""
        if self.choices:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        met = not isinstance(value, int) or (value - self.low) % self.step == 0
        return self.low <= value <= self.high and met


@dataclass(frozen=True)
class SearchSpace:
    """The fields of a recipe that vary, by name as in `optimizer.learning_rate`.

    Attributes:
        fields: How each varies.
    """

    fields: Mapping[str, Searched]

    def distributions(self, recipe: Recipe) -> dict[str, BaseDistribution]:
        """Return what Optuna draws from, for a recipe that this space fits."""
        return {
            name: field.distribution(whole=_is_whole(recipe, name))
            for name, field in self.fields.items()
        }

    def place_of(self, recipe: Recipe) -> dict[str, Any] | None:
        """Return where a recipe stands in this space; None where it stands outside."""
        if self.outside(recipe):
            return None
        return {name: value_of(recipe, name) for name in self.fields}

    def outside(self, recipe: Recipe) -> dict[str, Any]:
        """Return the fields, and their values, by which a recipe stands outside this space."""
        values = {name: value_of(recipe, name) for name in self.fields}
        return {name: value for name, value in values.items() if not self.fields[name].holds(value)}

    def to_toml(self) -> str:
        """Return the space as TOML."""
        tables: dict[str, dict[str, Any]] = {}
        for name, field in self.fields.items():
            section, _, last = name.partition(".")
            tables.setdefault(section, {})[last] = field.model_dump(exclude_unset=True)
        return tomli_w.dumps(tables)


def bundled_searches() -> tuple[str, ...]:
    """Return the names of the search spaces in the package."""
    return bundled("searches")


def load_search(name: str | Path | None, recipe: Recipe) -> SearchSpace:
    """Load a search space.

    Args:
        name: A TOML file's path or a bundled space's name; None: the one for the recipe's
            optimizer.
        recipe: What is varied; it must take every value alone.

    Returns:
        The checked space.

    Raises:
        RecipeError: There is no such space, it is no TOML, or a field cannot be searched as it
            says; the message names the field.
    """
    name = recipe.optimizer.name if name is None else name
    named = f"search {name}"
    fields: dict[str, Searched] = {}
    for field, table in _tables(read_toml(name, "searches"), named):
        if field in _FIXED:
            raise RecipeError(f"{named}: {field} cannot be searched: no score can judge it")
        searched = _searched(table, f"{named}: {field}")
        whole = _is_whole(
            vary(recipe, {field: searched.values(whole=False)[0]}, named=named), field
        )
        for value in searched.values(whole=whole):
            vary(recipe, {field: value}, named=named)
        fields[field] = searched
    if not fields:
        raise RecipeError(f"{named}: it names no field of a recipe")
    return SearchSpace(fields)


def _tables(values: dict[str, Any], named: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for section, inner in values.items():
        for last, table in inner.items() if isinstance(inner, dict) else [("", None)]:
            field = f"{section}.{last}".rstrip(".")
            if not isinstance(table, dict):
                raise RecipeError(f"{named}: {field} is no table [section.field]")
            yield field, table


def _searched(table: dict[str, Any], named: str) -> Searched:
    try:
        return Searched.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    if first["type"] == "extra_forbidden":
        known = ", ".join(Searched.model_fields)
        raise RecipeError(f"{named}: there is no '{first['loc'][0]}'; there are {known}")
    if not first["loc"]:
        raise RecipeError(f"{named}: {first['ctx']['error']}")
    message = first["msg"][0].lower() + first["msg"][1:]
    raise RecipeError(f"{named}: {first['loc'][0]} is {first['input']!r}: {message}")


def _is_whole(recipe: Recipe, field: str) -> bool:
    value = value_of(recipe, field)
    return isinstance(value, int) and not isinstance(value, bool)
