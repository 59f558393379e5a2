"""Writes a split's folds as lists and as folders of links, which other training tools read."""

import csv
import hashlib
import io
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from tumorscope.classes import ANY_TUMOUR
from tumorscope.datasets.catalogue import Slice, slice_name
from tumorscope.datasets.pictures import read_picture
from tumorscope.datasets.splits import Partition
from tumorscope.errors import DataError
from tumorscope.files import write_text

_COLUMNS: Final = ("file", "class", "group", "twin_cluster", "split", "source")

_LONGEST: Final = 180
"""Bytes of a link's name; file systems take 255."""


def write_folds(partitions: Sequence[Partition], folder: Path) -> Iterator[str]:
    """Write each fold into a folder of its own: three lists, and links sorted by part and class.

    `fold-1/train/glioma/...`, `fold-1/val/...`, `fold-1/test/...` is what Keras, torchvision's
    ImageFolder and Ultralytics read; `fold-1/train.csv`, `val.csv`, `test.csv` say the same with
    the groups. Tumours of unknown kind have no class there and are left out. All is written, or
    nothing.

    Args:
        partitions: The folds.
        folder: New or empty.

    Yields:
        A line about each fold.

    Raises:
        DataError: The folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: not empty; name another folder with --folds-out")
    unfinished = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        lines = [
            _write_fold(parts, unfinished / f"fold-{max(parts.fold, 1)}") for parts in partitions
        ]
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    yield from lines


def _write_fold(parts: Partition, folder: Path) -> str:
    counts: dict[str, int] = {}
    unnamed = 0
    for name, slices in (("train", parts.train), ("val", parts.validation), ("test", parts.test)):
        named = [item for item in slices if item.label != ANY_TUMOUR]
        unnamed += len(slices) - len(named)
        counts[name] = len(named)
        if not named:
            continue
        for label in parts.classes:
            (folder / name / label).mkdir(parents=True)
        rows = [_write_slice(item, folder, name) for item in named]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(rows)
        write_text(folder / f"{name}.csv", text.getvalue())
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    left_out = f"; {unnamed:,} tumours of unknown kind are left out" if unnamed else ""
    return f"{folder.name}: {shown}{left_out}"


def _write_slice(item: Slice, folder: Path, part: str) -> tuple[str, ...]:
    """Link a picture, or draw a slice of a volume; return the row of the list."""
    source = item.path.resolve()
    target = folder / part / item.label / _link_name(item)
    if item.number is None:
        target.symlink_to(source)
    else:
        Image.fromarray(read_picture(item)).save(target)
    # A list stands beside the folders that its links are in; the links move with it.
    file = target.relative_to(folder).as_posix() if item.number is not None else str(source)
    return file, item.label, item.group, item.cluster, part, item.source


def _link_name(item: Slice) -> str:
    """Return a name that no other slice has, without folders."""
    stem, suffix = os.path.splitext(slice_name(item))  # noqa: PTH122  (a name, no path)
    plain = re.sub(r"[^\w.()-]+", "_", stem.replace("/", "__"))
    if item.number is not None:
        plain, suffix = re.sub(r"[^\w.()-]+", "_", slice_name(item).replace("/", "__")), ".png"
    digest = hashlib.sha256(slice_name(item).encode(errors="surrogateescape")).hexdigest()[:8]
    short = plain.encode()[:_LONGEST].decode(errors="ignore")
    return f"{short}-{digest}{suffix.lower()}"
