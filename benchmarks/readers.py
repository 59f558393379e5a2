"""Compares what is read with what other decoders read, on the test files of pydicom and others.

    pip install SimpleITK; apt install dcmtk; python benchmarks/readers.py

writes `results/readers.json`: a table for SimpleITK, one for DCMTK's dcm2pnm (of DICOM files). A
slice is the same when its grey values lie on one line with those of the other decoder (a window may
cut both ends), so all that may differ is the windowing. DICOM files of other modalities are called
MR first, and small pictures are let in, so that their pixels are compared, too.
"""

import hashlib
import io
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own name for itself)
from numpy.typing import NDArray
from pydicom import dcmread

from record import write_record
from tumorscope.images import reading
from tumorscope.images.dicom import is_dicom
from tumorscope.images.opening import open_slices, quieten_libraries
from tumorscope.images.reading import FileInMemory, UnreadableImageError
from tumorscope.images.slices import SliceChoice, SliceImage

PACKAGES = ("pydicom", "highdicom", "nibabel")
ENDINGS = (".nii", ".nii.gz", ".mgz", ".hdr")
DCMTK = ("dcm2pnm", "dcmj2pnm", "dcml2pnm")
"""DCMTK's programs: for uncompressed pictures and RLE, for JPEG, for JPEG-LS."""

SAME = 1.0
"""Grey levels that slices may differ by; where its steps are larger, one of the other decoder."""


def main() -> None:
    """Compare all files, write the record."""
    quieten_libraries()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # noqa: FBT003  (its own interface)
    reading.MINIMUM_SIDE = 1
    counts: dict[str, Counter[str]] = {name: Counter() for name in DECODERS}
    reasons: dict[str, dict[str, str]] = {}
    fingerprint = hashlib.sha256()
    paths = test_files()
    for path in paths:
        fingerprint.update(path.read_bytes())
        ours, why = read_here(path)
        for name, decoder in DECODERS.items():
            if name == "dcm2pnm" and not is_dicom(path):
                continue
            what, how = compare(path, ours, why, decoder)
            counts[name][what] += 1
            if what in ("differs", "refused here only"):
                reasons.setdefault(path.name, {})[name] = f"{what}: {how}"
    for path_name, found in sorted(reasons.items()):
        print(path_name, found)
    for name, counted in counts.items():
        print(name, dict(counted))
    print(
        write_record(
            "readers",
            command="python benchmarks/readers.py",
            figures={
                "files": {name: dict(counted) for name, counted in counts.items()},
                "named": reasons,
                "decoders": {"SimpleITK": sitk.Version_VersionString(), "dcm2pnm": dcmtk_version()},
            },
            seeds=[],
            n=len(paths),
            data_fingerprint=fingerprint.hexdigest(),
        )
    )


def test_files() -> list[Path]:
    """Return the DICOM files and volumes in the installed packages."""
    found = []
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        paths = (path for path in sorted(Path(spec.origin).parent.rglob("*")) if path.is_file())
        found += [p for p in paths if is_dicom(p) or p.name.lower().endswith(ENDINGS)]
    return found


def read_here(path: Path) -> tuple[list[SliceImage], str]:
    """Return the slices of a file, and why there are none or why some have no picture."""
    try:
        ours = list(open_slices(as_mr(path), SliceChoice(numbers=slice(None))))
    except UnreadableImageError as error:
        return [], str(error).partition(": ")[2]
    return ours, "; ".join(sorted({image.unsupported for image in ours if image.grey is None}))


def compare(
    path: Path, ours: list[SliceImage], why: str, decoder: Callable[[Path], NDArray[np.float64]]
) -> tuple[str, str]:
    """Return how a file compares, and why it is refused or where it differs."""
    shown = [image for image in ours if image.grey is not None]
    try:
        theirs = decoder(path)
    except (RuntimeError, OSError):
        return ("read here only", "") if shown else ("refused by both", why)
    if not shown:
        kind = "unsupported here" if ours else "refused here only"
        return kind, why
    if is_dicom(path):
        return dicom_alike(shown, theirs)
    return ("same", "") if volume_alike(shown, theirs) else ("differs", "volume")


