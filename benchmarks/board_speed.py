"""Times a Jetson's bundle beside an earlier one and estimates a Nano; `results/board_speed.json`.

    git worktree add TREE COMMIT          # an earlier version
    python benchmarks/board_speed.py --data DIR --earlier TREE

No board is at hand: the network runs in ONNX Runtime on the processor, in the C++ programs through
the tests' stand-ins of TensorRT's headers. Each program classifies few files, then many; the
difference is the time of the slices alone. It is the time that the processor spent on the program
and its children, which other programs hardly change.
"""

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from record import ROOT, write_record
from same_labels import ENGINES, build_program
from tumorscope.inference.complete_file import PixelSize, preparation
from tumorscope.inference.model_file import DEFAULT_MODEL, find_model
from tumorscope.jetson import TARGETS, estimate
from tumorscope.jetson.board_graph import board_graph

_FEW, _MANY = 40, 160

_READY: Final = (
    "import sys; from tumorscope.images.reading import read_slice; "
    "from tumorscope.images.preparation import prepare; "
    "[prepare(read_slice(path), 160) for path in sys.argv[1:]]"
)

Programs = dict[str, str]
"""Shell commands by name; `$FILES` stands for the slices."""


def board_speed(files: list[Path], earlier: Path) -> dict[str, Any]:
    """Return the processor's milliseconds a slice, of this and the earlier bundle, and their ratio.

    Args:
        files: The slices, at least 160.
        earlier: A checkout of the earlier version.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        new, old = (
            _programs(tree, scratch / name, names)
            for tree, name, names in (
                (ROOT, "new", "preparation.onnx model.onnx model.txt"),
                (earlier, "old", "model.onnx model.txt"),
            )
        )
        results: dict[str, Any] = {"load": round(os.getloadavg()[0], 1)}
        for name in new:
            before, now = (_seconds_a_slice(way[name], files) for way in (old, new))
            results[name] = {
                "earlier_milliseconds": round(1000 * before, 2),
                "milliseconds": round(1000 * now, 2),
                "ratio": round(before / now, 2),
            }
            print(name, results[name], flush=True)
    return results


def nano_estimate(size: int) -> dict[str, Any]:
    """Return what the complete file costs on a Jetson Nano, estimated, for slices of 224 pixels."""
    target = TARGETS["jetson-nano"]
    parts = {
        "preparation": estimate(preparation(size, PixelSize((224, 224))), target),
        "network": estimate(board_graph(find_model(DEFAULT_MODEL), target), target),
    }
    figures: dict[str, Any] = {name: part.to_json() for name, part in parts.items()}
    whole = sum(part.milliseconds for part in parts.values())
    return figures | {"complete_file_milliseconds": round(whole, 2)}


def _programs(tree: Path, folder: Path, names: str) -> Programs:
    """Write a checkout's bundle and build its C++ program."""
    folder.mkdir()
    bundle = folder / "bundle"
    words = ["-m", "tumorscope.cli.main", "export", "tumorscope-edge", "--target", "jetson-nano"]
    subprocess.run(
        [sys.executable, *words, "--out", str(bundle)],
        env=os.environ | {"PYTHONPATH": str(tree / "src")},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    program = build_program(bundle, folder / "build")
    python = f"cd {bundle} && {sys.executable}"
    computed = f"{sys.executable} {ENGINES} {program} {names}"
    return {
        "reading and preparing": f"{python} -c '{_READY}' $FILES",
        "classify.py": f"{python} classify.py --runtime onnx $FILES",
        "classify.cpp": f"{python} classify.py --raw $FILES | {computed}",
    }


def _seconds_a_slice(command: str, files: list[Path]) -> float:
    """Return the processor's time for a slice, of a program with all its children."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    took = []
    for count in (_FEW, _MANY):
        listed = " ".join(str(file) for file in files[:: len(files) // _MANY][:count])
        before = _spent()
        subprocess.run(
            ["nice", "sh", "-c", command],  # noqa: S607
            env=variables | {"FILES": listed, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        took.append(_spent() - before)
    return (took[1] - took[0]) / (_MANY - _FEW)


def _spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="JPEG files in folders by class")
    parser.add_argument("--earlier", type=Path, required=True, help="a checkout")
    options = parser.parse_args()
    files = sorted(options.data.glob("*/*.jpg"))
    words = ["git", "-C", str(options.earlier), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    figures = {
        "jetson_nano": nano_estimate(160),
        "earlier": commit,
        "processor_milliseconds_a_slice": board_speed(files, options.earlier.resolve()),
    }
    write_record(
        "board_speed",
        command="python benchmarks/board_speed.py --data kaggle/Testing --earlier TREE",
        figures=figures,
        seeds=[],
        n=_MANY,
        data_fingerprint=hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest(),
    )


if __name__ == "__main__":
    main()
