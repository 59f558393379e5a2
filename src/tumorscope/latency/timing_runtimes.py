"""A model file and a runtime's name come in, the model opened in that runtime goes out."""

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnxruntime

from tumorscope.errors import ModelError
from tumorscope.inference.model_file import (
    METADATA_KEY,
    PROVIDERS,
    ModelFile,
    open_model,
    read_facts,
)

PROCESSOR: Final = "onnx"
"""ONNX Runtime on the processor: what `predict` uses where there is nothing faster."""

OPENVINO: Final = "openvino"
"""OpenVINO itself, reading the same ONNX file."""


def installed_runtimes() -> tuple[str, ...]:
    """Return the runtimes found here, by the names used here.

    `onnx` is ONNX Runtime on the processor, `onnx-cuda` and the like are its other execution
    providers, `openvino` is OpenVINO on the processor.
    """
    offered = onnxruntime.get_available_providers()
    others = [f"{PROCESSOR}-{name}" for name in PROVIDERS if PROVIDERS[name] in offered]
    others.remove(f"{PROCESSOR}-cpu")
    own = [OPENVINO] if importlib.util.find_spec("openvino") else []
    return (PROCESSOR, *others, *own)


def runtime_version(runtime: str) -> str:
    """Return the version of the package that a runtime is part of."""
    if runtime == OPENVINO:
        return importlib.metadata.version("openvino")
    return str(onnxruntime.__version__)


def open_in(runtime: str, path: Path, *, threads: int | None) -> ModelFile:
    """Open a model file in a runtime.

    Args:
        runtime: One of `installed_runtimes`.
        path: The ONNX file.
        threads: Threads of the network; None for one a core.

    Raises:
        ModelError: The runtime is not installed, or cannot open the file.
    """
    if runtime not in installed_runtimes():
        here = ", ".join(installed_runtimes())
        raise ModelError(f"no runtime '{runtime}' here: choose from {here}, or install it")
    if runtime == OPENVINO:
        return _open_openvino(path, threads)
    provider = "cpu" if runtime == PROCESSOR else runtime.removeprefix(f"{PROCESSOR}-")
    return open_model(path, threads=threads, providers=[provider])


class _OpenvinoSession:
    """Answers as ONNX Runtime's session does.

    Args:
        compiled: The model, compiled by OpenVINO.
    """

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def run(self, names: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
        """Return the outputs of those names."""
        answers = self._compiled(inputs)
        return [answers[name] for name in names]


def read_openvino(path: Path, *, threads: int | None) -> tuple[Any, Any]:
    """Have OpenVINO read an ONNX file.

    Args:
        path: The file; any ONNX file, not only this package's.
        threads: Threads of the network; None for one a core.

    Returns:
        OpenVINO's model and what it compiled it to, for calls with one image, in float32.

    Raises:
        ModelError: It cannot.
    """
    import openvino  # noqa: PLC0415  (not part of a plain install)

    # OpenVINO computes in bfloat16 where the processor has it, unless told otherwise.
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        model = openvino.Core().read_model(path)
        return model, openvino.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        words = " ".join(str(error).split())
        raise ModelError(
            f"{path}: not a model that OpenVINO can open ({words[:120]}): choose another --runtime"
        ) from error


def _open_openvino(path: Path, threads: int | None) -> ModelFile:
    model, compiled = read_openvino(path, threads=threads)
    try:
        text = model.get_rt_info(["framework", METADATA_KEY]).astype(str)
    except RuntimeError:
        raise ModelError(
            f"{path}: no '{METADATA_KEY}' metadata: use a file that 'tumorscope export' wrote"
        ) from None
    batch = model.inputs[0].partial_shape[0]
    return ModelFile(
        facts=read_facts(text, path),
        session=_OpenvinoSession(compiled),
        batch=batch.get_length() if batch.is_static else None,
        outputs=frozenset(name for port in model.outputs for name in port.get_names()),
    )
