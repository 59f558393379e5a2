"""Writes phantoms into class folders with the faults of public data sets, for the audit to find."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps

from tumorscope.classes import NO_TUMOUR
from tumorscope.files import whole_file

_PARTS: Final = {"train": "Training", "test": "Testing"}

_SMALL, _FRAME = 150, 8
"""Side of all pictures without a tumour, and width of a white frame round pituitary tumours: as if
each class came from a source of its own."""

_COPIES: Final = 6
"""Training pictures that are there a second time, saved as JPEG."""

_LEAKS: Final = 4
"""Training pictures that stand mirrored among those for testing."""


def write_faulty_set(table: Path, folder: Path) -> None:
    """Copy a slice of each phantom patient into class folders and plant four faults.

    Copies of training pictures; training pictures mirrored in the test part; a slice under two
    labels; a shortcut: pictures of two classes look as if they came from elsewhere.

    Args:
        table: What `write_phantoms` returns.
        folder: Where `Training/CLASS/` and `Testing/CLASS/` go.

    Raises:
        OSError: The folder cannot be written.
    """
    with table.open(newline="", encoding="utf-8") as file:
        first = {row["patient"]: row for row in reversed(list(csv.DictReader(file)))}
    rows = [first[patient] for patient in sorted(first)]
    for row in rows:
        place = folder / _PARTS[row["split"]] / row["class"] / Path(row["file"]).name
        with Image.open(table.parent / row["file"]) as picture:
            _save(_with_shortcut(picture, row["class"]), place)
    training = _files(folder, rows, "train")
    for path in training[:_COPIES]:
        with Image.open(path) as picture:
            _save(picture, path.with_name(f"{path.stem}_copy.jpg"))
    for path in training[_COPIES : _COPIES + _LEAKS]:
        with Image.open(path) as picture:
            other = folder / _PARTS["test"] / path.parent.name / f"mirrored_{path.name}"
            _save(ImageOps.mirror(picture), other)
    glioma = next(path for path in reversed(training) if path.parent.name == "glioma")
    with Image.open(glioma) as picture:
        _save(picture, glioma.parent.with_name("meningioma") / glioma.name)


def _with_shortcut(picture: Image.Image, label: str) -> Image.Image:
    if label == NO_TUMOUR:
        return picture.resize((_SMALL, _SMALL))
    return ImageOps.expand(picture, _FRAME, fill=255) if label == "pituitary" else picture.copy()


def _files(folder: Path, rows: Sequence[dict[str, str]], split: str) -> list[Path]:
    """Return the files of tumours in a part."""
    return [
        folder / _PARTS[split] / row["class"] / Path(row["file"]).name
        for row in rows
        if row["split"] == split and row["class"] != NO_TUMOUR
    ]


def _save(picture: Image.Image, path: Path) -> None:
    content = io.BytesIO()
    picture.save(content, "JPEG" if path.suffix == ".jpg" else "PNG", quality=90)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getvalue())
