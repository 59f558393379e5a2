"""Reads what a bundle says about its model, and compares its files with the list.

The list of checksums finds damage and mistakes; it is no proof against someone who also rewrites
the list.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tumorscope.images.preparation import PREPARATION_VERSION

if TYPE_CHECKING:
    from typing import Dict, List, Optional

CHECKSUMS = "SHA256SUMS"
FACTS = "model.json"
MODEL = "model.onnx"
PREPARATION = "preparation.onnx"
"""The preparation as a graph, which `classify.cpp` runs before the model."""

FORMAT = 1
"""The version of `model.json` that these files read."""

_DECIDING = (".onnx", ".json", ".py", ".txt")
"""Endings of the files that decide about answers."""


class BoardError(Exception):
    """Something in the bundle or on the board is not as it must be; one line says what to do."""


class Facts(NamedTuple):
    """What `model.json` says.

    Attributes:
        target: What the bundle was made for.
        words: Words that the right board's name holds.
        title: Name and version of the model.
        classes: The classes in the order of the probabilities.
        side: Side of the model's input in pixels.
        confident: The probability from which an answer is confident, class by class.
        ood_threshold: A slice stranger than this is unsupported; None where the model cannot tell.
        outputs: Shapes of the model's outputs by name, for one slice.
        metadata: What the model file says about itself.
    """

    target: str
    words: "List[str]"
    title: str
    classes: "List[str]"
    side: int
    confident: "List[float]"
    ood_threshold: "Optional[float]"
    outputs: "Dict[str, List[int]]"
    metadata: "Dict[str, Any]"


def read_facts(folder: Path) -> Facts:
    """Read `model.json`.

    Raises:
        BoardError: The file is missing, damaged, or made for other files than these.
    """
    path = folder / FACTS
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != FORMAT or said["model"]["preparation"] != PREPARATION_VERSION:
            raise BoardError(f"{FACTS}: made for other files than these: copy the bundle again")
        return _facts(said)
    except FileNotFoundError:
        raise BoardError(f"{path}: missing: copy the bundle again") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BoardError(f"{path}: damaged: copy the bundle again") from None


def _facts(said: "Dict[str, Any]") -> Facts:
    """Return what `model.json` says; an error of any kind where it makes no sense."""
    model, limit = said["model"], said["model"]["thresholds"].get("ood_threshold")
    facts = Facts(
        target=str(said["target"]["name"]),
        words=[str(word) for word in said["target"]["words"]],
        title="{} {}".format(model["name"], model["version"]),
        classes=[str(name) for name in model["classes"]],
        side=int(model["input_size"]),
        confident=[float(value) for value in model["thresholds"]["confident"]],
        ood_threshold=None if limit is None else float(limit),
        outputs={name: [int(side) for side in shape] for name, shape in said["outputs"].items()},
        metadata=model,
    )
    count, sides = len(facts.classes), [1, 1, facts.side, facts.side]
    shapes = facts.outputs["probabilities"], said["inputs"]["grey"]
    if shapes != ([1, count], sides) or len(facts.confident) != count:
        raise ValueError(shapes)
    return facts


def check_files(folder: Path) -> None:
    """Make sure that the files that decide about answers are as they were exported.

    Raises:
        BoardError: One is missing or was changed.
    """
    changed = changed_files(folder, _DECIDING)
    if changed:
        raise BoardError(f"{changed[0]}: copy the bundle again")


def changed_files(folder: Path, endings: "tuple[str, ...]" = ("",)) -> "List[str]":
    """Compare files with the list of checksums.

    Args:
        folder: The bundle.
        endings: Only files whose names end so.

    Returns:
        A line for each file that is missing or was changed.

    Raises:
        BoardError: The list itself is missing or damaged.
    """
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
        listed = [line.split("  ", 1) for line in lines]
        names = {name: checksum for checksum, name in listed}
    except FileNotFoundError:
        raise BoardError(f"{folder / CHECKSUMS}: missing: copy the bundle again") from None
    except ValueError:
        raise BoardError(f"{folder / CHECKSUMS}: damaged: copy the bundle again") from None
    found = []
    for name in sorted(names):
        if not name.endswith(endings):
            continue
        if not (folder / name).is_file():
            found.append(f"{name}: missing")
        elif file_sha256(folder / name) != names[name]:
            found.append(f"{name}: not as it was exported")
    return found


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
