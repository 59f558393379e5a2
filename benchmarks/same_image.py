"""Slices saved in several formats come in, how far the answers to them differ goes out.

    python benchmarks/same_image.py [--model M] [--pictures DIR]

writes `results/same_image.json`. Forty phantoms, and up to 200 JPEG files of the folder, are saved
from JPEG as PNG, DICOM (8 and 16 bits, with and without a window, three compressions) and NIfTI,
and as JPEG once more at the best quality; each copy is compared with the JPEG file. So is one more
JPEG of quality 95: that loses more, and so is no longer quite the same image.
"""

import argparse
import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from fuzz import dicom, picture
from record import write_record
from tumorscope.classes import CLASSES
from tumorscope.images import read_slice
from tumorscope.inference import DEFAULT_MODEL, Classifier, Prediction
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.series.finding import find_files

PICTURES = 200
TOLERANCE = 0.02


def main() -> None:
    """Save, judge, compare, write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="an ONNX file or a bundled model")
    parser.add_argument("--pictures", type=Path, help="a folder of real slices")
    options = parser.parse_args()
    classifier = Classifier.load(options.model)
    fingerprint = hashlib.sha256()
    differences: dict[str, list[float]] = defaultdict(list)
    other_labels: dict[str, int] = defaultdict(int)
    count = judged = 0
    for content in pictures(options.pictures):
        fingerprint.update(content)
        count += 1
        with tempfile.TemporaryDirectory() as folder:
            names = save(content, Path(folder))
            first, *others = classifier.predict([Path(folder) / name for name in names])
        assert isinstance(first, Prediction)
        for name, other in zip(names[1:], others, strict=True):
            assert isinstance(other, Prediction), other
            # (A refusal, of most phantoms, has no probabilities: those of both are compared.)
            both = first.probabilities.keys() & other.probabilities.keys()
            differences[name].append(
                max((abs(other.probabilities[k] - first.probabilities[k]) for k in both), default=0)
            )
            other_labels[name] += other.label != first.label
        judged += first.label is not None
    figures = {
        name: {
            "largest_difference": round(max(values), 5),
            "mean_difference": round(sum(values) / len(values), 5),
            "beyond_tolerance": sum(value > TOLERANCE for value in values),
            "other_labels": other_labels[name],
        }
        for name, values in differences.items()
    }
    for name, row in figures.items():
        print(f"{name:16}", row)
    path = write_record(
        "same_image",
        command="python benchmarks/same_image.py --pictures PATH/kaggle/Testing",
        figures={
            "model": classifier.facts.title,
            "tolerance": TOLERANCE,
            "judged": judged,
            "formats": figures,
        },
        seeds=[],
        n=count,
        data_fingerprint=fingerprint.hexdigest(),
    )
    print(path)


def pictures(folder: Path | None) -> Iterator[bytes]:
    """Yield, as JPEG, phantoms of every class, then pictures spread evenly over the folder."""
    for seed in range(10):
        for label in CLASSES:
            phantom = draw_phantom(label, plane="axial", patient_seed=seed, slice_number=2)
            yield picture(phantom.image, "JPEG", quality=95)
    if folder is not None:
        files = [Path(path) for path in find_files(folder).files if path.lower().endswith(".jpg")]
        for path in files[:: -(-len(files) // PICTURES)]:
            yield path.read_bytes()


def save(content: bytes, folder: Path) -> list[str]:
    """Save a JPEG file's slice in every format; return the names, the JPEG file's first."""
    (folder / "grey.jpg").write_bytes(content)
    grey = read_slice(folder / "grey.jpg")
    deep = grey.astype(np.uint16) * 13 + 100
    code = encapsulate([picture(deep, "JPEG2000", irreversible=False, no_jp2=True)])
    window = {"WindowCenter": 1757, "WindowWidth": 3315}
    contents = {
        "grey.png": picture(grey, "PNG"),
        "best.jpg": picture(grey, "JPEG", quality=100),
        "again.jpg": picture(grey, "JPEG", quality=95),
        "bytes.dcm": dicom(grey),
        "range.dcm": dicom(deep),
        "window.dcm": dicom(deep, **window),
        "rle.dcm": dicom(deep, compress=RLELossless),
        "jpeg_ls.dcm": dicom(deep, compress=JPEGLSLossless),
        "jpeg_2000.dcm": dicom(deep, JPEG2000Lossless, code),
    }
    for name, copy in contents.items():
        (folder / name).write_bytes(copy)
    # Stored towards right, front and top, so that the axial slice looks as the picture does.
    volume = grey.T[::-1, ::-1, None]
    volumes = {"bytes.nii.gz": volume, "numbers.nii": volume.astype(np.int16) * 13}
    for name, values in volumes.items():
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / name)
    return ["grey.jpg", *contents, *volumes]


if __name__ == "__main__":
    main()
