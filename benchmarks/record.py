"""Figures come in, one JSON record in `results/` goes out, with command, commit and machine."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tumorscope.files import write_text
from tumorscope.machine import processor

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"


def write_record(
    name: str,
    *,
    command: str,
    figures: Mapping[str, object],
    seeds: Sequence[int],
    n: int,
    data_fingerprint: str,
) -> Path:
    """Write `results/NAME.json`.

    Args:
        name: The record's name; a `/` puts it in a folder of `results/`.
        command: What a person types, in the repository's root, to measure the same again.
        figures: The measured figures by name; anything that JSON holds.
        seeds: The seeds of the runs; empty where chance plays no part.
        n: How many slices (or whatever the record counts) were measured.
        data_fingerprint: A SHA-256 that changes when the data does.

    Returns:
        The file that was written.
    """
    record = {
        "command": command,
        "commit": checked_out(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "seeds": list(seeds),
        "data_fingerprint": data_fingerprint,
        "n": n,
        "figures": dict(figures),
    }
    path = RESULTS / f"{name}.json"
    write_text(path, json.dumps(record, indent=2) + "\n")
    return path


def read_record(name: str) -> dict[str, Any]:
    """Return what `write_record` wrote under a name."""
    record: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return record


def machine() -> dict[str, object]:
    """Describe the machine without naming it: processor, usable cores, memory, system, Python."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def checked_out() -> str:
    """Return the commit that is checked out, with `-dirty` when its code was changed since."""
    commit = _git("rev-parse", "HEAD")
    # Records, pages and tests do not change what is measured.
    changed = _git("status", "--porcelain", "--", "src", "benchmarks", "pyproject.toml")
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
