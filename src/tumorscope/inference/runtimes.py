"""Opens model files in their runtimes, behind one interface: ONNX Runtime and OpenVINO.

The runtimes that need PyTorch (TorchScript, TensorRT) are in `tumorscope.export.torch_runtimes` and
are handed to `open_runtime`; a Jetson board has its own, for Python 3.6.
"""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tumorscope.errors import MissingExtraError, ModelError

METADATA_KEY: Final = "tumorscope"
"""The name under which a model file carries its metadata."""

PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
"""ONNX Runtime's execution providers by the names used here."""

ONNX: Final = "onnx"
"""ONNX Runtime on the processor: what `predict` uses where there is nothing faster."""

OPENVINO: Final = "openvino"
"""OpenVINO itself, reading the same ONNX file."""

AT_ONCE: Final = 32
"""Slices a call, where the file leaves it open; TensorRT engines are built for no more."""

_FOUND: Final = ("cuda", "directml", "coreml", "cpu")
"""Providers used unasked where they are installed; the others take long to start."""

_WORDS: Final = 120
"""How much of a runtime's own message is shown."""

Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Port:
    """An input or output of a model.

    Attributes:
        name: Its name.
        shape: Its sides; None where the model leaves one open.
        is_float: Whether its values are 32-bit floats.
    """

    name: str
    shape: tuple[int | None, ...]
    is_float: bool = True