def as_mr(path: Path) -> Path | FileInMemory:
    """Return a DICOM file as one of a head and MR; as it is where that cannot be written."""
    if not is_dicom(path):
        return path
    try:
        dataset = dcmread(path, force=True)
        dataset.Modality, dataset.BodyPartExamined = "MR", "HEAD"
        buffer = io.BytesIO()
        dataset.save_as(buffer)
    except Exception:  # noqa: BLE001  (damaged files are among them)
        return path
    return FileInMemory(path.name, buffer.getvalue())


def by_simpleitk(path: Path) -> NDArray[np.float64]:
    """Return what SimpleITK reads, `[slices, rows, columns]`."""
    image = sitk.ReadImage(str(path))
    if image.GetNumberOfComponentsPerPixel() > 1:
        return (
            sitk.GetArrayFromImage(image)
            .astype(float)
            .mean(axis=-1)
            .reshape(-1, image.GetHeight(), image.GetWidth())
        )
    if not is_dicom(path):
        image = sitk.DICOMOrient(image[..., 0] if image.GetDimension() == 4 else image, "LPS")
    values = sitk.GetArrayFromImage(image).astype(float)
    return values.reshape(-1, *values.shape[-2:])


def by_dcmtk(path: Path) -> NDArray[np.float64]:
    """Return what DCMTK reads, `[frames, rows, columns]`.

    Raises:
        OSError: None of its programs has a decoder for the file.
    """
    for program in DCMTK:
        with tempfile.TemporaryDirectory() as folder:
            command = [
                program,
                "--quiet",
                "--all-frames",
                "--no-overlays",
                "--write-16-bit-pnm",
                str(path),
            ]
            subprocess.run([*command, f"{folder}/frame"], capture_output=True, check=False)
            files = sorted(Path(folder).iterdir(), key=lambda file: int(file.suffixes[0][1:]))
            if files:
                return np.stack([read_pnm(file) for file in files])
    raise OSError("no decoder")


def read_pnm(path: Path) -> NDArray[np.float64]:
    """Return a plain PGM or PPM file, the mean of its colours."""
    _, width, height, _, *values = path.read_text().split()
    pixels = np.array(values, dtype=float).reshape(int(height), int(width), -1)
    return pixels.mean(axis=-1)


def dcmtk_version() -> str:
    """Return the version of dcm2pnm."""
    said = subprocess.run([DCMTK[0], "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[2]


def dicom_alike(shown: list[SliceImage], theirs: NDArray[np.float64]) -> tuple[str, str]:
    """Compare frame by frame; those that were made square are left out."""
    worst, square = 0.0, 0
    for image in shown:
        other = theirs[image.number or 0]
        if image.grey is None or image.grey.shape != other.shape:
            square += 1
            continue
        worst = max(worst, difference(image.grey.astype(float), other))
    if square == len(shown):
        return "same but for the shape of its pixels, not compared", ""
    return ("same", "") if worst <= SAME else ("differs", f"by {worst:.0f} grey levels")


def volume_alike(shown: list[SliceImage], theirs: NDArray[np.float64]) -> bool:
    """Tell whether the slices of a volume are those of the other in one of its planes."""
    planes = (theirs, theirs.transpose(1, 0, 2)[:, ::-1], theirs.transpose(2, 0, 1)[:, ::-1])
    for plane in planes:
        flipped = (plane, plane[::-1])
        for stack in flipped:
            if len(stack) == len(shown) and all(
                image.grey is not None
                and (
                    image.grey.shape != other.shape
                    or difference(image.grey.astype(float), other) <= SAME
                )
                for image, other in zip(shown, stack, strict=True)
            ):
                return True
    return False


def difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Return the largest distance from a line inside our window; 0 for flat slices.

    It is in grey levels, or in steps of the other decoder where these are larger: dcm2pnm writes
    16 bits of 32.
    """
    inside = (ours > ours.min()) & (ours < ours.max())
    if inside.sum() < 20 or np.ptp(theirs[inside]) == 0 or np.ptp(ours[inside]) == 0:
        return 0.0
    slope, offset = np.polyfit(theirs[inside], ours[inside], 1)
    residuals = ours[inside] - slope * theirs[inside] - offset
    return float(np.abs(residuals).max() / max(1.0, abs(slope)))


DECODERS: dict[str, Callable[[Path], NDArray[np.float64]]] = {
    "SimpleITK": by_simpleitk,
    "dcm2pnm": by_dcmtk,
}


if __name__ == "__main__":
    main()
