"""Builds a TensorRT engine from an ONNX model, for this machine's GPU."""

import shutil
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import onnx

from tumorscope.errors import ModelError
from tumorscope.export.served_network import INPUT_NAME
from tumorscope.inference.runtimes import AT_ONCE
from tumorscope.jetson.operators import unsupported_operators

_TRTEXEC: Final = Path("/usr/src/tensorrt/bin/trtexec")
"""Where JetPack and the Debian packages put it."""


def write_engine(model: onnx.ModelProto, path: Path) -> None:
    """Build an engine with TensorRT's Python package, else with `trtexec`.

    Args:
        model: As ONNX.
        path: The engine.

    Raises:
        ModelError: There is no TensorRT here, or it cannot take the model.
    """
    missing = unsupported_operators(model)
    if missing:
        raise ModelError(f"TensorRT 8.2 has no {', '.join(missing)}: export with --opset 13")
    trtexec = shutil.which("trtexec") or (str(_TRTEXEC) if _TRTEXEC.is_file() else None)
    if find_spec("tensorrt"):
        path.write_bytes(_build(model))
    elif trtexec:
        _run_trtexec(trtexec, model, path)
    else:
        raise ModelError(
            "no TensorRT here: pip install tensorrt on a machine with an NVIDIA GPU, or put its "
            "trtexec on the PATH; an engine only runs on the kind of GPU that it was built on"
        )


def _shapes(model: onnx.ModelProto) -> list[list[int]]:
    """Return the smallest, usual and largest shape of the input; none where it is fixed."""
    batch, *rest = model.graph.input[0].type.tensor_type.shape.dim
    if batch.HasField("dim_value"):
        return []
    sides = [item.dim_value for item in rest]
    return [[count, *sides] for count in (1, 1, AT_ONCE)]


def _build(model: onnx.ModelProto) -> bytes:
    tensorrt = import_module("tensorrt")
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    # TensorRT 8 and 9 must be told so; from 10 on every network has its batch among its shapes.
    flag = getattr(tensorrt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        raise ModelError(f"TensorRT does not take the model: {parser.get_error(0).desc()}")
    config: Any = builder.create_builder_config()
    shapes = _shapes(model)
    if shapes:
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT_NAME, *shapes)
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ModelError("TensorRT could not build an engine; its messages stand above")
    return bytes(engine)


def _run_trtexec(trtexec: str, model: onnx.ModelProto, path: Path) -> None:
    source = path.with_suffix(".onnx")
    onnx.save(model, source)
    command = [trtexec, f"--onnx={source}", f"--saveEngine={path}"]
    for option, shape in zip(("min", "opt", "max"), _shapes(model), strict=False):
        command.append(f"--{option}Shapes={INPUT_NAME}:{'x'.join(str(side) for side in shape)}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    source.unlink()
    if done.returncode != 0 or not path.is_file():
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise ModelError(f"trtexec could not build an engine: {lines[-1]}")
