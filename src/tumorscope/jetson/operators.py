"""What versions of TensorRT cannot read in an ONNX model.

The operators are those of ONNX-TensorRT's support matrices:

- TensorRT 8.2, the last version for the Jetson Nano: release 8.4-GA's matrix
  (https://github.com/onnx/onnx-tensorrt/blob/release/8.4-GA/docs/operators.md) without what the
  changelog says was added after 8.2 (docs/Changelog.md: Shrink, Xor), which is 8.2-GA's.
- TensorRT 10 and 11 (Jetson Orin and Thor): the operators of release 8.5-GA's matrix
  (https://github.com/onnx/onnx-tensorrt/blob/release/8.5-GA/docs/operators.md), which later
  versions kept, and the operator sets of 10.0-GA.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tumorscope.inference.onnx_messages import Model

TENSORRT_8_2_OPSET: Final = 13

TENSORRT_8_2_OPERATORS: Final = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast
    Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace
    DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather
    GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
    GreaterOrEqual GRU HardSigmoid Identity If ImageScaler InstanceNormalization IsNaN LeakyRelu
    Less LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean
    Min Mul Neg NonMaxSuppression Not Or Pad ParametricSoftplus Pow PRelu QuantizeLinear
    RandomUniform RandomUniformLike Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence
    RNN Round ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh
    Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh
    ThresholdedRelu Tile TopK Transpose Unsqueeze Upsample Where
    """.split()  # noqa: SIM905  (a list would be 130 lines long)
)

_ADDED_BY_8_5: Final = frozenset(
    """
    GridSample HardSwish MeanVarianceNormalization Mod NonZero OneHot RandomNormal RandomNormalLike
    Reciprocal RoiAlign Shrink Trilu Xor
    """.split()  # noqa: SIM905
)

_QUANTIZING: Final = ("QuantizeLinear", "DequantizeLinear")

_LARGEST_INDEX: Final = 2**31 - 1

_INTEGERS: Final = {2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}
"""ONNX's numbers of the integers that stand for shapes, indices and zeros."""

_UINT8, _INT32, _INT64, _FLOAT16 = 2, 6, 7, 10

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class TensorRT:
    """What a version of TensorRT reads.

    Attributes:
        version: Its number.
        opset: The newest operator set.
        operators: The operators' names.
    """

    version: str
    opset: int
    operators: frozenset[str]


TENSORRT_8_2: Final = TensorRT("8.2", TENSORRT_8_2_OPSET, TENSORRT_8_2_OPERATORS)
TENSORRT_10: Final = TensorRT("10", 20, TENSORRT_8_2_OPERATORS | _ADDED_BY_8_5)
TENSORRT_11: Final = TensorRT("11", 20, TENSORRT_8_2_OPERATORS | _ADDED_BY_8_5)


def unsupported_operators(model: Model, tensorrt: TensorRT = TENSORRT_8_2) -> list[str]:
    """Return what TensorRT does not read, each once, in the order of the alphabet.

    Args:
        model: Any ONNX model.
        tensorrt: The version.

    Returns:
        Operators' names (`HardSwish`), `operator set 18` when it is newer than TensorRT's, and
        `QuantizeLinear of unsigned or shifted values`, since TensorRT's 8-bit values are signed
        and symmetric, and `DequantizeLinear of 32-bit integers`. Empty: all is well.
    """
    versions = {item.domain: item.version for item in model.opset_import}
    names = {
        node.op_type if not node.domain else f"{node.domain}.{node.op_type}"
        for node in model.graph.node
        if node.domain or node.op_type not in tensorrt.operators
    }
    if versions.get("", 0) > tensorrt.opset:
        names.add(f"operator set {versions['']}")
    values = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in _QUANTIZING and not _is_symmetric(values.get("".join(node.input[2:]))):
            names.add(f"{node.op_type} of unsigned or shifted values")
        quantized = values.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if quantized is not None and quantized.data_type == _INT32:
            names.add("DequantizeLinear of 32-bit integers")
    return sorted(names)


def precision_of(model: Model) -> Precision:
    """Return what a model computes in, by its operators and weights."""
    if any(node.op_type in _QUANTIZING for node in model.graph.node):
        return "int8"
    half = any(item.data_type == _FLOAT16 for item in model.graph.initializer)
    return "fp16" if half else "fp32"


def wide_integers(model: Model) -> list[str]:
    """Return the 64-bit integers that TensorRT 8 would change: it cuts them to 32 bits.

    Shapes and indices are 64-bit in every ONNX file, and cutting does them no harm as long as they
    are small. The limits of a `Slice` may be huge: cut, they still mean "to the end".

    Args:
        model: Any ONNX model.

    Returns:
        Names of inputs and outputs that are 64-bit integers, and of constants that hold a number
        beyond 32 bits. Empty: all is well.
    """
    ports = [*model.graph.input, *model.graph.output]
    names = [port.name for port in ports if port.type.tensor_type.elem_type == _INT64]
    constants = {item.name: item for item in model.graph.initializer} | {
        node.output[0]: attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    limits = {
        name
        for node in model.graph.node
        if node.op_type == "Slice"
        for name in (*node.input[1:3], *node.input[4:])
    }
    return names + [
        name
        for name, tensor in constants.items()
        if tensor.data_type == _INT64
        and name not in limits
        and (np.abs(_integers(tensor).astype(np.float64)) > _LARGEST_INDEX).any()
    ]


def _is_symmetric(zero: Any) -> bool:
    return zero is None or (zero.data_type != _UINT8 and not _integers(zero).any())


def _integers(tensor: Any) -> NDArray[Any]:
    """Return a tensor's integers, wherever the file keeps them."""
    if tensor.raw_data:
        return np.frombuffer(tensor.raw_data, _INTEGERS[tensor.data_type])
    return np.array([*tensor.int32_data, *tensor.int64_data], dtype=np.int64)
