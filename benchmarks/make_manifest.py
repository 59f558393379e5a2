"""Kaggle's pictures and their group table come in, the package's manifest goes out.

python benchmarks/make_manifest.py FOLDER
    FOLDER holds `Training`, `Testing` and `groups.csv` (columns: see `ManifestRow`).
"""

import csv
import io
import sys
from pathlib import Path

from tumorscope.datasets import manifest
from tumorscope.files import write_text
from tumorscope.near_duplicates.perceptual_hash import hash_file
from tumorscope.parallel import map_ordered


def main(folder: Path) -> None:
    """Write the manifest: the group table, its order kept, and a hash for each picture."""
    with (folder / "groups.csv").open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines)
        rows = list(table)
        columns = [*(table.fieldnames or ()), "hash"]
    hashes = map_ordered(hash_file, [folder / row["file"] for row in rows])
    for row, number in zip(rows, hashes, strict=True):
        row["hash"] = f"{number:016x}"
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    target = Path(manifest.__file__).parent / "manifests" / "kaggle_v1.csv"
    write_text(target, text.getvalue())
    print(f"{target}: {len(rows)} rows, {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
