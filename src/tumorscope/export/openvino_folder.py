"""Writes an ONNX model in OpenVINO's own format: a folder of `model.xml` and `model.bin`."""

from pathlib import Path

import onnx

from tumorscope.errors import MissingExtraError, ModelError
from tumorscope.inference.runtimes import METADATA_KEY


def write_openvino(model: onnx.ModelProto, folder: Path) -> None:
    """Write a model in float32 with its metadata as runtime information.

    Args:
        model: As ONNX, with its metadata.
        folder: Where the two files go; made when missing.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ModelError: It cannot write there.
    """
    try:
        import openvino  # noqa: PLC0415  (an extra of its own)
    except ModuleNotFoundError:
        raise MissingExtraError("openvino", "openvino") from None
    # Not by convert_model: that one reports its use to OpenVINO's makers.
    converted = openvino.Core().read_model(model.SerializeToString())
    metadata = {item.key: item.value for item in model.metadata_props}
    converted.set_rt_info(metadata[METADATA_KEY], METADATA_KEY)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        openvino.save_model(converted, folder / "model.xml", compress_to_fp16=False)
    except RuntimeError as error:
        raise ModelError(
            f"{folder}: OpenVINO cannot write there ({error}); check the rights and the free space"
        ) from None
