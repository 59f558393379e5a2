"""An ONNX model comes in, the same model computing in 16-bit floating point goes out."""

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose weights and layers are float16; inputs, outputs and softmax are not.

    Args:
        model: In float32; it is not changed.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    half: onnx.ModelProto = convert_float_to_float16(
        copied, keep_io_types=True, op_block_list=["Softmax"]
    )
    # The casts are added at the end, and a file's operators must stand in the order of their use.
    OnnxModel(half).topological_sort()
    return half
