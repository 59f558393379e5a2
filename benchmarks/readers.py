"""Compares what is read with what SimpleITK reads, on the test files of pydicom and others.

    pip install SimpleITK; python benchmarks/readers.py

writes `results/readers.json`. A slice is the same when its grey values lie on one line with those
of the other decoder (a window may cut both ends), so all that may differ is the windowing. DICOM
files of other modalities are called MR first, so that their pixels are compared, too.
"""

import hashlib
import io
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own name for itself)
from numpy.typing import NDArray
from pydicom import dcmread

from record import write_record
from tumorscope.images.dicom import is_dicom
from tumorscope.images.opening import open_slices, quieten_libraries
from tumorscope.images.reading import FileInMemory, UnreadableImageError
from tumorscope.images.slices import SliceChoice, SliceImage

PACKAGES = ("pydicom", "highdicom", "nibabel")
ENDINGS = (".nii", ".nii.gz", ".mgz", ".hdr")
_DECODER = f"SimpleITK {sitk.Version_VersionString()}"

SAME = 0.999
"""Correlation from which two pictures of one slice are the same but for the window."""


def main() -> None:
    """Compare all files, write the record."""
    quieten_libraries()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # noqa: FBT003  (its own interface)
    counts: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    fingerprint = hashlib.sha256()
    for path in test_files():
        fingerprint.update(path.read_bytes())
        what, why = compare(path)
        counts[what] += 1
        if what in ("differs", "refused here only"):
            reasons[path.name] = f"{what}: {why}"
    for name, why in sorted(reasons.items()):
        print(name, why)
    print(dict(counts))
    print(
        write_record(
            "readers",
            command="python benchmarks/readers.py",
            figures={
                "files": dict(counts),
                "named": reasons,
                "decoder": sitk.Version_VersionString(),
            },
            seeds=[],
            n=sum(counts.values()),
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


def compare(path: Path) -> tuple[str, str]:
    """Return how a file compares, and why it is refused or where it differs."""
    try:
        ours = list(open_slices(as_mr(path), SliceChoice(numbers=slice(None))))
    except UnreadableImageError as error:
        ours, why = [], str(error).partition(": ")[2]
    else:
        why = "; ".join(sorted({image.unsupported for image in ours if image.grey is None}))
    shown = [image for image in ours if image.grey is not None]
    try:
        theirs = stacked(path)
    except RuntimeError:
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


def stacked(path: Path) -> NDArray[np.float64]:
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


def dicom_alike(shown: list[SliceImage], theirs: NDArray[np.float64]) -> tuple[str, str]:
    """Compare frame by frame; those that were made square are left out."""
    worst, square = 1.0, 0
    for image in shown:
        other = theirs[image.number or 0]
        if image.grey is None or image.grey.shape != other.shape:
            square += 1
            continue
        worst = min(worst, alike(image.grey.astype(float), other))
    if square == len(shown):
        return "same but for the shape of its pixels, not compared", ""
    return ("same", "") if worst >= SAME else ("differs", f"correlation {worst:.4f}")


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
                    or alike(image.grey.astype(float), other) >= SAME
                )
                for image, other in zip(shown, stack, strict=True)
            ):
                return True
    return False


def alike(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Return the correlation inside our window, up to the sign; 1 for flat slices."""
    inside = (ours > ours.min()) & (ours < ours.max())
    if inside.sum() < 20 or np.ptp(theirs[inside]) == 0 or np.ptp(ours[inside]) == 0:
        return 1.0
    return float(abs(np.corrcoef(ours[inside], theirs[inside])[0, 1]))


if __name__ == "__main__":
    main()
