"""Fits a model file to a board: one slice a call, nothing that its TensorRT cannot read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import onnxruntime

from tumorscope.errors import ModelError
from tumorscope.inference.onnx_messages import Model, fix_batch, read_model_file, set_side
from tumorscope.jetson.operators import precision_of, unsupported_operators, wide_integers
from tumorscope.jetson.targets import Target

NEWEST_FILE_FORMAT: Final = 8
"""The newest ONNX file format (IR version) that TensorRT 8.2's parser knows."""


def board_graph(path: Path, target: Target) -> Model:
    """Read a model file and fix its batch to one slice.

    Args:
        path: An ONNX file.
        target: The board that is to take it.

    Returns:
        The model: every shape of its inputs and outputs is a number, its metadata are kept.

    Raises:
        ModelError: The model's batch is fixed to more, or the board's TensorRT cannot read it.
    """
    model = read_model_file(path)
    fix_batch(model, path)
    model.ir_version = min(model.ir_version, NEWEST_FILE_FORMAT)
    _check(model, path, target)
    try:
        shapes = find_shapes(model, [port.name for port in model.graph.output])
    except Exception as error:  # ONNX Runtime's errors have no base class of their own.
        words = " ".join(str(error).split())[:120]
        raise ModelError(f"{path}: its layers do not fit each other ({words})") from error
    for port in model.graph.output:
        for side, length in zip(port.type.tensor_type.shape.dim, shapes[port.name], strict=True):
            if not isinstance(length, int):
                raise ModelError(f"{path}: not for {target.name}: the shape of {port.name} is open")
            set_side(side, length)
    precision = precision_of(model)
    if precision not in target.precisions:
        raise ModelError(
            f"{path}: computes in {precision}, {target.name} takes "
            f"{' or '.join(target.precisions)}: export it in that format"
        )
    return model


def find_shapes(model: Model, names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the shapes of values inside a model, as ONNX Runtime finds them.

    Args:
        model: A model whose input has a fixed shape; it is not changed.
        names: Names of what its layers make.

    Returns:
        The sides by name: numbers, and something else where a side is open.
    """
    told = type(model)()
    told.CopyFrom(model)
    known = {port.name for port in told.graph.output}
    for name in dict.fromkeys(names):
        if name not in known:
            told.graph.output.add(name=name)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        told.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return {port.name: list(port.shape) for port in session.get_outputs()}


def _check(model: Model, path: Path, target: Target) -> None:
    version = target.tensorrt.version
    missing = unsupported_operators(model, target.tensorrt)
    if missing:
        raise ModelError(
            f"{path}: not for {target.name}: TensorRT {version} has no {', '.join(missing)}"
        )
    wide = wide_integers(model)
    if wide:
        raise ModelError(
            f"{path}: not for {target.name}: TensorRT {version} cuts the 64-bit integers of "
            f"{', '.join(wide)}"
        )
