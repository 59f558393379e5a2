#!/usr/bin/env python3
"""Times the model on this machine: milliseconds, slices a second, memory and, on a Jetson, power.

python3 benchmark.py                     on the board; first: sudo nvpmodel -m 0; sudo jetson_clocks
python3 benchmark.py --runtime onnx      on any PC with ONNX Runtime

Network is the model alone, copies to and from the GPU included; reading is what the processor does
to a picture before, preparation included; whole is what classify.py does, both at a time.
Preparation_graph is what classify.cpp has the GPU do before the network. The pictures are the
golden ones.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import tumorscope.jetson.board  # noqa: F401  (first: says in one line what this Python lacks)
from tumorscope import RESEARCH_USE_ONLY
from tumorscope.images.preparation import prepare
from tumorscope.images.reading import read_slice
from tumorscope.jetson.board.answers import answer, make_ready, read_ahead
from tumorscope.jetson.board.engine import board_name
from tumorscope.jetson.board.engines import RUNTIMES, open_preparation, open_runtime
from tumorscope.jetson.board.folder import BoardError, check_files, read_facts
from tumorscope.jetson.board.frames import find_pictures, read_pictures

if TYPE_CHECKING:
    from typing import IO, Any, Callable, Dict, List, Optional

HERE = Path(__file__).resolve().parent

WARM_UP = 20

_POWER = re.compile(r"(?:POM_5V_IN|VDD_IN) (\d+)(?:mW)?/")
"""What a Jetson takes in all, in mW, as tegrastats writes it: Nano's name, Orin's name."""


def main(arguments: "Optional[List[str]]" = None, folder: Path = HERE) -> int:
    """Time the model and show the figures.

    Args:
        arguments: What stands after `benchmark.py`; the process's own when left out.
        folder: The bundle.

    Returns:
        The exit status: 0 done, 2 the bundle or the board is not in order.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=RESEARCH_USE_ONLY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runtime", choices=RUNTIMES, default="tensorrt", help="(tensorrt)")
    parser.add_argument("--calls", type=int, default=300, metavar="N", help="(300)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        figures = measure(folder, options.runtime, max(1, options.calls))
    except BoardError as error:
        sys.stderr.write(f"benchmark.py: {error}\n")
        return 2
    if options.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
        return 0
    for name, value in figures.items():
        sys.stdout.write("{:<28} {}\n".format(name, "not measured" if value is None else value))
    sys.stdout.write(RESEARCH_USE_ONLY + "\n")
    return 0


def measure(folder: Path, runtime_name: str, calls: int) -> "Dict[str, Any]":
    """Return the figures by name.

    Args:
        folder: The bundle.
        runtime_name: One of `RUNTIMES`.
        calls: How many calls are timed.

    Raises:
        BoardError: The bundle or the board is not in order.
    """
    facts = read_facts(folder)
    check_files(folder)
    runtime = open_runtime(runtime_name, folder, facts)
    pictures, _ = find_pictures([str(folder / "golden")])
    preparation = open_preparation(runtime_name, folder, facts.side)
    slices = [read_slice(path) for path in pictures]
    inputs = [prepare(grey, facts.side)[None, None] for grey in slices]

    def network(number: int) -> None:
        runtime.ask(inputs[number % len(inputs)])

    def graph(number: int) -> None:
        preparation.ask(slices[number % len(slices)][None])

    def reading(number: int) -> None:
        for seen in read_pictures([pictures[number % len(pictures)]]):
            make_ready(seen, facts.side)

    said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (it is gone when nobody holds it)
    watch = _start_power_watch(said)
    parts = {"network": network, "reading": reading, "preparation_graph": graph}
    times = {name: _milliseconds(call, calls) for name, call in parts.items()}
    began = time.perf_counter()
    paths = [pictures[number % len(pictures)] for number in range(calls)]
    for ready in read_ahead(read_pictures(paths), facts.side):
        answer(ready, runtime, facts)
    whole = time.perf_counter() - began
    figures: "Dict[str, Any]" = {
        "model": facts.title,
        "board": board_name(),
        "runtime": runtime.title,
        "calls": calls,
    }
    for name, took in times.items():
        figures[f"{name}_p50_ms"] = round(took[len(took) // 2], 3)
        figures[f"{name}_p95_ms"] = round(took[(len(took) * 95) // 100], 3)
        figures[f"{name}_slices_a_second"] = round(1000 * len(took) / sum(took), 1)
    figures["whole_slices_a_second"] = round(calls / whole, 1)
    figures["power_watts"] = _stop_power_watch(watch, said)
    figures["peak_memory_mb"] = peak_memory()
    return figures


def _milliseconds(call: "Callable[[int], None]", calls: int) -> "List[float]":
    """Return how long the calls took, the shortest first."""
    times = []
    for number in range(WARM_UP + calls):
        began = time.perf_counter()
        call(number)
        times.append(1000 * (time.perf_counter() - began))
    return sorted(times[WARM_UP:])


def _start_power_watch(said: "IO[str]") -> "Optional[subprocess.Popen[bytes]]":
    """Start tegrastats, where there is one; a file takes all that it says, a pipe would fill up."""
    if shutil.which("tegrastats") is None:
        return None
    return subprocess.Popen(
        ["tegrastats", "--interval", "100"],  # noqa: S607  (JetPack's versions put it elsewhere)
        stdout=said,
        stderr=subprocess.DEVNULL,
    )


def _stop_power_watch(
    watch: "Optional[subprocess.Popen[bytes]]", said: "IO[str]"
) -> "Optional[float]":
    """Return the mean power in watts; None where nothing measured it."""
    if watch is None:
        return None
    watch.terminate()
    watch.wait()
    said.seek(0)
    milliwatts = [int(number) for number in _POWER.findall(said.read())]
    return round(sum(milliwatts) / 1000.0 / len(milliwatts), 2) if milliwatts else None


def peak_memory() -> "Optional[float]":
    """Return this process's largest resident memory so far in MB; None where Linux is not."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return None


if __name__ == "__main__":
    sys.exit(main())
