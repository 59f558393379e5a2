"""A bundle for the Jetson, unpacked by itself, is put to the test; `results/jetson.json` tells how.

    python benchmarks/jetson.py --data DIR

The bundle stands in an empty folder and runs in an environment that holds NumPy, Pillow and ONNX
Runtime, and not this package. It verifies itself and judges all official test images, and so does
`tumorscope predict`. The model in 16 bits judges them, too. What a slice costs on the boards is
estimated, for known networks as well, whose measured times stand beside. No board was at hand.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from peers import write_peers
from record import ROOT, write_record
from tumorscope.datasets.locations import find_data, find_set
from tumorscope.datasets.sources import read_data
from tumorscope.datasets.splits import partition
from tumorscope.export.fp16 import convert_file
from tumorscope.images import prepare, read_slice
from tumorscope.inference import DEFAULT_MODEL, Classifier
from tumorscope.inference.model_file import find_model
from tumorscope.inference.onnx_messages import read_model
from tumorscope.jetson import TARGETS, Bundle, estimate, write_bundle

PACKAGES: Final = ("numpy", "pillow", "onnxruntime")

MEASURED: Final = {
    "ResNet-18": {
        "milliseconds": 11.4,
        "slices_a_second": 90.2,
        "source": "NVIDIA-AI-IOT/torch2trt, docs/benchmarks/jetson_nano.md: FP16, 224 px",
    },
    "MobileNetV2": {
        "milliseconds": 17.65,
        "slices_a_second": 57,
        "source": "'TensorRT (C++) sample code for MobileNet v2', README: JetPack 4.2.1, 224 px",
    },
}
"""What others measured on a Jetson Nano."""

LIMITS: Final = {"bytes": 20e6, "milliseconds": 8.0, "peak_memory_mb": 300.0, "difference": 1e-3}
AGREEMENT_IN_16_BITS: Final = 0.995

_WATCHED: Final = (
    "import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); "
    "sys.exit(status)"
)
"""Runs a command and tells its largest resident memory in KiB last of all."""


def main() -> int:
    """Measure; the exit status is 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name or an .onnx file")
    parser.add_argument("--data", type=Path, help="the Kaggle set, or the folder that holds it")
    options = parser.parse_args()
    catalogue = read_data([find_set(find_data(options.data), "kaggle")])
    slices = partition(catalogue, split="kaggle-official").test
    paths = [item.path for item in slices]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        model = find_model(options.model)
        half = scratch / "half.onnx"
        convert_file(model, half)
        bundles = [
            write_bundle(
                model if "fp32" in target.precisions else half,
                target,
                scratch / "made" / target.name,
            )
            for target in TARGETS.values()
        ]
        alone = _unpack(bundles[0], scratch)
        python = _bare_python(scratch)
        verified = _run(alone, [python, "verify.py", "--runtime", "onnx"])
        given, peak = _classify(alone, python, paths)
        expected = _predict(model, paths)
        labels = [item.label for item in slices]
        figures = {
            "model": bundles[0].model,
            "bundle": {item.target.name: item.size for item in bundles},
            "archive": {item.target.name: item.archive_size for item in bundles},
            "packages": _run(alone, [python, "-m", "pip", "freeze"]).stdout.split(),
            "verify": verified.stdout.splitlines()[-2],
            "runner": _compare(given, expected, labels) | {"peak_memory_mb": peak},
            "sixteen_bits": _in_sixteen_bits(half, paths, given),
            "estimate": {item.target.name: item.estimate.to_json() for item in bundles},
            "known_networks_on_a_nano": _known(scratch),
        }
    good = _is_good(figures) and verified.returncode == 0
    print(json.dumps(figures, indent=2))
    write_record(
        "jetson",
        command="python benchmarks/jetson.py",
        figures=figures | {"limits": LIMITS, "agreement_in_16_bits_needed": AGREEMENT_IN_16_BITS},
        seeds=[],
        n=len(paths),
        data_fingerprint=catalogue.fingerprint(),
    )
    return 0 if good else 1


