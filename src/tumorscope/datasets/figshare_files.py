"""Converts figshare's archives of MATLAB v7.3 files to pictures, masks and an index table.

The files are those of Cheng et al., doi 10.6084/m9.figshare.1512427: `N.mat` holds one slice, its
tumour mask, label and patient, `cvind.mat` the folds that published results use.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tumorscope.datasets.catalogue import Skipped
from tumorscope.errors import DataError
from tumorscope.files import whole_file, write_text
from tumorscope.progress import Progress, silent

FOLDS_FILE: Final = "cvind.mat"

_SIDE: Final = 256
_LABELS: Final = {1: "meningioma", 2: "glioma", 3: "pituitary"}
_COLUMNS: Final = ("index", "class", "patient", "patient_prefix", "fold")


@dataclass(frozen=True)
class _Member:
    """One `N.mat`, still packed."""

    index: int
    archive: zipfile.ZipFile
    name: str


@dataclass(frozen=True)
class _Content:
    """What an `N.mat` holds; image and mask are `[height, width]`, upright."""

    label: str
    patient: str
    image: NDArray[Any]
    mask: NDArray[Any]


def convert(archives: Path, target: Path, *, progress: Progress = silent) -> tuple[Skipped, ...]:
    """Unpack figshare's archives into `images/NNNN.jpg`, `masks/NNNN.png` and `index.csv`.

    Pictures are 256x256, 8-bit grey, upright, each scaled from its own darkest to its own
    brightest value; masks are 0 and 255. Pictures that an earlier run wrote are kept.

    Args:
        archives: The folder with the published `*.zip` and `cvind.mat`.
        target: The folder to write to; `index.csv` is written last.
        progress: Shows how far it is.

    Returns:
        The files that were left out, and why.

    Raises:
        DataError: An archive or `cvind.mat` is missing or cannot be read at all.
    """
    folds = _read_folds(archives / FOLDS_FILE)
    rows: dict[int, tuple[object, ...]] = {}
    skipped: dict[int, str] = {}
    for member in progress(_members(archives), total=len(folds), label="converting"):
        index = member.index
        picture = target / "images" / f"{index:04d}.jpg"
        outline = target / "masks" / f"{index:04d}.png"
        if not 1 <= index <= len(folds):
            skipped[index] = f"no fold in {FOLDS_FILE}"
            continue
        try:
            content = _read(member)
        except Exception as error:  # noqa: BLE001  (h5py and zlib raise nearly anything on damage)
            skipped[index] = f"damaged ({_reason(error)})"
            continue
        if not (picture.exists() and outline.exists()):
            _save(_grey(content.image), picture)
            _save(_black_and_white(content.mask), outline)
        prefix = patient_prefix(content.patient)
        rows[index] = (index, content.label, content.patient, prefix, folds[index - 1])
    for index in range(1, len(folds) + 1):
        if index not in rows:
            skipped.setdefault(index, "not in the archives")
    _write_index(target / "index.csv", [rows[index] for index in sorted(rows)])
    return tuple(Skipped(f"{index}.mat", reason) for index, reason in sorted(skipped.items()))


def patient_prefix(patient: str) -> str:
    """Return a patient ID without its letter: MR040240 and MR040240B may be one person.

    >>> patient_prefix("MR040240B"), patient_prefix("112847")
    ('MR040240', '112847')
    """
    return re.sub(r"(?<=\d)[A-Z]$", "", patient)


def _read(member: _Member) -> _Content:
    with h5py.File(io.BytesIO(member.archive.read(member.name))) as file:
        record = file["cjdata"]
        label = _LABELS[int(_array(record, "label").item())]
        patient = "".join(chr(code) for code in _array(record, "PID").ravel()).strip()
        # MATLAB stores columns first, so the arrays arrive transposed.
        image, mask = _array(record, "image").T, _array(record, "tumorMask").T
    if image.ndim != 2 or image.shape != mask.shape or not patient:
        raise ValueError(f"patient '{patient}', picture {image.shape}, mask {mask.shape}")
    return _Content(label, patient, image, mask)


def _write_index(path: Path, rows: list[tuple[object, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _grey(image: NDArray[Any]) -> Image.Image:
    values = image.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255.0 / max(high - low, 1.0))
    return _small(np.rint(scaled).astype(np.uint8))


def _black_and_white(mask: NDArray[Any]) -> Image.Image:
    covered = np.asarray(_small(np.where(mask > 0, 255, 0).astype(np.uint8)))
    return Image.fromarray(covered >= 128)


def _small(values: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(values).resize((_SIDE, _SIDE), Image.Resampling.BOX)


def _save(picture: Image.Image, path: Path) -> None:
    with whole_file(path) as temporary:
        picture.save(temporary, quality=95)  # PNG has no quality and ignores it


def _array(record: Any, name: str) -> NDArray[Any]:
    return np.asarray(record[name][()])


def _read_folds(path: Path) -> NDArray[np.int64]:
    if not path.is_file():
        raise DataError(f"{path}: missing; run 'tumorscope download figshare' again")
    try:
        with h5py.File(path) as file:
            return _array(file, "cvind").ravel().astype(np.int64)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: damaged ({_reason(error)}); delete it and run the download again"
        ) from error


def _members(folder: Path) -> Iterator[_Member]:
    """Go through the `N.mat` of all archives, in the order of the archives."""
    for path in sorted(folder.glob("*.zip")):
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile:
            raise DataError(
                f"{path}: not a whole zip archive; delete it and run the download again"
            ) from None
        with archive:
            for name in archive.namelist():
                place = PurePosixPath(name)
                if place.suffix == ".mat" and place.stem.isdigit():
                    yield _Member(int(place.stem), archive, name)


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 80 else words[:77] + "..."
