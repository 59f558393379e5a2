"""Answers go to a real archive by STOW-RS, and refusals are told."""

import json
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_files import write_series
from dicom_network import ask, listening, orthanc, series, store, wait_for
from processes import free_port
from small_model import write_model
from tumorscope.errors import DataError
from tumorscope.pacs.sending import SendError
from tumorscope.pacs.stow import DicomWebServer
from tumorscope.pacs.stow import store as stow

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PLACE = {"FrameOfReferenceUID": "1.2.826.0.1.3680043.10.999.77", "SliceThickness": 5}


def test_orthanc_takes_report_segmentation_and_overlay(tmp_path: Path) -> None:
    """Images come by STOW-RS and C-STORE in turn; the answers lie in Orthanc, as a viewer asks."""
    if not PLUGIN.exists():
        pytest.skip("Orthanc's DICOMweb is not installed (Debian: orthanc-dicomweb)")
    classes = ("glioma", "meningioma", "pituitary", "other")  # (So a tumour is found.)
    model = write_model(tmp_path / "small.onnx", sharpness=60.0, classes=classes)
    images = series(tmp_path / "in", **PLACE)
    settings = {"Plugins": [str(PLUGIN)], "DicomServerEnabled": False}
    with orthanc(tmp_path, **settings) as web:
        url = f"http://127.0.0.1:{web}/dicom-web"
        stow(sorted((tmp_path / "in").iterdir()), DicomWebServer(url=url))
        with listening(tmp_path, model, "--stow-to", url) as running:
            assert store(running.port, images) == [0] * 4
            (study,) = json.loads(ask(web, "/studies"))
            found = wait_for(
                lambda: (
                    len(all_ := json.loads(ask(web, f"/studies/{study}/instances"))) == 7 and all_
                )
            )
            assert running.stop() == 0
        kinds = {}
        for item in found:
            path = tmp_path / f"{item['ID']}.dcm"
            path.write_bytes(ask(web, f"/instances/{item['ID']}/file"))
            kinds.setdefault(dcmread(path).Modality, []).append(dcmread(path))
    assert {kind: len(items) for kind, items in kinds.items()} == {
        "MR": 4,
        "SEG": 1,
        "SR": 1,
        "OT": 1,
    }
    (segmentation,), (report,) = kinds["SEG"], kinds["SR"]
    assert segmentation.FrameOfReferenceUID == PLACE["FrameOfReferenceUID"]
    assert segmentation.SOPInstanceUID in str(report.CurrentRequestedProcedureEvidenceSequence)


def test_servers_that_do_not_take_objects_are_told_apart(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", count=1)
    with pytest.raises(SendError, match="cannot be reached"):
        stow(paths, DicomWebServer(url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(DataError, match="no DICOMweb server"):
        DicomWebServer(url="pacs.example/dicom-web").check()
    with (
        orthanc(tmp_path, DicomServerEnabled=False) as web,
        pytest.raises(SendError, match=r"refuses the objects \(HTTP 404\)"),
    ):
        stow(paths, DicomWebServer(url=f"http://127.0.0.1:{web}/nothing-here"))
