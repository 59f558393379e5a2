"""Measures what a fresh process takes to answer: its time and its memory.

The process is this module, run by itself:

    python -m tumorscope.latency.timing_process RUNTIME MODEL THREADS BATCH PICTURE

Whatever the runtime, it imports `tumorscope.inference`, as `predict` does.
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tumorscope.errors import ModelError
from tumorscope.images import prepare, read_slice
from tumorscope.inference.model_file import open_model

_ANSWERED: Final = "answered"
_STATUS: Final = Path("/proc/self/status")


@dataclass(frozen=True)
class ProcessCost:
    """What a fresh process took.

    Attributes:
        seconds: From its start to its first answer: imports, model, one picture.
        peak_mib: Its largest resident memory after that picture and one whole batch, in MiB;
            None where the system does not tell.
    """

    seconds: float
    peak_mib: float | None


def start_process(
    runtime: str, path: Path, *, threads: int, batch: int, picture: Path
) -> ProcessCost:
    """Start a process that opens the model and classifies a picture.

    Args:
        runtime: One of `installed_runtimes`.
        path: The ONNX file.
        threads: Threads of the network.
        batch: How many slices it classifies at once after the first answer.
        picture: A JPEG or PNG file.

    Raises:
        ModelError: The process failed.
    """
    words = [runtime, str(path), str(threads), str(batch), str(picture)]
    began = time.perf_counter()
    with subprocess.Popen(  # noqa: S603  (this module, and the arguments are no shell's)
        [sys.executable, "-P", "-m", __name__, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        answered = process.stdout.readline().strip() == _ANSWERED
        seconds = time.perf_counter() - began
        peak, complaint = process.stdout.read(), process.stderr.read()
    if not answered or process.returncode:
        last = (complaint.strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(f"{path}: a fresh process with {runtime} failed ({last})")
    return ProcessCost(seconds, float(peak) if peak.strip() else None)


def _answer(runtime: str, path: str, threads: str, batch: str, picture: str) -> None:
    """Be that process: classify a picture, say so, classify a batch, tell the peak memory."""
    model = open_model(Path(path), runtime=runtime, threads=int(threads))
    grey = prepare(read_slice(picture), model.facts.input_size)[None]
    model.runtime.run(grey)
    sys.stdout.write(f"{_ANSWERED}\n")
    sys.stdout.flush()
    model.runtime.run(grey.repeat(int(batch), axis=0), at_once=int(batch))
    peak = _peak_mib()
    sys.stdout.write("" if peak is None else f"{peak}\n")


def _peak_mib() -> float | None:
    """Return this process's largest resident memory so far, in MiB."""
    if _STATUS.is_file():  # Linux: its `getrusage` would count what the parent held, too.
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    try:
        import resource  # noqa: PLC0415  (not on Windows)
    except ModuleNotFoundError:
        return None
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    _answer(*sys.argv[1:])
