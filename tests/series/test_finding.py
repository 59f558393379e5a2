"""The files of a folder, DICOM files along the body."""

from pathlib import Path

import numpy as np

from dicom_files import write_dicom
from tumorscope.series.finding import find_files

DEEP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)


def test_folder_is_read_in_the_order_of_the_series(tmp_path: Path) -> None:
    for number, name in enumerate("cadb"):
        stack = {
            "ImagePositionPatient": [0, 0, 5 * number - 10],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "InstanceNumber": 1,
        }
        for series, tags in ((1, stack), (2, {"InstanceNumber": number})):
            path = tmp_path / f"{name}{series}.dcm"
            uid = f"1.2.{series}"
            write_dicom(path, DEEP, SeriesNumber=series, SeriesInstanceUID=uid, **tags)
    (tmp_path / "broken.dcm").write_bytes(b"x" * 10)
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.dcm").write_bytes(b"x")
    names = [Path(path).name for path in find_files(tmp_path).files]
    ordered = [f"{name}{series}.dcm" for series in (1, 2) for name in "cadb"]
    assert names == ["broken.dcm", *ordered]
