"""An ONNX model comes in, the same model computing in 16-bit floating point goes out."""

from collections.abc import Sequence

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from tumorscope.export.onnx_file import nodes_of


def to_fp16(model: onnx.ModelProto, *, keep_fp32: Sequence[str] = ()) -> onnx.ModelProto:
    """Return a model whose weights and layers are float16; inputs, outputs and softmax are not.

    Args:
        model: In float32; it is not changed.
        keep_fp32: Names of the network's modules that stay in float32.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    half: onnx.ModelProto = convert_float_to_float16(
        copied,
        keep_io_types=True,
        op_block_list=["Softmax"],
        node_block_list=nodes_of(model, keep_fp32),
    )
    # The casts are added at the end, and a file's operators must stand in the order of their use.
    OnnxModel(half).topological_sort()
    return half
