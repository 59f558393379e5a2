"""A path or a model's name comes in, a checked ONNX session and the file's own facts go out."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnxruntime

from tumorscope.errors import ModelError
from tumorscope.images.preparation import PREPARATION_VERSION

FORMAT: Final = 1
"""The version of the metadata that this package reads."""

METADATA_KEY: Final = "tumorscope"

DEFAULT_MODEL: Final = "tumorscope-edge"

WEIGHTS: Final = Path(__file__).parents[1] / "weights"
"""Where the bundled models are."""

PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
"""ONNX Runtime's execution providers by the names used here."""

_FOUND: Final = ("cuda", "directml", "coreml", "cpu")
"""Providers used unasked where they are installed; the others take long to start."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model file says about itself.

    Attributes:
        name: The model's name.
        version: The model's version.
        classes: The classes in the order of the probabilities.
        input_size: Side of the input in pixels.
        confident: The probability from which an answer is called confident.
        ood_threshold: A slice with a larger OOD score is unsupported; None where there is no score.
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
    confident: float
    ood_threshold: float | None
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
        session: ONNX Runtime's session.
        batch: The number of slices that the network takes at once; None for any.
        outputs: What the network gives: `probabilities`, and more where it can.
    """

    facts: ModelFacts
    session: Any
    batch: int | None
    outputs: frozenset[str]


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
    path: Path, *, threads: int | None = None, providers: Sequence[str] | None = None
) -> ModelFile:
    """Open a model file and check that this package can use it.

    Args:
        path: The ONNX file.
        threads: Threads of the network; None for one a core.
        providers: Names from `PROVIDERS`, the preferred one first; None takes what is found.

    Raises:
        ModelError: The file is damaged, was not written by `tumorscope export`, or needs another
            version of this package; or a provider is unknown or not installed.
    """
    wanted = _wanted(providers)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 4  # What goes wrong is told in one line below.
    # Batches have many sizes: plans of the memory of each would add up, and gain nothing.
    options.enable_mem_pattern = False
    # Spinning threads would take the cores from those that decode the next pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), options, providers=wanted)
    except Exception as error:  # ONNX Runtime's errors have no base class of their own.
        words = " ".join(str(error).split())
        raise ModelError(
            f"{path}: not a model that ONNX Runtime can open ({words[:120]}): export it again"
        ) from error
    if providers and wanted[0] not in session.get_providers():
        raise ModelError(
            f"the execution provider '{providers[0]}' is installed but could not be started: "
            "check its driver, or choose --provider cpu"
        )
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(
            f"{path}: says nothing of classes and input (no '{METADATA_KEY}' metadata): "
            "use a file that 'tumorscope export' wrote"
        )
    facts = read_facts(text, path)
    return ModelFile(facts, session, *_check_ports(session, facts, path))


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
                f"{PREPARATION_VERSION}: use the version that exported it, or export it again"
            )
        result = ModelFacts(
            name=str(facts["name"]),
            version=str(facts["version"]),
            classes=tuple(str(name) for name in facts["classes"]),
            input_size=int(facts["input_size"]),
            confident=float(facts["thresholds"]["confident"]),
            ood_threshold=_number(facts["thresholds"].get("ood_threshold")),
            temperature=float(facts["temperature"]),
            data=dict(facts["data"]),
            recipe=dict(facts["recipe"]),
            created=str(facts["created"]),
            license=str(facts["license"]),
            intended_use=str(facts["intended_use"]),
        )
    except KeyError as error:
        raise ModelError(f"{path}: its metadata lack {error}: export it again") from None
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: its metadata are damaged ({error}): export it again") from None
    if len(set(result.classes)) != len(result.classes) or len(result.classes) < 2:
        raise ModelError(f"{path}: its metadata name no two different classes: export it again")
    return result


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _wanted(providers: Sequence[str] | None) -> list[str]:
    """Return ONNX Runtime's names of the providers to use; the processor always stands last."""
    installed = onnxruntime.get_available_providers()
    if providers is None:
        found = [PROVIDERS[name] for name in _FOUND]
        return [name for name in found if name in installed]
    wanted = []
    for name in providers:
        if name not in PROVIDERS:
            raise ModelError(
                f"unknown execution provider '{name}': choose from {', '.join(PROVIDERS)}"
            )
        if PROVIDERS[name] not in installed:
            here = ", ".join(key for key, value in PROVIDERS.items() if value in installed)
            raise ModelError(
                f"the execution provider '{name}' is not in this ONNX Runtime (it has {here}): "
                "install the build of onnxruntime that has it"
            )
        wanted.append(PROVIDERS[name])
    return wanted if PROVIDERS["cpu"] in wanted else [*wanted, PROVIDERS["cpu"]]


def _check_ports(session: Any, facts: ModelFacts, path: Path) -> tuple[int | None, frozenset[str]]:
    """Return the fixed batch size, if there is one, and the outputs."""
    inputs = {port.name: port for port in session.get_inputs()}
    outputs = {port.name: port for port in session.get_outputs()}
    side, count = facts.input_size, len(facts.classes)
    grey, probabilities = inputs.get("grey"), outputs.get("probabilities")
    if (
        len(inputs) != 1
        or grey is None
        or probabilities is None
        or grey.type != "tensor(float)"
        or list(grey.shape[1:]) != [1, side, side]
        or probabilities.shape[1:] not in ([count], [None])
    ):
        raise ModelError(
            f"{path}: not the expected network (float32 input grey [N,1,{side},{side}], output "
            f"probabilities [N,{count}]): export it again"
        )
    batch = grey.shape[0]
    return (batch if isinstance(batch, int) else None), frozenset(outputs)