@dataclass(frozen=True, eq=False, kw_only=True)
class Runtime:
    """A model file, opened and ready to answer.

    Attributes:
        title: The runtime's name as people call it.
        metadata: The JSON that the file carries under `METADATA_KEY`; None where there is none.
        inputs: What the model takes.
        outputs: What it gives.
        call: From the values of the only input to those of the outputs, in their order.
        on_one_core: Opens the model again so that each call keeps to one core, for calls from
            several threads at once; None where only one call may run, or gains nothing by it.
    """

    title: str
    metadata: str | None
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    call: Callable[[Floats], Sequence[Any]]
    on_one_core: "Callable[[], Runtime] | None" = None

    @property
    def batch(self) -> int | None:
        """The number of slices that every call must have; None where it is left open."""
        return self.inputs[0].shape[0]

    def ask(self, inputs: Floats) -> dict[str, Floats]:
        """Return all outputs by name for one call.

        Args:
            inputs: Values of the model's only input, in the shape that it takes.
        """
        names = (port.name for port in self.outputs)
        return {
            name: np.asarray(values) for name, values in zip(names, self.call(inputs), strict=True)
        }

    def run(self, grey: NDArray[np.uint8], *, at_once: int = AT_ONCE) -> dict[str, Floats]:
        """Return all outputs by name, `[N, …]`, for any number of prepared slices.

        Args:
            grey: Grey values 0 to 255, uint8, `[N, S, S]`, N at least 1.
            at_once: Slices a call; a model whose batch is fixed keeps to that, filled up with
                black.
        """
        step = self.batch or at_once
        parts = []
        for start in range(0, len(grey), step):
            inputs = to_inputs(grey[start : start + step])
            count = len(inputs)
            if self.batch and count < step:
                inputs = np.concatenate(
                    [inputs, np.zeros_like(inputs, shape=(step - count, *inputs.shape[1:]))]
                )
            parts.append({name: values[:count] for name, values in self.ask(inputs).items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


Opener: TypeAlias = Callable[[Path], Runtime]


def to_inputs(grey: NDArray[np.uint8]) -> Floats:
    """Return slices `[N, S, S]` as networks take them: `[N, 1, S, S]`, float32, 0 to 255."""
    return grey[:, None].astype(np.float32)


def installed_runtimes() -> tuple[str, ...]:
    """Return the runtimes found here that read ONNX files, by the names used here.

    `onnx` is ONNX Runtime on the processor, `onnx-cuda` and the like are its other execution
    providers, `openvino` is OpenVINO on the processor.
    """
    offered = onnxruntime.get_available_providers()
    others = [f"{ONNX}-{name}" for name in PROVIDERS if PROVIDERS[name] in offered]
    others.remove(f"{ONNX}-cpu")
    own = [OPENVINO] if importlib.util.find_spec("openvino") else []
    return (ONNX, *others, *own)


def runtime_version(runtime: str) -> str:
    """Return the version of the package that a runtime is part of."""
    if runtime == OPENVINO:
        return importlib.metadata.version("openvino")
    return str(onnxruntime.__version__)


def open_runtime(
    path: Path,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    others: Mapping[str, Opener] = MappingProxyType({}),
) -> Runtime:
    """Open a model file.

    Args:
        path: An ONNX file, OpenVINO's folder, or a file of one of the `others`' kinds.
        runtime: One of `installed_runtimes`, for an ONNX file; None for the one that the kind of
            file is made for.
        threads: Threads of the network; None for one a core.
        providers: ONNX Runtime's execution providers, names from `PROVIDERS`, the preferred one
            first; None takes what is found.
        others: What opens further kinds of files, by their ending.

    Raises:
        ModelError: The file is missing, damaged or of no known kind, or the runtime is not here.
        MissingExtraError: The runtime of such files is not installed.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such file")
    if runtime is not None and runtime not in installed_runtimes():
        here = ", ".join(installed_runtimes())
        raise ModelError(f"no runtime '{runtime}' here: choose from {here}, or install it")
    if runtime == OPENVINO or path.is_dir():
        return _open_openvino(path, threads)
    if path.suffix in others:
        return others[path.suffix](path)
    if path.suffix != ".onnx":
        known = ", ".join([".onnx", *others, "OpenVINO's folder"])
        raise ModelError(f"{path}: no known kind of model; known are {known}")
    if runtime is not None:
        providers = ["cpu" if runtime == ONNX else runtime.removeprefix(f"{ONNX}-")]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    return _open_onnx(path, content, threads, providers)


def _open_onnx(
    path: Path, content: bytes, threads: int | None, providers: Sequence[str] | None
) -> Runtime:
    wanted = _wanted(providers)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 4  # What goes wrong is told in one line below.
    # Batches have many sizes: plans of the memory of each would add up, and gain nothing.
    options.enable_mem_pattern = False
    # Spinning threads would take the cores from those that decode the next pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Other programs put large weights into a file beside the model's, which bytes do not name.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.absolute().parent)
    )
    try:
        session = onnxruntime.InferenceSession(content, options, providers=wanted)
    except Exception as error:  # ONNX Runtime's errors have no base class of their own.
        raise ModelError(
            f"{path}: not a model that ONNX Runtime can open ({_first_words(error)}): "
            "export it again"
        ) from error
    if providers and wanted[0] not in session.get_providers():
        raise ModelError(
            f"the execution provider '{providers[0]}' is installed but could not be started: "
            "check its driver, or choose --provider cpu"
        )
    inputs = tuple(map(_onnx_port, session.get_inputs()))
    on_one_core = partial(_open_onnx, path, content, 1, providers)
    return Runtime(
        title="ONNX Runtime",
        metadata=session.get_modelmeta().custom_metadata_map.get(METADATA_KEY),
        inputs=inputs,
        outputs=tuple(map(_onnx_port, session.get_outputs())),
        call=lambda values: session.run(None, {inputs[0].name: values}),
        on_one_core=on_one_core if wanted == [PROVIDERS["cpu"]] else None,
    )


def _onnx_port(port: Any) -> Port:
    sides = (side if isinstance(side, int) else None for side in port.shape)
    return Port(port.name, tuple(sides), port.type == "tensor(float)")


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


def _open_openvino(path: Path, threads: int | None) -> Runtime:
    """Have OpenVINO read its own folder or an ONNX file, in float32."""
    try:
        import openvino  # noqa: PLC0415  (an extra of its own)
    except ModuleNotFoundError:
        raise MissingExtraError("openvino", "openvino") from None
    # OpenVINO computes in bfloat16 where the processor has it, unless told otherwise.
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        model = openvino.Core().read_model(path / "model.xml" if path.is_dir() else path)
        compiled = openvino.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise ModelError(
            f"{path}: not a model that OpenVINO can open ({_first_words(error)})"
        ) from error
    place = METADATA_KEY if path.is_dir() else ["framework", METADATA_KEY]
    return Runtime(
        title="OpenVINO",
        metadata=model.get_rt_info(place).astype(str) if model.has_rt_info(place) else None,
        inputs=tuple(map(_openvino_port, model.inputs)),
        outputs=tuple(map(_openvino_port, model.outputs)),
        call=lambda values: list(compiled(values).values()),
    )


def _openvino_port(port: Any) -> Port:
    sides = (side.get_length() if side.is_static else None for side in port.partial_shape)
    is_float = port.get_element_type().get_type_name() == "f32"
    return Port(port.get_any_name(), tuple(sides), is_float)


def _first_words(error: Exception) -> str:
    return " ".join(str(error).split())[:_WORDS]
