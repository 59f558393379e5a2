"""Converts ONNX models to 16-bit floating point."""

import json
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from tumorscope.export.onnx_file import nodes_of
from tumorscope.files import write_bytes
from tumorscope.inference.runtimes import METADATA_KEY


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


def convert_file(model: Path, out: Path) -> None:
    """Write a model file that computes in 16 bits, but for the modules that it names itself.

    Args:
        model: A file in float32 that `tumorscope export` wrote.
        out: The file to write.
    """
    loaded = onnx.load(model)
    metadata = {item.key: item.value for item in loaded.metadata_props}
    keep_fp32 = json.loads(metadata[METADATA_KEY]).get("keep_fp32", [])
    write_bytes(out, to_fp16(loaded, keep_fp32=keep_fp32).SerializeToString())
