"""A finished run comes in, one model file that carries everything goes out, checked."""

from tumorscope.export.onnx_file import export_onnx, newest_opset
from tumorscope.export.torchscript_file import export_torchscript
from tumorscope.export.verification import Tolerance, Verification, verify

__all__ = [
    "Tolerance",
    "Verification",
    "export_onnx",
    "export_torchscript",
    "newest_opset",
    "verify",
]
