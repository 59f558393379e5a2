"""Starts the command as a process of its own, and waits for what it does."""

import csv
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

COMMAND = (sys.executable, "-m", "tumorscope.cli.main")
SURROUNDINGS = {**os.environ, "OMP_NUM_THREADS": "1"}
"""As many threads as this process has, so that sums are made in the same order."""

PATIENCE = 600.0
"""Seconds that the slowest machine may take; none waits for them in vain."""

HELD = """
import sys, time
from tumorscope.cli import run_train
from tumorscope.cli.main import main

class Held(run_train.Bars):
    left = int(sys.argv[1])

    def batch(self, epoch, epochs, done, *others):
        super().batch(epoch, epochs, done, *others)
        self.left -= (epoch, done) == (2, 1)
        if not self.left:
            print("held", flush=True)
            time.sleep(600)

run_train.Bars = Held
sys.exit(main(sys.argv[2:]))
"""


def start(
    words: Sequence[str],
    *,
    stderr: int = subprocess.PIPE,
    command: Sequence[str] = COMMAND,
    variables: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, *words],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**SURROUNDINGS, **(variables or {})},
    )


def start_held(
    words: Sequence[str], *, run: int = 1, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a command, and return when a run of it waits at the first batch of its second epoch."""
    process = start(words, command=[sys.executable, "-c", HELD, str(run)], variables=variables)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a file is there, or the process is not."""
    end = time.monotonic() + PATIENCE
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def log(run: Path) -> list[dict[str, str]]:
    """The log but for the speed."""
    with (run / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["images_per_second"]
    return rows
