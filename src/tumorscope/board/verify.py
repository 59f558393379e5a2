#!/usr/bin/env python3
"""The bundle checks itself: PASS, or where it differs from what was exported.

python3 verify.py                     on the board, with the engine built there
python3 verify.py --runtime onnx      on any PC with ONNX Runtime

Files are compared with their checksums, pictures read and prepared here with the inputs that the
export made of them, and the model's answers to these inputs with the answers then.
"""

import argparse
import json
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tumorscope import RESEARCH_USE_ONLY
from tumorscope.board.folder import BoardError, changed_files, read_facts
from tumorscope.board.runtimes import RUNTIMES, OnnxRuntime, open_runtime
from tumorscope.images.preparation import prepare
from tumorscope.images.reading import UnreadableImageError, read_slice

if TYPE_CHECKING:
    from typing import Dict, List, Optional, Union

    from numpy.typing import NDArray

    from tumorscope.board.folder import Facts
    from tumorscope.board.runtimes import TensorRT

HERE = Path(__file__).resolve().parent

GOLDEN = Path("golden") / "golden.npz"

ALLOWED = {"onnx": 1e-4, "tensorrt": 2e-2}
"""How far an output may be off, as a share of its largest golden value; engines compute in FP16."""

ROUNDING, LARGEST = 0.4, 3
"""Grey levels that an input may be off, on average and anywhere: Pillow's versions round apart."""


def main(arguments: "Optional[List[str]]" = None, folder: Path = HERE) -> int:
    """Run the checks.

    Args:
        arguments: What stands after `verify.py`; the process's own when left out.
        folder: The bundle.

    Returns:
        The exit status: 0 it passes, 1 something differs, 2 it cannot be checked.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=RESEARCH_USE_ONLY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runtime", choices=RUNTIMES, default="tensorrt", help="(tensorrt)")
    options = parser.parse_args(arguments)
    try:
        facts = read_facts(folder)
        golden = _read_golden(folder)
        runtime = open_runtime(options.runtime, folder, facts)
        found = {
            "files": changed_files(folder),
            "facts": _check_facts(facts, golden, runtime),
            "preparation": _check_preparation(folder, facts, golden),
            "answers": _check_answers(facts, golden, runtime, ALLOWED[options.runtime]),
        }
    except BoardError as error:
        sys.stderr.write(f"verify.py: {error}\n")
        return 2
    for part, differences in found.items():
        sys.stdout.write("{:<12} {}\n".format(part, "differ" if differences else "as exported"))
        sys.stdout.writelines(f"  {line}\n" for line in differences)
    passed = not any(found.values())
    verdict = "PASS" if passed else "FAIL"
    sys.stdout.write(f"{verdict}: {facts.title}, {runtime.title}\n{RESEARCH_USE_ONLY}\n")
    return 0 if passed else 1


def _read_golden(folder: Path) -> "Dict[str, NDArray[np.float32]]":
    try:
        with np.load(str(folder / GOLDEN)) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise BoardError(f"{folder / GOLDEN}: missing: copy the bundle again") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise BoardError(f"{folder / GOLDEN}: damaged: copy the bundle again") from None


def _check_facts(
    facts: "Facts",
    golden: "Dict[str, NDArray[np.float32]]",
    runtime: "Union[OnnxRuntime, TensorRT]",
) -> "List[str]":
    """Compare what `model.json` says with what the golden answers and the model file say."""
    found = []
    expected = [str(name) for name in golden["classes"]]
    if facts.classes != expected:
        found.append(
            "the order of the classes: model.json has {}, the answers were made with {}".format(
                ", ".join(facts.classes), ", ".join(expected)
            )
        )
    if isinstance(runtime, OnnxRuntime):
        said = json.loads(runtime.metadata().get("tumorscope", "null"))
        if said != facts.metadata:
            found.append("model.onnx says other things about itself than model.json")
    return found


def _check_preparation(
    folder: Path, facts: "Facts", golden: "Dict[str, NDArray[np.float32]]"
) -> "List[str]":
    """Read and prepare the golden pictures."""
    found = []
    for name, expected in zip(golden["pictures"], golden["inputs"]):
        try:
            grey = prepare(read_slice(folder / "golden" / str(name)), facts.side)
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


def _check_answers(
    facts: "Facts",
    golden: "Dict[str, NDArray[np.float32]]",
    runtime: "Union[OnnxRuntime, TensorRT]",
    allowed: float,
) -> "List[str]":
    """Ask the model about the golden inputs."""
    answers = [runtime.ask(grey) for grey in golden["inputs"]]
    found = []
    for name in facts.outputs:
        expected = golden["output_" + name]
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


if __name__ == "__main__":
    sys.exit(main())
