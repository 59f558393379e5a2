"""A running `tumorscope serve`, for the tests that need the real process."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Service:
    """A service that runs.

    Attributes:
        address: Where it answers.
        process: Its process.
        log: What it wrote to standard error so far.
    """

    address: str
    process: "subprocess.Popen[str]"
    log: Path


@contextmanager
def running(folder: Path, *words: str, token: str = "") -> Iterator[Service]:
    """Start the command on a free port, and end it with SIGTERM."""
    code = "from tumorscope.cli.main import main; import sys; sys.exit(main())"
    command = [sys.executable, "-c", code, "serve", "--port", "0", *words]
    environment = {**os.environ, "TUMORSCOPE_TOKEN": token}
    log = folder / "log.txt"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("http"), log.read_text()
        scheme, _, rest = first.split()[0].partition("://")
        port = rest.rpartition(":")[2]
        try:
            yield Service(f"{scheme}://127.0.0.1:{port}", process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own: a browser may have an event loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
