"""Writes a finished run as one ONNX file."""

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import onnx
import onnxruntime
import torch
from onnx import helper, version_converter

from tumorscope.errors import ModelError
from tumorscope.export.metadata import metadata_of, to_text
from tumorscope.export.served_network import INPUT_NAME, ServedNetwork
from tumorscope.files import whole_file
from tumorscope.inference.runtimes import METADATA_KEY
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import TrainedNetwork, load_weights

EDGE_OPSET: Final = 13
"""The newest operator set that TensorRT 8.2, the last one for a Jetson Nano, reads."""


def export_onnx(
    run: RunFolder, path: Path, *, opset: int = EDGE_OPSET, batch: int | None = None
) -> Path:
    """Write a run's network as an ONNX file, whole or not at all.

    Args:
        run: A finished run.
        path: The file.
        opset: Operator set, from 13 to `newest_opset()`.
        batch: Fixed number of images a call, or None for any.

    Returns:
        The path.

    Raises:
        ModelError: The run is not finished, or the operator set is not on offer.
    """
    trained = load_weights(run.weights_file)
    model = build_onnx(trained, opset=opset, batch=batch)
    return save_onnx(model, metadata_of(run, trained), path)


def build_onnx(
    trained: TrainedNetwork, *, opset: int = EDGE_OPSET, batch: int | None = None
) -> onnx.ModelProto:
    """Return a network as an ONNX model without metadata; see `export_onnx`.

    Args:
        trained: The network.
        opset: Operator set.
        batch: Fixed number of images a call, or None for any.
    """
    newest = newest_opset()
    if not EDGE_OPSET <= opset <= newest:
        raise ModelError(f"operator set {opset} is not on offer: take {EDGE_OPSET} to {newest}")
    if batch is not None and batch < 1:
        raise ModelError(f"a batch of {batch} is not on offer: take 1 or more, or dynamic")
    served = ServedNetwork(trained)
    free = {name: {0: "N"} for name in (INPUT_NAME, *served.output_names)}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / "model.onnx"
        # This exporter is deprecated, and its successor starts at operator set 18: too new for
        # TensorRT 8.2.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # Shapes that are constants of a network at one input size (EfficientNet's padding).
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        # What it then leaves in the graph is computed there (EfficientNet's padding).
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            served,
            (served.example(batch or 2),),
            file,
            input_names=[INPUT_NAME],
            output_names=list(served.output_names),
            dynamic_axes=None if batch else free,
            opset_version=EDGE_OPSET,
            dynamo=False,
        )
        model = onnx.load(file)
    if opset > EDGE_OPSET:
        model = version_converter.convert_version(model, opset)
    # The oldest file format that has these operators: TensorRT 8.2 reads up to 8, set 13 needs 7.
    model.ir_version = helper.find_min_ir_version_for(list(model.opset_import))
    return model


def save_onnx(model: onnx.ModelProto, metadata: dict[str, Any], path: Path) -> Path:
    """Check a model and write it with its metadata, whole or not at all."""
    model.producer_name = "tumorscope"
    model.producer_version = metadata["version"]
    helper.set_model_props(model, {METADATA_KEY: to_text(metadata)})
    onnx.checker.check_model(model, full_check=True)
    with whole_file(path) as temporary:
        onnx.save(model, temporary)
    return path


def nodes_of(model: onnx.ModelProto, modules: Sequence[str]) -> list[str]:
    """Return the names of the nodes that some of a network's modules became."""
    return [
        node.name
        for node in model.graph.node
        if any(f"/{module}/" in node.name for module in modules)
    ]


def newest_opset() -> int:
    """Return the newest operator set that the installed ONNX Runtime takes."""
    newest = int(onnx.defs.onnx_opset_version())
    return next(opset for opset in range(newest, EDGE_OPSET - 1, -1) if _is_taken(opset))


def _is_taken(opset: int) -> bool:
    """Try the smallest model there is."""
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", [value], [result])
    versions = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        graph, opset_imports=versions, ir_version=helper.find_min_ir_version_for(versions)
    )
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001  (ONNX Runtime's errors have no common class but this one)
        return False
    return True
