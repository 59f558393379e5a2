"""Writes a model repository for NVIDIA's Triton Inference Server around a complete file."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tumorscope.errors import ModelError
from tumorscope.files import write_bytes, write_text
from tumorscope.inference.model_file import ModelFacts, read_facts
from tumorscope.inference.runtimes import METADATA_KEY, Port, Runtime, open_runtime

_LABELS: Final = "labels.txt"
_CONFIG: Final = "config.pbtxt"
_MODEL: Final = "1/model.onnx"
"""The model's first version; Triton serves the highest number."""


def write_triton(model: Path, folder: Path) -> None:
    """Write a model repository with one model, which takes pixels.

    Args:
        model: A complete file: see `tumorscope.inference.complete_file`.
        folder: The repository.
    """
    opened = open_runtime(model, providers=["cpu"])
    text = opened.metadata or ""
    facts = read_facts(text, model)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", facts.name)
    write_bytes(folder / name / _MODEL, model.read_bytes())
    write_text(folder / name / _LABELS, "".join(f"{label}\n" for label in facts.classes))
    write_text(folder / name / _CONFIG, _config(name, opened, text))
    write_text(folder / "README.md", _readme(name, opened, facts))


def open_triton(folder: Path) -> Runtime:
    """Open a repository's model as Triton does: in ONNX Runtime.

    Raises:
        ModelError: It is no repository of one model.
    """
    found = sorted(folder.glob(f"*/{_MODEL}"))
    if len(found) != 1 or not (found[0].parents[1] / _CONFIG).is_file():
        raise ModelError(f"{folder}: no model repository that 'tumorscope export' wrote")
    return open_runtime(found[0], providers=["cpu"])


def _config(name: str, model: Runtime, metadata: str) -> str:
    """Return Triton's model configuration, a `ModelConfig` in protobuf's text format."""
    blocks = [_port("input", port) for port in model.inputs]
    blocks += [_port("output", port) for port in model.outputs]
    return (
        f"name: {_quoted(name)}\n"
        'backend: "onnxruntime"\n'
        "# One slice a call, each of its own size: there is no batch to fill.\n"
        "max_batch_size: 0\n"
        f"{''.join(blocks)}"
        "instance_group { kind: KIND_CPU count: 1 }\n"
        "# What the file says about itself; GET v2/models/NAME/config tells it to a client.\n"
        f"parameters {{\n"
        f"  key: {_quoted(METADATA_KEY)}\n"
        f"  value {{ string_value: {_quoted(metadata)} }}\n"
        "}\n"
    )


def _port(kind: str, port: Port) -> str:
    sides = ", ".join("-1" if side is None else str(side) for side in port.shape)
    labels = f" label_filename: {_quoted(_LABELS)}" if port.name == "probabilities" else ""
    return (
        f"{kind} {{ name: {_quoted(port.name)} data_type: TYPE_FP32 dims: [ {sides} ]{labels} }}\n"
    )


def _quoted(text: str) -> str:
    """Return a string of protobuf's text format, which escapes as JSON does."""
    return json.dumps(text, ensure_ascii=False)


def _readme(name: str, model: Runtime, facts: ModelFacts) -> str:
    outputs = "".join(f"| `{port.name}` | {_shape(port.shape)} |\n" for port in model.outputs)
    pairs = zip(facts.classes, facts.confident, strict=True)
    classes = "".join(
        f"| {label} | {'never' if value >= 1 else f'{value:g}'} |\n" for label, value in pairs
    )
    limit = facts.ood_threshold
    odd = "" if limit is None else f", or `ood_score` is above {limit:g}"
    return f"""# {facts.title} for Triton

A model repository for NVIDIA's Triton Inference Server: one model, which classifies brain MRI
slices.

**{facts.intended_use}** Licence of the weights: {facts.license}.

## Start

```sh
tritonserver --model-repository="$PWD"        # in this folder
docker run --rm -p 8000:8000 -v "$PWD:/models" IMAGE tritonserver --model-repository=/models
```

`IMAGE` is NVIDIA's image of Triton with the ONNX Runtime backend. The model runs on the processor.
In `{name}/{_CONFIG}`, `KIND_GPU` moves it to a GPU, and a larger `count` lets it
answer several slices at a time.

## Ask

The input `pixels` is float32, {_shape(model.inputs[0].shape)}: one grey slice, 0 to 255, as it
is in its file. Crop, scale or stretch nothing: the model prepares the slice itself.

```python
import numpy as np
import tritonclient.http as triton
from PIL import Image

grey = np.array(Image.open("scan.png").convert("L"), dtype=np.float32)[None]
pixels = triton.InferInput("pixels", list(grey.shape), "FP32")
pixels.set_data_from_numpy(grey)
answer = triton.InferenceServerClient("localhost:8000").infer("{name}", [pixels])
print(answer.as_numpy("probabilities"))
```

| output | shape |
|---|---|
{outputs}
The probabilities come in this order, as in `{name}/{_LABELS}`:

| class | confident from |
|---|---|
{classes}
An answer below its class's probability is uncertain: a person should look. An answer is unsupported
where an output is no number{odd}. All that the model
says about itself is JSON in the configuration's parameter `{METADATA_KEY}`.
"""


def _shape(sides: Sequence[int | None]) -> str:
    named = iter(("H", "W"))
    return f"`[{', '.join(next(named) if side is None else str(side) for side in sides)}]`"
