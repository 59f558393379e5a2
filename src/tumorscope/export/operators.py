"""An ONNX model comes in, the names of what TensorRT 8.2 cannot read in it go out.

TensorRT 8.2 is the last version for the Jetson Nano. The list is that of ONNX-TensorRT 8.4
(https://github.com/onnx/onnx-tensorrt/blob/release/8.4-GA/docs/operators.md) without what its
changelog says was added after 8.2 (docs/Changelog.md: Shrink, Xor), which is release/8.2-GA's.
"""

from typing import Final

import onnx
from onnx import numpy_helper

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

_QUANTIZING: Final = ("QuantizeLinear", "DequantizeLinear")


def unsupported_operators(model: onnx.ModelProto) -> list[str]:
    """Return what TensorRT 8.2 does not read, each once, in the order of the alphabet.

    Args:
        model: Any ONNX model.

    Returns:
        Operators' names (`HardSwish`), `operator set 18` when it is newer than 13, and
        `QuantizeLinear of unsigned or shifted values`, since TensorRT's 8-bit values are signed
        and symmetric. Empty: all is well.
    """
    versions = {item.domain: item.version for item in model.opset_import}
    names = {
        node.op_type if not node.domain else f"{node.domain}.{node.op_type}"
        for node in model.graph.node
        if node.domain or node.op_type not in TENSORRT_8_2_OPERATORS
    }
    if versions.get("", 0) > TENSORRT_8_2_OPSET:
        names.add(f"operator set {versions['']}")
    values = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in _QUANTIZING and not _is_symmetric(values.get("".join(node.input[2:]))):
            names.add(f"{node.op_type} of unsigned or shifted values")
    return sorted(names)


def _is_symmetric(zero: onnx.TensorProto | None) -> bool:
    if zero is None:
        return True
    unsigned = zero.data_type == onnx.TensorProto.UINT8
    return not unsigned and not numpy_helper.to_array(zero).any()
