"""A running service, a fresh page of it, and scans, for the tests of the page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from browsing import opened
from dicom_files import write_dicom
from serving import Service, running
from small_model import write_model
from tumorscope.phantoms.drawing import draw_phantom


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    model = write_model(folder / "m.onnx", sharpness=1)
    with running(folder, "--model", str(model), "--threads", "1") as service:
        yield service


@pytest.fixture(scope="package")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    heads = [
        draw_phantom("glioma", plane="axial", patient_seed=4, slice_number=n, size=96).image
        for n in range(6)
    ]
    for number in (1, 2, 10):
        Image.fromarray(heads[number % 6]).save(folder / f"scan{number}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    write_dicom(folder / "ct.dcm", heads[0], Modality="CT")
    volume = np.stack([grey.T[::-1, ::-1] for grey in heads], axis=-1).astype(np.int16)
    affine = np.array([[1.0, 0, 0, -48], [0, 1, 0, -48], [0, 0, 5, -15], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(volume, affine), folder / "head.nii.gz")
    (folder / "series").mkdir()
    (folder / "nowhere").mkdir()
    for part in ("a", "b"):
        (folder / "disc" / part).mkdir(parents=True)
    for number, grey in enumerate(heads):
        place = {
            "PixelSpacing": [1, 1],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [-48, -48, 5 * number],
        }
        name = f"IM{(7 * number) % 11}"
        write_dicom(folder / "series" / name, grey, SeriesInstanceUID="1.2.5", **place)
        write_dicom(folder / "nowhere" / name, grey, SeriesInstanceUID="1.2.6")
        part = folder / "disc" / "ab"[number % 2]
        path = part / name
        write_dicom(path, grey, SeriesInstanceUID=f"1.2.{7 + number // 4}", **place)
        if number == 2:  # (As some archives keep it: without preamble and group 2.)
            content = path.read_bytes()
            path.write_bytes(content[content.index(b"\x08\0\x16\0UI") :])
    return folder


@pytest.fixture
def page(browser: Any, service: Service) -> Iterator[Any]:
    """A fresh page, on which nothing may go wrong unsaid."""
    with opened(browser, service.address) as page:
        yield page
