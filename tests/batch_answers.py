"""Reads what `tumorscope batch` wrote, as any reader of Parquet does."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def read_answers(folder: Path) -> list[dict[str, Any]]:
    """The answers in a folder, sorted by path and slice."""
    rows = pq.read_table(folder, partitioning=None).to_pylist()
    return sorted(
        rows, key=lambda row: (row["path"], str(row.get("slice")), str(row.get("series")))
    )
