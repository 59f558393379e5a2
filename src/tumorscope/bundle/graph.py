"""A model file comes in, the same model as the board takes it goes out: one slice a call."""

from pathlib import Path
from typing import TYPE_CHECKING

from tumorscope.bundle.operators import unsupported_operators, wide_integers
from tumorscope.bundle.targets import Target
from tumorscope.errors import ModelError

if TYPE_CHECKING:
    import onnx

NEWEST_FILE_FORMAT = 8
"""The newest ONNX file format (IR version) that TensorRT 8.2's parser knows."""


def board_graph(path: Path, target: Target) -> "onnx.ModelProto":
    """Read a model file and fix its batch to one slice.

    Args:
        path: An ONNX file.
        target: The board that is to take it.

    Returns:
        The model: every shape of its inputs and outputs is a number, its metadata are kept.

    Raises:
        ModelError: The model's batch is fixed to more, or the board's TensorRT cannot read it.
    """
    import onnx  # noqa: PLC0415  (keeps --help fast)

    model = onnx.load(path)
    for port in (*model.graph.input, *model.graph.output):
        batch = port.type.tensor_type.shape.dim[0]
        if batch.dim_value > 1:
            raise ModelError(
                f"{path}: takes {batch.dim_value} slices a call, a board takes one: "
                "export it with --batch 1 or --batch dynamic"
            )
        batch.dim_value = 1
    del model.graph.value_info[:]  # Shapes inside the network may name the old batch.
    model.ir_version = min(model.ir_version, NEWEST_FILE_FORMAT)
    _check(model, path, target)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        for port, known in zip(model.graph.output, inferred.graph.output, strict=True):
            port.CopyFrom(known)
        onnx.checker.check_model(model, full_check=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        words = " ".join(str(error).split())[:120]
        raise ModelError(f"{path}: its layers do not fit each other ({words})") from None
    for port in model.graph.output:
        if any(not side.dim_value for side in port.type.tensor_type.shape.dim):
            raise ModelError(f"{path}: not for {target.name}: the shape of {port.name} is open")
    return model


def _check(model: "onnx.ModelProto", path: Path, target: Target) -> None:
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
