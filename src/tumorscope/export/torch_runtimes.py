"""Opens TorchScript files and TensorRT engines, as `inference.runtimes` opens the others."""

import json
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch

from tumorscope.errors import ModelError
from tumorscope.export.served_network import INPUT_NAME, OUTPUT_NAMES
from tumorscope.inference.runtimes import METADATA_KEY, Floats, Port, Runtime

METADATA_FILE: Final = f"{METADATA_KEY}.json"
"""Where the metadata stands inside a TorchScript file."""


def open_torchscript(path: Path) -> Runtime:
    """Open a TorchScript file on the processor.

    Raises:
        ModelError: The file is damaged, or was not written by `tumorscope export`.
    """
    extra = {METADATA_FILE: ""}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            script = torch.jit.load(str(path), "cpu", extra)  # type: ignore[no-untyped-call]
        side = int(json.loads(extra[METADATA_FILE])["input_size"])
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path}: not a TorchScript model, or damaged ({reason})") from None

    def call(values: Floats) -> Sequence[Floats]:
        with torch.inference_mode():
            return [output.numpy() for output in script(torch.from_numpy(values))]

    # The file does not list what it gives: one call tells.
    outputs = call(torch.zeros(1, 1, side, side).numpy())
    return Runtime(
        title="TorchScript",
        metadata=str(extra[METADATA_FILE]),
        inputs=(Port(INPUT_NAME, (None, 1, side, side)),),
        outputs=tuple(
            Port(name, (None, *output.shape[1:]))
            for name, output in zip(OUTPUT_NAMES, outputs, strict=False)
        ),
        call=call,
    )


def open_engine(path: Path) -> Runtime:
    """Open a TensorRT engine on the GPU.

    Raises:
        ModelError: TensorRT is missing, or the engine is not one of this version and GPU.
    """
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
    outputs = [name for name in OUTPUT_NAMES if name in names]

    def port(name: str) -> Port:
        sides = (side if side >= 0 else None for side in engine.get_tensor_shape(name))
        return Port(name, tuple(sides))

    def call(values: Floats) -> Sequence[Floats]:
        grey = torch.from_numpy(values).cuda()
        context.set_input_shape(INPUT_NAME, tuple(grey.shape))
        tensors = {
            name: grey if name == INPUT_NAME else _room(context.get_tensor_shape(name))
            for name in names
        }
        for name, tensor in tensors.items():
            context.set_tensor_address(name, tensor.data_ptr())
        context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        return [tensors[name].cpu().numpy() for name in outputs]

    return Runtime(
        title="TensorRT",
        metadata=None,
        inputs=(port(INPUT_NAME),),
        outputs=tuple(map(port, outputs)),
        call=call,
    )


def _room(shape: Sequence[int]) -> torch.Tensor:
    return torch.empty(tuple(shape), dtype=torch.float32, device="cuda")


TORCH_RUNTIMES: Final = MappingProxyType({".torchscript": open_torchscript, ".engine": open_engine})
"""What `open_runtime` takes as `others`."""
