"""Recipes: all that a run depends on, checked."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import BaseModel, Field, ValidationError, model_validator

from tumorscope.errors import RecipeError
from tumorscope.networks.network_recipe import NetworkRecipe, Section

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=2.0)]


Sampling = Literal["slices", "unique", "root"]
Precision = Literal["fp32", "bf16", "fp16"]


class InputRecipe(Section):
    """The model's input.

    Attributes:
        size: Its side in pixels; a multiple of 32, so that halving five times leaves no rest.
        start: The side of the pictures in the first epochs of training, which grows to `size` in
            steps of 32 (progressive learning, Tan & Le 2021, https://arxiv.org/abs/2104.00298);
            0: `size` from the first one.
    """

    size: Annotated[int, Field(ge=32, le=512, multiple_of=32)] = 128
    start: Annotated[int, Field(ge=0, le=512, multiple_of=32)] = 0


class AugmentationRecipe(Section):
    """Strengths of the changes: see `tumorscope.training.augmentation.Augmentation`."""

    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    flip: Share = 0.0
    shift: Share = 0.0
    zoom: Strength = 0.0
    stretch: Strength = 0.0
    rot90: Share = 0.0
    contrast: Strength = 0.0
    bias_field: Strength = 0.0
    blur: Share = 0.0
    noise: Share = 0.0
    strip: Share = 0.0
    curve: Share = 0.0
    coarse: Share = 0.0
    paint: Share = 0.0


class LossRecipe(Section):
    """What is made small.

    Attributes:
        label_smoothing: Share of each label spread over all classes (Szegedy et al. 2016).
        mixup: Parameter of the beta distribution of mixing shares (Zhang et al. 2018); 0: none.
        class_weights: `balanced` weighs a class by the inverse of its count; `none` does not.
        l1: Weight of the sum of absolute convolution and linear weights.
        outline: Of `litenet`: weight of the loss of its tumour map, on slices with an outline
            and on those without a tumour.
    """

    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    mixup: Annotated[float, Field(ge=0.0, le=4.0)] = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    l1: Annotated[float, Field(ge=0.0)] = 0.0
    outline: Annotated[float, Field(ge=0.0)] = 0.0


class OptimizerRecipe(Section):
    """How weights are moved.

    Attributes:
        name: `adamw` (Loshchilov & Hutter 2019) or `sgd` with Nesterov momentum 0.9.
        learning_rate: The largest one of the schedule.
        weight_decay: Of convolution and linear weights; norms and biases have none.
        schedule: `one-cycle` (Smith & Topin 2018), `cosine` with warm-up, `plateau` (reduced when
            validation stalls) or `constant`.
        warmup: Share of all steps in which the rate rises (`one-cycle`, `cosine`).
        plateau_patience: Epochs without a better validation loss before the rate is reduced.
        plateau_factor: What the rate is then multiplied by.
    """

    name: Literal["adamw", "sgd"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 0.1
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    schedule: Literal["one-cycle", "cosine", "plateau", "constant"] = "one-cycle"
    warmup: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    plateau_patience: Annotated[int, Field(ge=0)] = 2
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3


class TrainingRecipe(Section):
    """How long, how many at a time, what is kept.

    Attributes:
        epochs: Times that the training part is gone through.
        batch_size: Pictures a step, on each device.
        precision: `bf16` or `fp16` (mixed) or `fp32`; a CPU without 16-bit arithmetic computes
            `bf16` in `fp32`.
        validation_share: Share of the training part that is held out, by group; with 0 the last
            epoch's weights are kept and nothing is calibrated.
        monitor: What the best epoch is chosen by.
        keep: Which epoch's weights are the result: the `best`, or the `last`, which the end of a
            `one-cycle` or `cosine` schedule favours and a few odd validation patients cannot move.
        sampling: Of each set of near-duplicates an epoch shows all images (`slices`), one
            (`unique`), or as many as the square root of their number (`root`), drawn anew.
        per_patient: The most slices of one patient (or group) that an epoch shows, drawn anew; 0:
            all.
        added_share: The share of the slices of sets added to the protocol's own that an epoch
            shows, drawn anew.
        shares: The share of an epoch that each data set has, by its name; then slices are drawn by
            it with replacement, inside a set evenly by class, hospital and sequence (see
            `tumorscope.training.balance`), instead of as `sampling`, `per_patient` and
            `added_share` say. Empty: off.
        drawn: So many slices are drawn an epoch by `shares`; 0: as many as there are.
        averaging: Decay, a step, of the moving average of the weights that is classified and kept
            (Tarvainen & Valpola 2017); 0: the last weights are.
        early_stopping: Epochs without a better one before training ends; 0: never.
        soup: So many networks are trained, `epochs` each, from the same first weights, in another
            order and with other augmentation; the mean of their weights is the result (Wortsman
            et al. 2022). With more than one, the `last` epoch of each is kept.
        seed: Of weights, order, augmentation and held-out groups.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=2, le=4096)] = 64
    precision: Precision = "fp32"
    validation_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    monitor: Literal["validation_accuracy", "validation_loss"] = "validation_accuracy"
    keep: Literal["best", "last"] = "best"
    sampling: Sampling = "slices"
    per_patient: Annotated[int, Field(ge=0)] = 0
    added_share: Share = 1.0
    shares: dict[str, Annotated[float, Field(gt=0.0, le=1.0)]] = Field(default_factory=dict)
    drawn: Annotated[int, Field(ge=0)] = 0
    averaging: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    early_stopping: Annotated[int, Field(ge=0)] = 0
    soup: Annotated[int, Field(ge=1, le=20)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class DecisionRecipe(Section):
    """What is decided on the network's probabilities.

    Attributes:
        false_negative_cost: So many false alarms a missed tumour is worth: "no tumour" is the
            answer only where it is so many times as probable as the likeliest tumour (Elkan 2001,
            "The foundations of cost-sensitive learning", IJCAI).
    """

    false_negative_cost: Annotated[float, Field(ge=1.0, le=100.0)] = 1.0


class Recipe(Section):
    """Everything that a training run depends on besides the data."""

    name: str = "unnamed"
    network: NetworkRecipe = NetworkRecipe()
    input: InputRecipe = InputRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    loss: LossRecipe = LossRecipe()
    optimizer: OptimizerRecipe = OptimizerRecipe()
    training: TrainingRecipe = TrainingRecipe()
    decision: DecisionRecipe = DecisionRecipe()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.input.start > self.input.size:
            raise ValueError("input.start is larger than input.size")
        training = self.training
        if training.soup > 1 and (
            training.keep != "last" or training.averaging or training.early_stopping
        ):
            raise ValueError(
                "training.soup above 1 needs training.keep = 'last', no averaging and no "
                "early stopping"
            )
        for name in ("strip", "paint"):
            if getattr(self.augmentation, name) and not self.loss.outline:
                raise ValueError(f"augmentation.{name} needs outlines: set loss.outline above 0")
        own = self.network.name == "litenet"
        for field, used in {
            "network.trunk": self.network.trunk != "lite0",
            "network.weights": self.network.weights != "none",
            "network.frozen": self.network.frozen > 0,
            "loss.outline": self.loss.outline > 0,
        }.items():
            if used and not own:
                raise ValueError(f"{field} is for network.name = 'litenet' only")
        return self

    def to_toml(self) -> str:
        """Return the recipe as TOML, every field written out."""
        return tomli_w.dumps(self.model_dump())

    def idle_fields(self) -> tuple[str, ...]:
        """Return which fields that were set change nothing, and why, a line each."""
        schedule, shares = self.optimizer.schedule, bool(self.training.shares)
        rate, drawn = f"the schedule is {schedule}", "training.shares say what is drawn"
        usual = Recipe()
        return tuple(
            f"{field} changes nothing: {reason}"
            for field, idle, reason in (
                ("network.size", self.network.name != "slicenet", "network.name is not 'slicenet'"),
                ("optimizer.warmup", schedule in ("plateau", "constant"), rate),
                ("optimizer.plateau_patience", schedule != "plateau", rate),
                ("optimizer.plateau_factor", schedule != "plateau", rate),
                ("training.sampling", shares, drawn),
                ("training.per_patient", shares, drawn),
                ("training.added_share", shares, drawn),
                ("training.drawn", not shares, "it goes with training.shares"),
            )
            if idle and value_of(self, field) != value_of(usual, field)
        )


def bundled_recipes() -> tuple[str, ...]:
    """Return the names of the recipes in the package."""
    return bundled("recipes")


def bundled(kind: Literal["recipes", "searches"]) -> tuple[str, ...]:
    """Return the names of the TOML files of a kind in the package."""
    folder = _folder(kind)
    return tuple(sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml")))


def _folder(kind: Literal["recipes", "searches"]) -> Traversable:
    package = {"recipes": "tumorscope.training", "searches": "tumorscope.tuning"}[kind]
    return resources.files(package) / kind


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe.

    Args:
        name: A bundled recipe's name, or the path of a TOML file.
        overrides: `section.field=value`, the value as TOML; a bare word is text.

    Returns:
        The checked recipe.

    Raises:
        RecipeError: There is no such recipe, it is no TOML, or a field is unknown or out of its
            range; the message names the field.
    """
    values = read_toml(name, "recipes")
    for override in overrides:
        _set(values, override)
    return _checked(values, f"recipe {name}")


def vary(recipe: Recipe, values: Mapping[str, Any], *, named: str) -> Recipe:
    """Return a recipe with other values in some fields.

    Args:
        recipe: The recipe as it stands.
        values: The new ones by field, as in `optimizer.learning_rate`.
        named: What a message begins with: where the values come from.

    Returns:
        The checked recipe.

    Raises:
        RecipeError: There is no such field, or its value is out of range; the message names it.
    """
    changed = recipe.model_dump()
    for field, value in values.items():
        try:
            _put(changed, field, value)
        except RecipeError as error:
            raise RecipeError(f"{named}: {error}") from None
    return _checked(changed, named)


def value_of(recipe: Recipe, field: str) -> Any:
    """Return what stands in a field, as in `optimizer.learning_rate`."""
    value: Any = recipe
    for part in field.split("."):
        value = getattr(value, part)
    return value


def read_toml(name: str | Path, kind: Literal["recipes", "searches"]) -> dict[str, Any]:
    """Return what a TOML file holds.

    Args:
        name: A file of the package by its name, or the path of one.
        kind: Of which kind the package's is.

    Raises:
        RecipeError: There is no such file, or it is no TOML.
    """
    path = Path(name)
    known = bundled(kind)
    if str(name) in known:
        content = (_folder(kind) / f"{name}.toml").read_bytes()
    elif path.suffix == ".toml" and path.is_file():
        content = path.read_bytes()
    else:
        what = {"recipes": "recipe", "searches": "search"}[kind]
        raise RecipeError(f"no {what} '{name}': give a .toml file or one of {', '.join(known)}")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{name}: not TOML ({error})") from None


def _set(values: dict[str, Any], override: str) -> None:
    field, sign, text = override.partition("=")
    if not sign or not field:
        raise RecipeError(f"--set takes section.field=value, not '{override}'")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    try:
        _put(values, field.strip(), value)
    except RecipeError as error:
        raise RecipeError(f"--set {override}: {error}") from None


def _put(values: dict[str, Any], field: str, value: Any) -> None:
    *sections, last = field.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"'{section}' is a field, not a section")
        values = inner
    values[last] = value


def _checked(values: dict[str, Any], named: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(_explain(named, error)) from None


def _explain(named: str, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        names = {name: name for name in _fields(Recipe)}
        if "." not in field:  # (A section, or a field without its section.)
            names = {name.rpartition(".")[2]: name for name in names}
            names |= {name: name for name in Recipe.model_fields}
        near = difflib.get_close_matches(field, names, n=1)
        hint = f"; did you mean '{names[near[0]]}'?" if near else ""
        return f"{named}: there is no field '{field}'{hint}"
    if not field:
        return f"{named}: {first['ctx']['error']}"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{named}: {field} is {first['input']!r}: {message}"


def _fields(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += _fields(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
