"""A small bundle, and ways to run it as somebody does who has nothing but its folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from small_model import write_model
from tumorscope.jetson import find_target, write_bundle

STANDINS = Path(__file__).parent / "standins"


def make_bundle(folder: Path, *, target: str = "jetson-nano", **changes: Any) -> Path:
    """Write a bundle of a small model into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model = write_model(folder / "model.onnx", **({"sharpness": 40.0} | changes))
    if find_target(target).precisions[0] == "fp16":
        from tumorscope.export.fp16 import convert_file  # noqa: PLC0415  (imports torch)

        convert_file(model, model)
    return write_bundle(model, find_target(target), folder / "bundle").path


def run_in(
    bundle: Path, *words: object, python: str = sys.executable, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run one of the bundle's commands in its folder, without this project on any path."""
    result = run_bytes_in(bundle, *words, python=python, **variables)
    return subprocess.CompletedProcess(
        result.args, result.returncode, result.stdout.decode(), result.stderr.decode()
    )


def run_bytes_in(
    bundle: Path, *words: object, python: str = sys.executable, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """The same for a command whose output is no text."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [python, *(str(word) for word in words)],
        cwd=bundle,
        env=kept | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"} | variables,
        capture_output=True,
        check=False,
    )


def answers(text: str) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def reseal(bundle: Path) -> None:
    """Write the checksums anew, as somebody does who changes a bundle on purpose."""
    from tumorscope.jetson.board.folder import file_sha256  # noqa: PLC0415

    path = bundle / "SHA256SUMS"
    names = [line.split("  ", 1)[1] for line in path.read_text().splitlines()]
    path.write_text("".join(f"{file_sha256(bundle / name)}  {name}\n" for name in names))
