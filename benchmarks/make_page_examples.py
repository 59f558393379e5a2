"""Draws the example scans that the page of `tumorscope serve` offers: phantoms, no patient's.

python benchmarks/make_page_examples.py
"""

import gzip
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.serve.app import PAGE

FOLDER = PAGE / "examples"
SLICES = 14
PIXEL, STEP = 1.3, 5.0  # mm


def draw_slice(path: Path, label: str, seed: int) -> None:
    """Draw one axial slice."""
    phantom = draw_phantom(label, plane="axial", patient_seed=seed, slice_number=2)
    Image.fromarray(phantom.image).save(path, optimize=True)


def write_volume(path: Path, slices: list[NDArray[np.uint8]]) -> None:
    """Write coronal slices as a NIfTI volume."""
    voxels = np.stack([grey[::-1, ::-1].T for grey in slices], axis=1)
    affine = np.diag([PIXEL, STEP, PIXEL, 1.0])
    affine[:3, 3] = [-affine[i, i] * (voxels.shape[i] - 1) / 2 for i in range(3)]
    content = nibabel.Nifti1Image(voxels, affine).to_bytes()
    path.write_bytes(gzip.compress(content, mtime=0))


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    draw_slice(FOLDER / "glioma.png", "glioma", 0)
    draw_slice(FOLDER / "no-tumour.png", "notumor", 5)
    drawn = [
        draw_phantom("meningioma", plane="coronal", patient_seed=3, slice_number=n, size=144)
        for n in range(SLICES)
    ]
    write_volume(FOLDER / "series.nii.gz", [phantom.image for phantom in drawn])
    write_volume(FOLDER / "series-mask.nii.gz", [phantom.mask // 255 for phantom in drawn])
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
