"""Exports a finished run as a checked model file."""

from tumorscope.export.formats import FORMATS, Exported, Format, export_run
from tumorscope.export.onnx_file import EDGE_OPSET, export_onnx, newest_opset
from tumorscope.export.torchscript_file import export_torchscript
from tumorscope.export.verification import Tolerance, Verification, verify
from tumorscope.jetson.operators import unsupported_operators

__all__ = [
    "EDGE_OPSET",
    "FORMATS",
    "Exported",
    "Format",
    "Tolerance",
    "Verification",
    "export_onnx",
    "export_run",
    "export_torchscript",
    "newest_opset",
    "unsupported_operators",
    "verify",
]
