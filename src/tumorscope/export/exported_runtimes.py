"""A model file comes in, something that answers in the file's own runtime goes out."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from tumorscope.errors import MissingExtraError, ModelError
from tumorscope.export.served_network import INPUT_NAME, OUTPUT_NAMES
from tumorscope.inference import model_file

_Floats = NDArray[np.float32]
_Ask = Callable[[_Floats], Sequence[_Floats]]

PART: Final = 32
"""Images a call, where the file leaves it open; engines are built for no more."""


@dataclass(frozen=True, eq=False)
class OpenModel:
    """A model file that is ready to answer.

    Attributes:
        runtime: What answers, as people call it.
        size: Bytes on disk.
        batch: Images that every call must have; 0 where the file leaves it open.
        ask: From grey values `[N, 1, S, S]`, float32, to probabilities, logits and class maps.
    """

    runtime: str
    size: int
    batch: int
    ask: _Ask

    def answers(self, grey: NDArray[np.uint8]) -> list[_Floats]:
        """Return probabilities `[N, C]`, logits and, where there are any, class maps.

        Args:
            grey: Inputs `[N, S, S]`, grey values 0 to 255, N at least 1.
        """
        step = self.batch or PART
        parts = []
        for start in range(0, len(grey), step):
            inputs = to_inputs(grey[start : start + step])
            count = len(inputs)
            if self.batch > count:
                inputs = np.concatenate([inputs, np.repeat(inputs[:1], self.batch - count, 0)])
            parts.append([np.asarray(output)[:count] for output in self.ask(inputs)])
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def to_inputs(grey: NDArray[np.uint8]) -> _Floats:
    """Return inputs `[N, S, S]` as the graph takes them: `[N, 1, S, S]`, float32, 0 to 255."""
    return grey[:, None].astype(np.float32)


def open_model(path: Path) -> OpenModel:
    """Open a model file in the runtime that its kind is made for: an engine on the GPU.

    Args:
        path: `.onnx`, `.torchscript`, TensorRT's `.engine`, or a folder with OpenVINO's
            `model.xml` and `model.bin`.

    Raises:
        ModelError: The file is missing, damaged or of no known kind.
        MissingExtraError: Its runtime is not installed.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such file")
    if path.is_dir():
        return _open_openvino(path)
    if path.suffix == ".onnx":
        return _open_onnx(path)
    if path.suffix == ".torchscript":
        return _open_torchscript(path)
    if path.suffix == ".engine":
        return _open_engine(path)
    raise ModelError(
        f"{path}: no known kind of model; known are .onnx, .torchscript, .engine, OpenVINO's folder"
    )


def _open_onnx(path: Path) -> OpenModel:
    # As `predict` opens it: a file that it would not take is found out here.
    file = model_file.open_model(path, providers=["cpu"])

    def ask(inputs: _Floats) -> Sequence[_Floats]:
        answers: Sequence[_Floats] = file.session.run(None, {INPUT_NAME: inputs})
        return answers

    return OpenModel("ONNX Runtime", path.stat().st_size, file.batch or 0, ask)


def _open_torchscript(path: Path) -> OpenModel:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            script = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ModelError(f"{path}: not a TorchScript model, or damaged ({_first(error)})") from None

    def ask(inputs: _Floats) -> Sequence[_Floats]:
        with torch.inference_mode():
            return [output.numpy() for output in script(torch.from_numpy(inputs))]

    return OpenModel("TorchScript", path.stat().st_size, 0, ask)


def _open_openvino(path: Path) -> OpenModel:
    try:
        import openvino  # noqa: PLC0415  (an extra of its own)
    except ModuleNotFoundError:
        raise MissingExtraError("openvino", "openvino") from None
    try:
        model = openvino.Core().read_model(path / "model.xml")
        # OpenVINO computes in bfloat16 where the processor has it, unless told otherwise.
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.compile_model(model, "CPU", hints)
    except RuntimeError as error:
        raise ModelError(f"{path}: not an OpenVINO model, or damaged ({_first(error)})") from None
    batch = model.inputs[0].partial_shape[0]

    def ask(inputs: _Floats) -> Sequence[_Floats]:
        return list(compiled(inputs).values())

    size = sum((path / name).stat().st_size for name in ("model.xml", "model.bin"))
    return OpenModel("OpenVINO", size, batch.get_length() if batch.is_static else 0, ask)


def _open_engine(path: Path) -> OpenModel:
    try:
        tensorrt = import_module("tensorrt")
    except ModuleNotFoundError:
        raise ModelError(
            f"{path}: cannot be verified without TensorRT's Python package; --no-verify skips it"
        ) from None
    runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise ModelError(f"{path}: not an engine of this TensorRT and GPU, or damaged")
    context = engine.create_execution_context()
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    batch = engine.get_tensor_shape(INPUT_NAME)[0]

    def ask(inputs: _Floats) -> Sequence[_Floats]:
        grey = torch.from_numpy(inputs).cuda()
        context.set_input_shape(INPUT_NAME, tuple(grey.shape))
        tensors = {
            name: grey if name == INPUT_NAME else _room(context.get_tensor_shape(name))
            for name in names
        }
        for name, tensor in tensors.items():
            context.set_tensor_address(name, tensor.data_ptr())
        context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        return [tensors[name].cpu().numpy() for name in OUTPUT_NAMES if name in tensors]

    return OpenModel("TensorRT", path.stat().st_size, max(batch, 0), ask)


def _room(shape: Sequence[int]) -> torch.Tensor:
    return torch.empty(tuple(shape), dtype=torch.float32, device="cuda")


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
