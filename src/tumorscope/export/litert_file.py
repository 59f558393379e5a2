"""Writes a network as a LiteRT file (`.tflite`, once TensorFlow Lite) and opens such files."""

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tumorscope.errors import MissingExtraError, ModelError
from tumorscope.export.quiet import quiet
from tumorscope.export.served_network import INPUT_NAME, OUTPUT_NAMES, ServedNetwork
from tumorscope.files import whole_file
from tumorscope.inference.runtimes import METADATA_KEY, Floats, Port, Runtime, to_inputs
from tumorscope.training.trained_network import TrainedNetwork

_METADATA_FILE: Final = f"{METADATA_KEY}.json"
_LABELS: Final = "labels.txt"

_SIGNATURE: Final = "serving_default"

_OPERATORS: Final = ("CONV_2D", "DEPTHWISE_CONV_2D")
"""What is computed in 8 bits."""

_HEADS: Final = ("_served;", r"_served/[^/;]*\.Conv2d_[^/;]*;")
"""Convolutions outside all modules and those that are a module of their own, as patterns of their
tensors' names: what is drawn and what is decided comes of them, and stays in float."""

_NO_PLACE: Final = -3.0e38


class _Named(nn.Module):
    """Names the outputs, as the file will."""

    def __init__(self, served: ServedNetwork) -> None:
        super().__init__()
        self.served = served

    def forward(self, grey: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.served.output_names, self.served(grey), strict=True))


def write_litert(
    trained: TrainedNetwork,
    metadata: Mapping[str, str],
    path: Path,
    *,
    batch: int | None = None,
    calibration: NDArray[np.uint8] | None = None,
) -> None:
    """Write a network, whole or not at all.

    Behind the model stand its metadata and the class names as a ZIP archive, which is how such
    files carry associated files: any program that unpacks ZIP archives shows them.

    Args:
        trained: The network.
        metadata: What the file says about itself, as text, by the name of a file in the archive.
        path: The file.
        batch: Number of images a call; None for one.
        calibration: Images `[N, S, S]` of grey values 0 to 255 to quantize the convolutions by;
            None leaves them in float.

    Raises:
        MissingExtraError: LiteRT's converter is not installed.
        ModelError: It cannot convert the network.
    """
    served = ServedNetwork(trained).eval()
    example = served.example(batch or 1)
    litert_torch = _imported("litert_torch")
    try:
        with quiet(), torch.inference_mode():
            exported = torch.export.export(_Named(served).eval(), (), {INPUT_NAME: example})
            plain = exported.run_decompositions({torch.ops.aten.topk.default: _topk})
            content = litert_torch.convert(
                plain.module(), sample_kwargs={INPUT_NAME: example}
            ).model_content()
            if calibration is not None:
                keep = trained.network.keep_fp32.get(8, ())
                content = _quantized(content, calibration, keep, len(example))
    except Exception as error:  # the converter's errors have no common class but this one
        reason = " ".join(str(error).split())[:120]
        raise ModelError(f"LiteRT's converter does not take this network ({reason})") from error
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
        with zipfile.ZipFile(temporary, "a") as archive:
            for name, text in metadata.items():
                archive.writestr(name, text)


def litert_metadata(text: str, classes: Sequence[str]) -> dict[str, str]:
    """Return the texts that a file carries, by name: see `write_litert`."""
    return {_METADATA_FILE: text, _LABELS: "".join(f"{name}\n" for name in classes)}


def open_litert(path: Path) -> Runtime:
    """Open a file in LiteRT's interpreter, on the processor.

    Raises:
        MissingExtraError: LiteRT is not installed.
        ModelError: The file is damaged, or was not written by `tumorscope export`.
    """
    interpreter = _imported("ai_edge_litert.interpreter")
    try:
        with quiet():
            model = interpreter.Interpreter(model_path=str(path), num_threads=os.cpu_count())
            runner = model.get_signature_runner(_SIGNATURE)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        with zipfile.ZipFile(path) as archive:
            text = archive.read(_METADATA_FILE).decode()
        port = _port(INPUT_NAME, inputs[INPUT_NAME])
    except (ValueError, RuntimeError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelError(f"{path}: not a LiteRT model, or damaged ({reason})") from None
    names = [name for name in OUTPUT_NAMES if name in outputs]

    def call(values: Floats) -> Sequence[Floats]:
        answers = runner(**{INPUT_NAME: values})
        return [answers[name] for name in names]

    return Runtime(
        title="LiteRT",
        metadata=text,
        inputs=(port,),
        outputs=tuple(_port(name, outputs[name]) for name in names),
        call=call,
    )


def _port(name: str, details: Mapping[str, Any]) -> Port:
    sides = (int(side) for side in details["shape"])
    return Port(name, tuple(sides), details["dtype"] is np.float32)


def _topk(values: Tensor, k: int, dim: int = -1, *flags: bool) -> tuple[Tensor, Tensor]:
    """Find the largest values one after the other: LiteRT's interpreter has no sorting."""
    assert all(flags), "the smallest, or unsorted: no network asks for them"
    places = torch.arange(values.shape[dim])
    found, numbers = [], []
    for _ in range(k):
        number = values.argmax(dim, keepdim=True)
        found.append(values.amax(dim, keepdim=True))
        numbers.append(number)
        values = torch.where(places == number, torch.full_like(values, _NO_PLACE), values)
    return torch.cat(found, dim), torch.cat(numbers, dim)


def _quantized(
    content: bytes, grey: NDArray[np.uint8], keep_fp32: Sequence[str], batch: int
) -> bytes:
    """Return a model whose convolutions compute in 8 bits: weights for each channel, static ranges.

    Args:
        content: The model in float.
        grey: Calibration images `[N, S, S]`.
        keep_fp32: Names of the network's modules that stay in float.
        batch: Images a call.
    """
    quantizer = import_module("ai_edge_quantizer.quantizer")
    operations = import_module("ai_edge_quantizer.qtyping").TFLOperationName
    work = quantizer.Quantizer(content)
    # The last part of a module's name is in those of its tensors, after the class's.
    parts = "|".join(re.escape(name.rpartition(".")[2]) for name in keep_fp32)
    for operation in _OPERATORS:
        work.add_static_config(".*", operations[operation], 8, 8)
        for scope in (f"_served/[^/;]*_(?:{parts})[/;]", *_HEADS):
            work.update_quantization_recipe(
                scope, operations[operation], algorithm_key="no_quantize"
            )
    count = len(grey) // batch * batch
    images = to_inputs(grey[:count]).reshape(-1, batch, 1, *grey.shape[1:])
    ranges = work.calibrate({_SIGNATURE: [{INPUT_NAME: values} for values in images]})
    result = work.quantize(ranges, enable_progress_report=False)
    return bytes(result.quantized_model)


def _imported(name: str) -> Any:
    """Import a part of LiteRT, which logs much unless told not to.

    Raises:
        MissingExtraError: It is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with quiet():
            return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError("litert", error.name or name) from None
