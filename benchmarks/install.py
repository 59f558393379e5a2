"""A plain install is made from nothing; a record of its size and of how fast it starts goes out.

    python benchmarks/install.py [--python PYTHON]

writes `results/install.json`: the virtual environment in MB, what `tumorscope --help` and
`tumorscope predict` of one picture take as whole processes, and, in turn with them, a process that
only imports NumPy, Pillow and ONNX Runtime.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from record import ROOT, write_record
from tumorscope.phantoms.drawing import draw_phantom

_BARE = "import numpy, PIL.Image, onnxruntime"


def main() -> None:
    """Install, measure, write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="makes the environment")
    parser.add_argument("--rounds", type=int, default=30, help="processes of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([options.python, "-m", "venv", str(folder / "venv")], check=True)
        run = folder / "venv" / "bin"
        subprocess.run(
            [str(run / "python"), "-m", "pip", "install", "--quiet", str(ROOT)], check=True
        )
        listed = subprocess.run(
            [str(run / "python"), "-m", "pip", "list", "--format=freeze"],
            check=True,
            capture_output=True,
            text=True,
        )
        packages = sorted(line.split("==")[0] for line in listed.stdout.split())
        size = sum(path.lstat().st_size for path in folder.joinpath("venv").rglob("*"))
        picture = folder / "scan.jpg"
        phantom = draw_phantom("glioma", plane="axial", patient_seed=1, slice_number=2, size=512)
        Image.fromarray(phantom.image).save(picture)
        times = _times(
            {
                "bare": [str(run / "python"), "-c", _BARE],
                "help": [str(run / "tumorscope"), "--help"],
                "predict": [str(run / "tumorscope"), "predict", str(picture)],
            },
            options.rounds,
        )
    median = {kind: statistics.median(values) for kind, values in times.items()}
    write_record(
        "install",
        command="python benchmarks/install.py",
        figures={
            "environment_mb": round(size / 1e6, 1),
            "has_torch": "torch" in packages,
            "packages": packages,
            "seconds": {kind: round(value, 4) for kind, value in median.items()},
            "predict_allowed_seconds": round(1.2 * median["bare"] + 0.15, 4),
            "predict_to_allowed": round(median["predict"] / (1.2 * median["bare"] + 0.15), 3),
        },
        seeds=[],
        n=options.rounds,
        data_fingerprint="",
    )


def _times(commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Run the commands in turn, so that noise hits all alike; the first round is not counted."""
    times: dict[str, list[float]] = {kind: [] for kind in commands}
    for number in range(rounds + 1):
        for kind, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if number:
                times[kind].append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    main()
