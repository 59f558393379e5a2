"""Finds model files, opens them and checks what they say about themselves."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tumorscope.errors import ModelError
from tumorscope.images.preparation import PREPARATION_VERSION
from tumorscope.inference.runtimes import METADATA_KEY, Runtime, open_runtime
from tumorscope.series.rule import SeriesRule

FORMAT: Final = 1
"""The version of the metadata that this package reads."""

DEFAULT_MODEL: Final = "tumorscope-edge"

WEIGHTS: Final = Path(__file__).parents[1] / "weights"
"""Where the bundled models are."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model file says about itself.

    Attributes:
        name: The model's name.
        version: The model's version.
        classes: The classes in the order of the probabilities.
        input_size: Side of the input in pixels.
        confident: The probability from which an answer is confident, class by class.
        risk: The largest expected share of a new patient's slices that are confident and wrong;
            None where nothing can be promised.
        ood_threshold: A slice with a larger OOD score is unsupported; None where there is no score.
        series: How answers to whole series are calibrated.
        temperature: What the logits were divided by.
        data: What the model learned from.
        recipe: How it was trained.
        created: When the file was made.
        license: The licence of the weights.
        intended_use: What the model is for.
    """

    name: str
    version: str
    classes: tuple[str, ...]
    input_size: int
    confident: tuple[float, ...]
    risk: float | None
    ood_threshold: float | None
    series: SeriesRule
    temperature: float
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    created: str
    license: str
    intended_use: str

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class ModelFile:
    """An opened model.

    Attributes:
        facts: What the file says about itself.
        runtime: What answers.
    """

    facts: ModelFacts
    runtime: Runtime


def bundled_models() -> tuple[str, ...]:
    """Return the names of the models that came with the package."""
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.onnx")))


def find_model(model: "str | os.PathLike[str]") -> Path:
    """Return the file that a path or a bundled model's name means.

    Raises:
        ModelError: There is no such file or model, or it is no ONNX file.
    """
    path = Path(model)
    if path.is_file():
        return path
    if path.is_dir():
        raise ModelError(
            f"{path} is a folder, not a model file: "
            f"make one of a run with 'tumorscope export {path}'"
        )
    if len(path.parts) > 1 or path.suffix:
        raise ModelError(f"{path}: no such model file; check the path")
    bundled = WEIGHTS / f"{path}.onnx"
    if not bundled.is_file():
        known = ", ".join(bundled_models()) or "none"
        raise ModelError(
            f"no model '{path}' came with this package (bundled: {known}): "
            "give the path of an .onnx file that 'tumorscope export' wrote"
        )
    return bundled


def open_model(
    path: Path,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
) -> ModelFile:
    """Open a model file and check that this package can use it.

    Args:
        path: The ONNX file.
        runtime: One of `installed_runtimes`; None for ONNX Runtime.
        threads: Threads of the network; None for one a core.
        providers: Names from `PROVIDERS`, the preferred one first; None takes what is found.

    Raises:
        ModelError: The file is damaged, was not written by `tumorscope export`, or needs another
            version of this package; or a provider is unknown or not installed.
    """
    opened = open_runtime(path, runtime=runtime, threads=threads, providers=providers)
    if opened.metadata is None:
        raise ModelError(
            f"{path}: says nothing of classes and input (no '{METADATA_KEY}' metadata): "
            "use a file that 'tumorscope export' wrote"
        )
    facts = read_facts(opened.metadata, path)
    _check_ports(opened, facts, path)
    return ModelFile(facts, opened)


def read_facts(text: str, path: Path) -> ModelFacts:
    """Read the metadata of a model file.

    Args:
        text: The JSON under the key `tumorscope`.
        path: The file, for messages.

    Raises:
        ModelError: The metadata are damaged, or of another version than this package can use.
    """
    try:
        facts = json.loads(text)
        number, preparation = int(facts["format"]), int(facts["preparation"])
        if number > FORMAT:
            raise ModelError(
                f"{path}: written in format {number}, this tumorscope reads up to {FORMAT}: "
                "update it with 'pip install -U tumorscope'"
            )
        if preparation != PREPARATION_VERSION:
            raise ModelError(
                f"{path}: made for image preparation {preparation}, this tumorscope has "
                f"{PREPARATION_VERSION}: use the version that exported it, or train again"
            )
        result = ModelFacts(
            name=str(facts["name"]),
            version=str(facts["version"]),
            classes=tuple(str(name) for name in facts["classes"]),
            input_size=int(facts["input_size"]),
            confident=tuple(float(value) for value in facts["thresholds"]["confident"]),
            risk=_number(facts["thresholds"].get("risk")),
            ood_threshold=_number(facts["thresholds"].get("ood_threshold")),
            series=SeriesRule.from_json(facts["thresholds"].get("series")),
            temperature=float(facts["temperature"]),
            data=dict(facts["data"]),
            recipe=dict(facts["recipe"]),
            created=str(facts["created"]),
            license=str(facts["license"]),
            intended_use=str(facts["intended_use"]),
        )
    except KeyError as error:
        raise ModelError(f"{path}: its metadata lack {error}: export it again") from None
    except (AttributeError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: its metadata are damaged ({error}): export it again") from None
    if not isinstance(facts["classes"], list):
        raise ModelError(f"{path}: its metadata are damaged (no list of classes): export it again")
    if len(set(result.classes)) != len(result.classes) or len(result.classes) < 2:
        raise ModelError(f"{path}: its metadata name no two different classes: export it again")
    sensible = all(0 <= threshold <= 1 for threshold in result.confident)  # (NaN is not.)
    if len(result.confident) != len(result.classes) or not sensible:
        raise ModelError(f"{path}: its metadata lack a threshold for each class: export it again")
    series, limit = result.series, result.ood_threshold
    numbers = (result.temperature, series.slope, series.offset, 0.0 if limit is None else limit)
    if not (all(map(math.isfinite, numbers)) and 0 <= (series.confident or 0.0) <= 1):
        raise ModelError(
            f"{path}: its metadata are damaged (a threshold that is none): export it again"
        )
    return result


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _check_ports(runtime: Runtime, facts: ModelFacts, path: Path) -> None:
    """Make sure that the network takes and gives what its metadata say.

    Raises:
        ModelError: It does not.
    """
    side, count = facts.input_size, len(facts.classes)
    inputs, outputs = (
        {port.name: port for port in ports} for ports in (runtime.inputs, runtime.outputs)
    )
    grey, probabilities = inputs.get("grey"), outputs.get("probabilities")
    if "pixels" in inputs:
        raise ModelError(
            f"{path}: a complete file, which takes pixels and prepares them itself, for programs "
            "without tumorscope: here use the file that 'tumorscope export' writes without --input"
        )
    if (
        len(inputs) != 1
        or grey is None
        or probabilities is None
        or not grey.is_float
        or grey.shape[1:] != (1, side, side)
        or probabilities.shape[1:] not in ((count,), (None,))
    ):
        raise ModelError(
            f"{path}: not the expected network (float32 input grey [N,1,{side},{side}], output "
            f"probabilities [N,{count}]): export it again"
        )
