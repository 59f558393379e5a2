"""Facts about the machine that a result was made on, without its name."""

import platform
from pathlib import Path


def processor() -> str:
    """Return the processor's name."""
    cpus = Path("/proc/cpuinfo")
    for line in cpus.read_text().splitlines() if cpus.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
