"""Reads, changes and writes the messages of ONNX files.

ONNX's own package would make a plain install a tenth larger for the few fields that are looked
at here. They are declared here with their names and numbers in onnx.proto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto); Protocol Buffers, which ONNX Runtime
brings along, keeps all others as they are.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from tumorscope.errors import ModelError

Model: TypeAlias = Any
"""A `ModelProto`: this module's, or that of ONNX's own package."""

_FIELDS: Final = {
    "ModelProto": "ir_version:int64=1 graph:GraphProto=7 opset_import:OperatorSetIdProto*=8 "
    "metadata_props:StringStringEntryProto*=14",
    "OperatorSetIdProto": "domain:string=1 version:int64=2",
    "StringStringEntryProto": "key:string=1 value:string=2",
    "GraphProto": "node:NodeProto*=1 initializer:TensorProto*=5 input:ValueInfoProto*=11 "
    "output:ValueInfoProto*=12 value_info:ValueInfoProto*=13",
    "NodeProto": "input:string*=1 output:string*=2 op_type:string=4 attribute:AttributeProto*=5 "
    "domain:string=7",
    "AttributeProto": "name:string=1 i:int64=3 t:TensorProto=5",
    "TensorProto": "dims:int64*=1 data_type:int32=2 int32_data:int32*=5 int64_data:int64*=7 "
    "name:string=8 raw_data:bytes=9",
    "ValueInfoProto": "name:string=1 type:TypeProto=2",
    "TypeProto": "tensor_type:TensorTypeProto=1",
    "TensorTypeProto": "elem_type:int32=1 shape:TensorShapeProto=2",
    "TensorShapeProto": "dim:DimensionProto*=1",
    "DimensionProto": "dim_value:int64=1 dim_param:string=2",
}
"""Each message's fields: name, type, a star for any number of them, number."""

_PACKAGE: Final = "tumorscope_onnx"


def read_model(content: bytes) -> Model:
    """Return the `ModelProto` of an ONNX file; its attributes are the fields above.

    Raises:
        google.protobuf.message.DecodeError: The bytes are no ONNX file.
    """
    model: Model = _model_class().FromString(content)
    return model


def read_model_file(path: Path) -> Model:
    """Return the `ModelProto` of a file, as `read_model` does.

    Raises:
        ModelError: It is no ONNX file, or a damaged one.
        OSError: It cannot be read.
    """
    try:
        model = read_model(path.read_bytes())
    except DecodeError:
        model = None
    if model is None or not model.graph.node:
        raise ModelError(f"{path}: not an ONNX file, or a damaged one")
    return model


def fix_batch(model: Model, name: object) -> None:
    """Fix a model's batch to one slice.

    Args:
        model: It is changed.
        name: Where it is from, for the message.

    Raises:
        ModelError: Its batch is fixed to more.
    """
    for port in (*model.graph.input, *model.graph.output):
        batch = port.type.tensor_type.shape.dim[0]
        if batch.dim_value > 1:
            raise ModelError(
                f"{name}: takes {batch.dim_value} slices a call, and one is wanted: "
                "export it with --batch 1 or --batch dynamic"
            )
        set_side(batch, 1)
    del model.graph.value_info[:]  # Shapes inside the network may name the old batch.


def set_side(side: Any, length: int) -> None:
    """Set one side of a shape to a number."""
    side.ClearField("dim_param")
    side.dim_value = length


@cache
def _model_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="onnx.proto", package=_PACKAGE, syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for words in fields.split():
            field, _, rest = words.partition(":")
            kind, _, number = rest.partition("=")
            one = message.field.add(name=field, number=int(number))
            one.label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind in _FIELDS:
                one.type, one.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                one.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.ModelProto"))
