r"""Lays out training sets without one hospital, by which a trained network can be judged.

    python benchmarks/without_hospital.py --data ROOT --out DIR [--hospital HT]
    tumorscope train --recipe edge --data ROOT/kaggle --data ROOT/br35h_tumour \
        --data DIR/lgg_tcga --data DIR/healthy_t1 --out HOSPITAL_RUN

`DIR/lgg_tcga` holds the glioma scans of all other hospitals, `DIR/healthy_t1` four of five healthy
people, both as links. `bundle_model.py` calibrates on what is missing there.
"""

import argparse
import csv
from pathlib import Path

_EVERY = 5
"""One healthy person of so many is left out."""


def main() -> None:
    """Make the links."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--hospital", default="HT", help="of lgg_tcga, as its index.csv calls it")
    options = parser.parse_args()
    data, out = options.data.resolve(), options.out

    rows = _rows(data / "lgg_tcga/index.csv")
    kept = [row for row in rows if row["site"] != options.hospital and row["part"] == "train"]
    files = [name for row in kept for name in (row["file"], row["mask"]) if name]
    _lay_out(data / "lgg_tcga", out / "lgg_tcga", kept, files)

    rows = _rows(data / "healthy_t1/index.csv")
    left_out = set(sorted({row["subject"] for row in rows})[::_EVERY])
    volumes = [path.name for path in (data / "healthy_t1/volumes").glob("*.nii.gz")]
    kept = [row for row in rows if row["subject"] not in left_out]
    files = [row["file"] for row in kept]
    files += [f"volumes/{name}" for name in volumes if name.partition(".")[0] not in left_out]
    _lay_out(data / "healthy_t1", out / "healthy_t1", kept, files)


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def _lay_out(source: Path, folder: Path, rows: list[dict[str, str]], files: list[str]) -> None:
    """Write a data set of some of another one's rows and links to their files."""
    folder.mkdir(parents=True)
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for name in dict.fromkeys(files):
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source / name)


if __name__ == "__main__":
    main()
