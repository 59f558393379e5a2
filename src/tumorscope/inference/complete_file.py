"""Puts the preparation in front of a model file: raw pixels in, answer out.

`preparation.onnx`, beside this module, holds the steps of `tumorscope.images.preparation` as plain
operators. `python benchmarks/make_preparation_graph.py` writes it; it is joined to model files
unchanged, so that it computes in float32 whatever the network computes in.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tumorscope.errors import ModelError
from tumorscope.files import write_bytes
from tumorscope.inference.onnx_messages import (
    Model,
    fix_batch,
    read_model,
    read_model_file,
    set_side,
)
from tumorscope.inference.runtimes import METADATA_KEY

PIXELS_NAME: Final = "pixels"
"""A complete file's input: float32 `[1, H, W]`, grey values 0 to 255."""

BOX_NAME: Final = "box"
"""The output that says where the head lies: top, bottom, left and right in pixels, `[1, 4]`."""

GRAPH: Final = Path(__file__).parent / "preparation.onnx"


@dataclass(frozen=True)
class PixelSize:
    """Which pictures a complete file takes.

    Attributes:
        fixed: Their height and width; None for any, each picture another.
    """

    fixed: tuple[int, int] | None = None


def preparation(side: int, pixels: PixelSize) -> Model:
    """Return the preparation as a model of its own, from `pixels` to `grey` and `box`.

    Args:
        side: Of the network's input `grey`, in pixels.
        pixels: Which pictures it takes.
    """
    model = read_model(GRAPH.read_bytes())
    values = {item.name: item for item in model.graph.initializer}
    values["preparation.size"].raw_data = np.float32(side).tobytes()
    outputs = values["preparation.outputs"]
    outputs.dims[:] = [side]
    outputs.raw_data = np.arange(side, dtype=np.float32).tobytes()
    for port, sides in (
        (model.graph.input[0], (1, *(pixels.fixed or ()))),
        (model.graph.output[0], (1, 1, side, side)),
    ):
        for length, place in zip(sides, port.type.tensor_type.shape.dim, strict=False):
            set_side(place, length)
    return model


def complete_file(model: Path, out: Path, pixels: PixelSize) -> None:
    """Write a model file that prepares its input itself, one slice a call.

    Args:
        model: An ONNX file that `tumorscope export` wrote, in any precision.
        out: The file; it may be the same.
        pixels: Which pictures it takes.

    Raises:
        ModelError: The file is damaged or another's, the model takes pixels already, its batch is
            fixed to more than one slice, or its operator set is not the preparation's.
    """
    whole = read_model_file(model)
    entry = next((item for item in whole.metadata_props if item.key == METADATA_KEY), None)
    if entry is None:
        raise ModelError(f"{model}: not a model file that 'tumorscope export' wrote")
    facts = json.loads(entry.value)
    if facts.get("input") == PIXELS_NAME:
        raise ModelError(f"{model}: takes pixels already")
    first = preparation(facts["input_size"], pixels)
    wanted, given = (
        {item.domain: item.version for item in one.opset_import}[""] for one in (first, whole)
    )
    if given != wanted:
        raise ModelError(
            f"{model}: of operator set {given}, and a file that takes pixels has {wanted}: "
            f"export it with --opset {wanted}"
        )
    fix_batch(whole, model)
    entry.value = json.dumps(facts | {"input": PIXELS_NAME}, separators=(",", ":"))
    graph = whole.graph
    nodes = [*first.graph.node, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.initializer.extend(first.graph.initializer)
    graph.input.extend(first.graph.input)
    graph.output.extend(first.graph.output[1:])
    write_bytes(out, whole.SerializeToString())
