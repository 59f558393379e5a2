"""Writes a MONAI bundle around a complete file: metadata, a workflow that runs, a page about it."""

import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

import tumorscope
from tumorscope import __version__
from tumorscope.errors import ModelError
from tumorscope.export.quiet import quiet
from tumorscope.files import write_bytes, write_text
from tumorscope.inference.model_file import ModelFacts, read_facts
from tumorscope.inference.runtimes import Floats, Port, Runtime, open_runtime

_SCHEMA: Final = "https://project-monai.github.io/schema/meta_schema_20240725.json"

_PACKAGE: Final = Path(tumorscope.__file__).parent

_COPIES: Final = "tumorscope_bundle"
"""What this package's files are called in a bundle: beside an installed `tumorscope`."""

_MODULES: Final = (
    "export/monai_workflow.py",
    "images/reading.py",
    "images/suitability.py",
    "inference/decision.py",
)
"""The workflow's parts and what they import; the latter keep to NumPy and Pillow."""

_WORKFLOW: Final = f"{_COPIES}.export.monai_workflow"

_MODEL: Final = "models/model.onnx"

_INFERENCE: Final = {
    "imports": ["$import pathlib"],
    "bundle_root": ".",
    "dataset_dir": "$@bundle_root + '/images'",
    "output_dir": "$@bundle_root + '/eval'",
    "device": "cpu",
    "files": "$sorted(path for path in pathlib.Path(@dataset_dir).rglob('*') if path.is_file())",
    "network_def": {
        "_target_": f"{_WORKFLOW}.OnnxNetwork",
        "path": f"$@bundle_root + '/{_MODEL}'",
    },
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": f"{_WORKFLOW}.ReadSliced", "keys": ["image"]}],
    },
    "dataset": {
        "_target_": "Dataset",
        "data": "$[{'image': str(path)} for path in @files]",
        "transform": "@preprocessing",
    },
    "inferer": {"_target_": "SimpleInferer"},
    "evaluator": {
        "_target_": f"{_WORKFLOW}.TableEvaluator",
        "dataset": "@dataset",
        "network": "@network_def",
        "inferer": "@inferer",
        "device": "@device",
        "output_dir": "@output_dir",
    },
    "run": ["$@evaluator.run()"],
}

_LOGGING: Final = """[loggers]
keys=root

[handlers]
keys=screen

[formatters]
keys=plain

[logger_root]
level=INFO
handlers=screen

[handler_screen]
class=StreamHandler
level=INFO
formatter=plain
args=(sys.stdout,)

[formatter_plain]
format=%(asctime)s %(name)s %(levelname)s %(message)s
"""

_LICENCES: Final = {
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "CC BY-NC-SA 4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
}


def write_monai_bundle(model: Path, folder: Path) -> None:
    """Write a bundle.

    Args:
        model: A complete file: see `tumorscope.inference.complete_file`.
        folder: The bundle.
    """
    opened = open_runtime(model, providers=["cpu"])
    facts = read_facts(opened.metadata or "", model)
    write_bytes(folder / _MODEL, model.read_bytes())
    for name in _MODULES:
        text = (_PACKAGE / name).read_text(encoding="utf-8")
        write_text(folder / _COPIES / name, text.replace("from tumorscope.", f"from {_COPIES}."))
    configs = folder / "configs"
    write_text(configs / "metadata.json", _json(_metadata(facts, opened)))
    write_text(configs / "inference.json", _json(_INFERENCE))
    write_text(configs / "logging.conf", _LOGGING)
    write_text(folder / "docs" / "README.md", _readme(facts))
    write_text(folder / "LICENSE", _licence(facts))


def open_monai_bundle(folder: Path) -> Runtime:
    """Open a bundle through `monai.bundle`: a call reads a picture and runs its network.

    Raises:
        ModelError: It is no bundle that 'tumorscope export' wrote, or MONAI cannot run it.
    """
    metadata = folder / "configs" / "metadata.json"
    if not metadata.is_file() or not (folder / _MODEL).is_file():
        raise ModelError(f"{folder}: no MONAI bundle that 'tumorscope export' wrote")
    from monai.bundle.workflows import ConfigWorkflow  # noqa: PLC0415  (slow to import)

    room = tempfile.TemporaryDirectory()
    picture = Path(room.name) / "images" / "slice.png"
    picture.parent.mkdir()
    picture.touch()
    with _imported_from(folder), quiet():
        workflow = ConfigWorkflow(
            config_file=str(folder / "configs" / "inference.json"),
            workflow_type="infer",
            logging_file=False,
            bundle_root=str(folder),
            dataset_dir=str(picture.parent),
            output_dir=room.name,
        )
        workflow.initialize()
        workflow.run()
        missing = workflow.check_properties()
    if missing:
        raise ModelError(f"{folder}: MONAI misses {', '.join(missing)} in it")
    dataset, inferer, network = workflow.dataset, workflow.inferer, workflow.network_def
    ports = open_runtime(folder / _MODEL, providers=["cpu"])

    def call(pixels: Floats) -> Sequence[Floats]:
        Image.fromarray(pixels[0].astype(np.uint8)).save(Path(room.name) / "images" / "slice.png")
        with torch.inference_mode():
            outputs = inferer(inputs=dataset[0]["image"][None], network=network.outputs)
        return [outputs[port.name].numpy() for port in ports.outputs]

    return Runtime(
        title="MONAI",
        metadata=ports.metadata,
        inputs=(Port("pixels", (1, None, None)),),
        outputs=ports.outputs,
        call=call,
    )


