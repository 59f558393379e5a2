"""Quantizes ONNX models to 8 bits, calibrated on training images."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from tumorscope.export.onnx_file import nodes_of
from tumorscope.export.served_network import INPUT_NAME
from tumorscope.inference.runtimes import to_inputs

CALIBRATION_IMAGES: Final = 256

_OPERATORS: Final = ["Conv", "MaxPool", "Relu", "Clip", "Add"]
"""What is computed in 8 bits; scaling, mean, linear layer and softmax stay in float."""

_PERCENTILE: Final = 99.99
"""Of the values between two layers so many lie in the range that 8 bits are spread over."""

_STEP: Final = 32


def quantize(
    model: onnx.ModelProto,
    grey: NDArray[np.uint8],
    *,
    signed: bool = False,
    batch: int | None = None,
    keep_fp32: Sequence[str] = (),
) -> onnx.ModelProto:
    """Return a model whose convolutions compute in 8 bits (static, quantise-dequantise pairs).

    Weights are signed, symmetric and scaled for each channel; values between layers are unsigned,
    which x86 processors multiply fast, or signed and symmetric, which TensorRT asks for. The ranges
    of the latter leave out the rarest values of the calibration images: one odd image does not
    make everything else coarse.

    Args:
        model: In float, for any number of images a call.
        grey: Calibration images `[N, S, S]`, grey values 0 to 255, at least one.
        signed: Whether values between layers are signed and symmetric.
        keep_fp32: Names of the network's modules that stay in float.
        batch: The number of images a call that the result is fixed to, or None.
    """
    # What is drawn and what is decided stay in float.
    last = [node.name for node in model.graph.node if {"heatmap", "logits"} & {*node.output}]
    # The calibration tells on standard output what it does.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        quant_pre_process(model, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            _Images(grey),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=_OPERATORS,
            nodes_to_exclude=[*last, *nodes_of(model, keep_fp32)],
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={
                "CalibPercentile": _PERCENTILE,
                "ActivationSymmetric": signed,
                "WeightSymmetric": True,
                # TensorRT reads no 32-bit integers that are dequantised, as biases else are.
                "QuantizeBias": not signed,
            },
        )
        result: onnx.ModelProto = onnx.load(quantized)
    used = {node.domain for node in result.graph.node}
    versions = [item for item in result.opset_import if item.domain in used]
    del result.opset_import[:]
    result.opset_import.extend(versions)
    if batch is not None:
        for port in (*result.graph.input, *result.graph.output):
            port.type.tensor_type.shape.dim[0].dim_value = batch
        del result.graph.value_info[:]  # They speak of any number.
    return result


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """Gives ONNX Runtime's calibration the images, some at a time.

    Args:
        grey: Images `[N, S, S]`.
    """

    def __init__(self, grey: NDArray[np.uint8]) -> None:
        # The calibration wants parts of one size: the last is filled with the first images.
        step = min(_STEP, len(grey))
        numbers = np.arange(-(-len(grey) // step) * step).reshape(-1, step) % len(grey)
        self._parts: Iterator[NDArray[np.float32]] = (to_inputs(grey[part]) for part in numbers)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next inputs by name, or None at the end."""
        part = next(self._parts, None)
        return None if part is None else {INPUT_NAME: part}
