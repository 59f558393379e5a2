"""Compares a bundle's answers with its golden ones."""

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tumorscope.images.reading import UnreadableImageError, read_slice
from tumorscope.jetson.board.engines import OnnxRuntime
from tumorscope.jetson.board.folder import BoardError

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Union

    from numpy.typing import NDArray

    from tumorscope.jetson.board.engines import TensorRT
    from tumorscope.jetson.board.folder import Facts

GOLDEN = Path("golden") / "golden.npz"

ALLOWED = {"onnx": 1e-4, "tensorrt": 3e-2}
"""How far an output may be off, as a share of its largest golden value; engines compute in FP16."""

ROUNDING, LARGEST = 0.4, 3
"""Grey levels that an input may be off, on average and anywhere: Pillow's versions round apart."""


OUTPUT = "output_"
"""What the names of arrays with golden answers begin with."""

NEEDED = ("classes", "pictures", "inputs")
"""Arrays that are there whatever the model gives."""


def read_golden(folder: Path) -> "Dict[str, NDArray[Any]]":
    """Return the golden arrays by name: pictures, classes, inputs, and each output.

    Raises:
        BoardError: They are missing or damaged.
    """
    try:
        with np.load(str(folder / GOLDEN)) as file:
            return {name: file[name] for name in sorted({*file.files, *NEEDED})}
    except FileNotFoundError:
        raise BoardError(f"{folder / GOLDEN}: missing: copy the bundle again") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise BoardError(f"{folder / GOLDEN}: damaged: copy the bundle again") from None


def check_facts(
    facts: "Facts",
    golden: "Dict[str, NDArray[Any]]",
    runtime: "Union[OnnxRuntime, TensorRT]",
) -> "List[str]":
    """Compare what `model.json` says with the golden classes and, where it can, the model file."""
    found = []
    expected = [str(name) for name in golden["classes"]]
    if facts.classes != expected:
        found.append(
            "the order of the classes: model.json has {}, the answers were made with {}".format(
                ", ".join(facts.classes), ", ".join(expected)
            )
        )
    named = sorted(name for name in golden if name.startswith(OUTPUT))
    if sorted(OUTPUT + name for name in facts.outputs) != named:
        found.append(
            "the outputs: model.json has {}, the answers have {}".format(
                ", ".join(sorted(facts.outputs)), ", ".join(name[len(OUTPUT) :] for name in named)
            )
        )
    if isinstance(runtime, OnnxRuntime):
        found += _compare_metadata(runtime.metadata().get("tumorscope", ""), facts.metadata)
    return found


def _compare_metadata(text: str, expected: "Dict[str, Any]") -> "List[str]":
    """Return a line where a model file says other things about itself than `model.json`."""
    try:
        said = json.loads(text)
        names = sorted({*said, *expected})
        others = [name for name in names if said.get(name) != expected.get(name)]
    except (AttributeError, TypeError, ValueError):
        return ["model.onnx: what it says about itself is missing or damaged"]
    if not others:
        return []
    return [f"model.onnx says other things about itself than model.json: {', '.join(others)}"]


def check_preparation(
    folder: Path,
    golden: "Dict[str, NDArray[Any]]",
    prepare: "Callable[[NDArray[np.uint8]], NDArray[Any]]",
) -> "List[str]":
    """Read and prepare the golden pictures; return a line for each that comes out differently.

    Args:
        folder: The bundle.
        golden: What `read_golden` returns.
        prepare: From a slice to the model's input.
    """
    found = []
    for name, expected in zip(golden["pictures"], golden["inputs"]):
        try:
            grey = prepare(read_slice(folder / "golden" / str(name)))
        except UnreadableImageError as error:
            found.append(str(error))
            continue
        if grey.shape != expected.shape:
            found.append("{}: the input has {} pixels a side".format(name, len(grey)))
            continue
        off = np.abs(grey.astype(int) - expected.astype(int))
        if off.mean() > ROUNDING or off.max() > LARGEST:
            found.append(
                "{}: off by {:.2g} grey levels on average, {} at most ({:g} and {} are "
                "allowed)".format(name, off.mean(), off.max(), ROUNDING, LARGEST)
            )
    return found


def check_answers(
    facts: "Facts",
    golden: "Dict[str, NDArray[Any]]",
    runtime: "Union[OnnxRuntime, TensorRT]",
    allowed: float,
) -> "List[str]":
    """Ask the model about the golden inputs; return a line for each output that differs."""
    answers = [runtime.ask(grey[None, None]) for grey in golden["inputs"]]
    found = []
    for name in facts.outputs:
        if OUTPUT + name not in golden or name not in answers[0]:
            found.append(f"{name}: there is no such output")
            continue
        expected = golden[OUTPUT + name]
        given = np.stack([answer[name] for answer in answers])
        if given.shape != expected.shape:
            found.append("{}: {} values, not {}".format(name, given.size, expected.size))
            continue
        scale = float(np.abs(expected).max())
        differences = np.abs(given - expected).reshape(len(given), -1).max(axis=1) / scale
        worst = int(np.argmax(np.where(np.isfinite(differences), differences, np.inf)))
        if not differences[worst] <= allowed:
            found.append(
                "{}: off by {:.2g} of its largest value ({:g} is allowed), most on {}".format(
                    name, differences[worst], allowed, golden["pictures"][worst]
                )
            )
    return found