@contextmanager
def _imported_from(folder: Path) -> Iterator[None]:
    """Import a bundle's own modules, not those of one that was opened before."""
    for name in [*sys.modules]:
        if name.partition(".")[0] == _COPIES:
            del sys.modules[name]
    before, sys.dont_write_bytecode = (sys.path[:], sys.dont_write_bytecode), True
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:], sys.dont_write_bytecode = before


def _json(value: Any) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False) + "\n"


def _metadata(facts: ModelFacts, model: Runtime) -> dict[str, Any]:
    classes = dict(enumerate(facts.classes))
    (pixels,) = model.inputs
    return {
        "schema": _SCHEMA,
        "version": facts.version,
        "changelog": {facts.version: f"written by tumorscope {__version__} on {facts.created}"},
        "name": facts.name,
        "monai_version": importlib.metadata.version("monai"),
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": _versions("onnxruntime", "pillow"),
        "task": "Classification of brain MRI slices by tumour",
        "description": (
            f"{facts.title} sorts a slice of a brain MRI as {', '.join(facts.classes)}, and says "
            "where it is not to be relied on. It prepares the slice itself."
        ),
        "authors": "The tumorscope developers",
        "copyright": f"Copyright (c) the tumorscope developers; weights: {facts.license}",
        "data_source": f"data of fingerprint {facts.data['fingerprint']}",
        "data_type": "JPEG, PNG, TIFF, BMP, GIF, WebP",
        "image_classes": "one channel, grey values 0 to 255, as they are in the file",
        "pred_classes": ", ".join(f"{number}: {name}" for number, name in classes.items()),
        "intended_use": facts.intended_use,
        "references": [],
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "MR",
                    "num_channels": 1,
                    "spatial_shape": ["*" if side is None else side for side in pixels.shape[1:]],
                    "dtype": "float32",
                    "value_range": [0, 255],
                    "is_patch_data": False,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities",
                    "format": "classes",
                    "num_channels": len(classes),
                    "spatial_shape": [],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {str(number): name for number, name in classes.items()},
                }
            },
        },
    }


def _versions(*packages: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in packages}


def _licence(facts: ModelFacts) -> str:
    where = _LICENCES.get(facts.license)
    return (
        f"The weights, {_MODEL}: {facts.license}{f', {where}' if where else ''}\n"
        f"Everything else, by the tumorscope developers: Apache-2.0, {_LICENCES['Apache-2.0']}\n"
    )


def _readme(facts: ModelFacts) -> str:
    limit = facts.ood_threshold
    odd = "" if limit is None else f", or its OOD score is above {limit:g}"
    return f"""# {facts.title}

A MONAI bundle that classifies brain MRI slices: {", ".join(facts.classes)}.

**{facts.intended_use}** Licence of the weights: {facts.license}; see `LICENSE`.

## Run

In this folder, with a folder of pictures (JPEG, PNG, TIFF, BMP, GIF, WebP; one slice a file):

```sh
pip install "monai[fire]" onnxruntime pillow
python -m monai.bundle run --config_file configs/inference.json --dataset_dir SCANS
```

`eval/predictions.csv` (`--output_dir` puts it elsewhere) has a row a file: `path`, `label`,
`probability`, a column a class, `verdict`, `reason`, `error`. The verdict is `confident`,
`uncertain` (a person should look), or `unsupported`: there is nothing to classify, the network
computed no numbers{odd}. A file that cannot be read is a row with an `error`.

DICOM and NIfTI have a window, an orientation and several slices, and MONAI's readers settle these
in another way than the model's training did: `tumorscope predict` reads such files.

## Parts

| `configs/inference.json` | what it is |
|---|---|
| `preprocessing` | reads a picture as a grey slice, `[1, H, W]`, 0 to 255, of 32 pixels or more |
| `network_def` | `{_MODEL}` in ONNX Runtime, which prepares the slice itself |
| `evaluator` | asks about slice after slice and writes the table |

There is no `model.pt`: nothing in this bundle is unpickled. `{_COPIES}/` is code of the package
tumorscope under another name.
"""
