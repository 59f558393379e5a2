"""Asks every way from a file to an answer about the same slices; `results/same_labels.json`.

    npm install --prefix WEB onnxruntime-web
    python benchmarks/same_labels.py --data DIR --web WEB

DIR holds JPEG files in folders by class (Kaggle's `Testing`).
`predict` is the measure. Beside it: the complete file (raw pixels in) in ONNX Runtime, in OpenVINO
and in ONNX Runtime Web under Node, and a Jetson's bundle, whose Python program runs in ONNX Runtime
and whose C++ program runs against the tests' stand-ins of TensorRT's headers, in which ONNX Runtime
computes.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from record import ROOT, write_record
from tumorscope.images import read_slice
from tumorscope.images.suitability import why_unsuitable
from tumorscope.inference import Classifier
from tumorscope.inference.complete_file import PixelSize, complete_file
from tumorscope.inference.decision import decide, unsupported
from tumorscope.inference.model_file import DEFAULT_MODEL, ModelFacts, find_model
from tumorscope.inference.runtimes import ONNX, OPENVINO, open_runtime
from tumorscope.jetson import find_target, write_bundle

STANDINS: Final = ROOT / "tests" / "standins"
ENGINES: Final = STANDINS / "engine_server.py"
"""Runs a program for which the stand-ins compute."""

Answer = dict[str, Any]
"""Has `label` and `probabilities`, both None where the slice is unsupported."""


def same_labels(files: list[Path], web: Path | None) -> dict[str, Any]:
    """Return, for each way, how many labels are those of `predict`, and the largest difference.

    Args:
        files: The slices.
        web: Where `npm install onnxruntime-web` was run; None leaves this way out.
    """
    classifier = Classifier.load(threads=1)
    expected = [answer.to_json() for answer in classifier.predict(list(files))]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        complete = scratch / "complete.onnx"
        complete_file(find_model(DEFAULT_MODEL), complete, PixelSize())
        bundle = write_bundle(
            find_model(DEFAULT_MODEL), find_target("jetson-nano"), scratch / "bundle"
        ).path
        raw = run_bundle(bundle, ["classify.py", *map(str, files), "--raw"])
        program = build_program(bundle, scratch / "build")
        facts = classifier.facts
        ways: dict[str, Callable[[], list[Answer]]] = {
            "complete file, ONNX Runtime": lambda: _in_runtime(complete, ONNX, files, facts),
            "complete file, OpenVINO": lambda: _in_runtime(complete, OPENVINO, files, facts),
            "bundle, classify.py": lambda: read_lines(
                run_bundle(bundle, ["classify.py", *map(str, files), "--runtime", "onnx"])
            ),
            "bundle, classify.cpp": lambda: read_lines(run_program(program, bundle, raw)),
        }
        if web:
            ways["complete file, ONNX Runtime Web"] = lambda: _in_web(web, complete, raw, facts)
        results = {}
        for name, ask in ways.items():
            results[name] = _compare(ask(), expected)
            print(name, results[name], flush=True)
    return results


def build_program(bundle: Path, build: Path) -> Path:
    """Build a bundle's C++ program against the stand-ins; return it."""
    build.mkdir()
    library = build / "libcudart.so"
    words = ["cc", "-shared", "-fPIC", str(STANDINS / "cudart.c"), "-o", str(library)]
    subprocess.run(words, check=True)
    cache = {
        "CMAKE_BUILD_TYPE": "Release",
        "TENSORRT_INCLUDE": STANDINS / "cpp",
        "CUDA_INCLUDE": STANDINS / "cpp",
        "TENSORRT_LIBRARY": library,
        "CUDA_LIBRARY": library,
        "CMAKE_CXX_FLAGS": "-DNV_TENSORRT_MAJOR=8 -DNV_TENSORRT_MINOR=2",
    }
    options = [f"-D{name}={value}" for name, value in cache.items()]
    for words in (["-S", str(bundle), "-B", str(build), *options], ["--build", str(build)]):
        subprocess.run(["cmake", *words], check=True, stdout=subprocess.DEVNULL)  # noqa: S607
    return build / "classify"


def run_bundle(bundle: Path, words: list[str]) -> bytes:
    """Run one of a bundle's commands in its folder; return what it writes."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, *words], cwd=bundle, env=variables, stdout=subprocess.PIPE, check=True
    )
    return result.stdout


def run_program(program: Path, bundle: Path, frames: bytes) -> bytes:
    """Run a bundle's C++ program on frames; return what it writes."""
    names = ("preparation.onnx", "model.onnx", "model.txt")
    words = [sys.executable, ENGINES, program, *(bundle / name for name in names)]
    return subprocess.run(words, input=frames, stdout=subprocess.PIPE, check=True).stdout


def read_lines(content: bytes) -> list[Answer]:
    """Read JSON lines."""
    return [json.loads(line) for line in content.splitlines()]


def _in_runtime(complete: Path, runtime: str, files: list[Path], facts: ModelFacts) -> list[Answer]:
    opened = open_runtime(complete, runtime=runtime, threads=1)
    slices = map(read_slice, files)
    return [_decide(grey, opened.ask(grey[None].astype(np.float32)), facts) for grey in slices]


def _in_web(folder: Path, complete: Path, raw: bytes, facts: ModelFacts) -> list[Answer]:
    node = shutil.which("node")
    if not node:
        raise SystemExit("no node here: install Node.js, or leave out --web")
    frames = complete.with_name("slices.pgm")
    frames.write_bytes(raw)
    script = str(Path(__file__).with_name("web_answers.mjs"))
    words = [node, script, str(folder), str(complete), str(frames)]
    lines = subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout
    # (What is blank, or a mask, is not among Kaggle's test slices: no way asks about it.)
    return [_decide(None, outputs, facts) for outputs in read_lines(lines)]


def _decide(grey: NDArray[np.uint8] | None, outputs: dict[str, Any], facts: ModelFacts) -> Answer:
    reason = "" if grey is None else why_unsuitable(grey)
    if reason:
        return unsupported(reason).to_json()
    score = outputs.get("ood_score")
    return decide(
        np.ravel(outputs["probabilities"]).tolist(),
        facts.classes,
        confident=facts.confident,
        ood_score=None if score is None else float(np.ravel(score)[0]),
        ood_threshold=facts.ood_threshold,
    ).to_json()


def _compare(given: list[Answer], expected: list[Answer]) -> dict[str, Any]:
    pairs = list(zip(given, expected, strict=True))
    differences = [
        abs(one["probabilities"][name] - two["probabilities"][name])
        for one, two in pairs
        if one["label"] and two["label"]
        for name in one["probabilities"]
    ]
    same = sum(one["label"] == two["label"] for one, two in pairs)
    return {"same_labels": f"{same} of {len(pairs)}", "most_probability": max(differences)}


def main() -> int:
    """Compare and write the record; the exit status is 1 when a label differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--web", type=Path, help="where onnxruntime-web was installed")
    options = parser.parse_args()
    files = sorted(options.data.glob("*/*.jpg"))
    figures = same_labels(files, options.web)
    write_record(
        "same_labels",
        command="python benchmarks/same_labels.py --data kaggle/Testing --web WEB",
        figures=figures,
        seeds=[],
        n=len(files),
        data_fingerprint=hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest(),
    )
    whole = f"{len(files)} of {len(files)}"
    return 0 if all(way["same_labels"] == whole for way in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
