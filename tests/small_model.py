"""A small ONNX model file with real metadata, written in the tests that need one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tumorscope.classes import CLASSES

SIDE = 32


def metadata(**changes: Any) -> dict[str, Any]:
    """What an exported file says about itself."""
    return {
        "format": 1,
        "name": "small",
        "version": "0.1",
        "classes": list(CLASSES),
        "input_size": SIDE,
        "preparation": 2,
        "temperature": 1.5,
        "thresholds": {"confident": [0.9] * len(changes.get("classes", CLASSES))},
        "data": {"fingerprint": "00"},
        "recipe": {},
        "created": "2026-01-01",
        "license": "Apache-2.0",
        "intended_use": "Research use only",
        **changes,
    }


def write_model(
    path: Path,
    *,
    batch: int | str = "N",
    heatmap: bool = True,
    text: str | None = None,
    sharpness: float = 1.0,
    ood_score: float | None = None,
    **changes: Any,
) -> Path:
    """Write a network of one convolution: smooth in its input, different for each picture.

    Args:
        path: The file.
        batch: A fixed batch size, or the name of a free one.
        heatmap: Whether it gives class maps.
        text: The metadata as text, where they are to be damaged; "" leaves them out.
        sharpness: The larger, the surer the network is; NaN gives NaN probabilities.
        ood_score: What the network gives for every picture; None where it has no score.
        changes: Entries of the metadata that differ from the usual.
    """
    facts = metadata(**changes)
    count, side = len(facts["classes"]), facts["input_size"]
    random = np.random.default_rng(5)
    kernel = random.normal(0, sharpness / 255, (count, 1, 8, 8)).astype(np.float32)
    maps_side = (side - 8) // 4 + 1
    outputs = {"probabilities": ["N", count], "logits": ["N", count]}
    if heatmap:
        outputs["heatmap"] = ["N", count, maps_side, maps_side]
    nodes = [
        helper.make_node("Conv", ["grey", "kernel"], ["heatmap"], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["heatmap"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    values = [numpy_helper.from_array(kernel, "kernel")]
    if ood_score is not None:
        outputs["ood_score"] = ["N"]
        values.append(numpy_helper.from_array(np.float32(ood_score), "score"))
        values.append(numpy_helper.from_array(np.float32(0), "zero"))
        nodes += [
            helper.make_node("ReduceMean", ["grey"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "score"], ["ood_score"]),
        ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("grey", TensorProto.FLOAT, [batch, 1, side, side])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape[1:]])
            for name, shape in outputs.items()
        ],
        values,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    text = json.dumps(facts) if text is None else text
    if text:
        helper.set_model_props(model, {"tumorscope": text})
    onnx.save(model, path)
    return path