def _unpack(bundle: Bundle, scratch: Path) -> Path:
    """Unpack the archive in an empty folder."""
    with tarfile.open(bundle.archive) as packed:
        packed.extractall(scratch / "alone", filter="data")
    return scratch / "alone" / bundle.path.name


def _bare_python(scratch: Path) -> str:
    """Make an environment with what a PC needs, and nothing of this project."""
    venv.create(scratch / "bare", with_pip=True)
    python = str(scratch / "bare" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*install, *constraints, *PACKAGES], check=True)
    return python


def _run(folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        words, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def _classify(
    folder: Path, python: str, paths: Sequence[Path]
) -> tuple[list[dict[str, Any]], float]:
    """Return the bundle's answers and its peak memory in MB."""
    words = [python, "-c", _WATCHED, python, "classify.py", "--runtime", "onnx", *map(str, paths)]
    result = _run(folder, words)
    if result.returncode:
        raise SystemExit(result.stderr)
    peak = int(result.stderr.splitlines()[-1]) * 1024 / 1e6
    return [json.loads(line) for line in result.stdout.splitlines()], round(peak, 1)


def _predict(model: Path, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what `tumorscope predict` answers."""
    words = [sys.executable, "-m", "tumorscope.cli.main", "predict", "--model", str(model)]
    result = subprocess.run(
        [*words, "--jsonl", *map(str, paths)], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in result.stdout.splitlines()]


def _compare(
    given: list[dict[str, Any]], expected: list[dict[str, Any]], labels: Sequence[str]
) -> dict[str, Any]:
    said = [item["label"] for item in given]
    same = [one["label"] == two["label"] for one, two in zip(given, expected, strict=True)]
    differences = [
        abs(one["probabilities"][name] - two["probabilities"][name])
        for one, two in zip(given, expected, strict=True)
        if one["label"] and two["label"]
        for name in one["probabilities"]
    ]
    return {
        "images": len(given),
        "same_label_as_predict": sum(same),
        "largest_difference": max(differences),
        "accuracy": float(np.mean([one == true for one, true in zip(said, labels, strict=True)])),
    }


def _in_sixteen_bits(
    half: Path, paths: Sequence[Path], given: list[dict[str, Any]]
) -> dict[str, Any]:
    """Let the model in 16-bit floating point judge, simulated on the processor."""
    classifier = Classifier.load(half)
    facts = classifier.facts
    judged = [item for item in zip(paths, given, strict=True) if item[1]["label"]]
    grey = np.stack([prepare(read_slice(path), facts.input_size) for path, _ in judged])
    after = classifier.probabilities(grey)
    before = np.array(
        [[item["probabilities"][name] for name in facts.classes] for _, item in judged]
    )
    return {
        "what": "the format onnx-fp16 in ONNX Runtime on the processor, no GPU",
        "images": len(judged),
        "label_agreement": float((before.argmax(axis=1) == after.argmax(axis=1)).mean()),
        "largest_difference": float(np.abs(before - after).max()),
    }


def _known(scratch: Path) -> dict[str, Any]:
    """Estimate networks that others measured on a Jetson Nano, by the same rule."""
    found = {}
    for peer in write_peers(scratch):
        if peer.name in MEASURED:
            guess = estimate(read_model(peer.path.read_bytes()), TARGETS["jetson-nano"]).to_json()
            measured = MEASURED[peer.name]
            found[peer.name] = {
                "measured_by_others": measured,
                "estimate": guess,
                "measured_over_estimate": round(
                    measured["milliseconds"] / guess["milliseconds"], 2
                ),
            }
    return found


def _is_good(figures: dict[str, Any]) -> bool:
    runner, nano = figures["runner"], figures["estimate"]["jetson-nano"]
    return (
        max(figures["bundle"].values()) <= LIMITS["bytes"]
        and nano["milliseconds"] <= LIMITS["milliseconds"]
        and runner["peak_memory_mb"] < LIMITS["peak_memory_mb"]
        and runner["same_label_as_predict"] == runner["images"]
        and runner["largest_difference"] <= LIMITS["difference"]
        and figures["sixteen_bits"]["label_agreement"] >= AGREEMENT_IN_16_BITS
    )


if __name__ == "__main__":
    sys.exit(main())
