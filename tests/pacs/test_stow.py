"""Answers go to a real archive by STOW-RS, and refusals are told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

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


@contextmanager
def answering(status: int, kind: str, body: bytes) -> Iterator[str]:
    """A web server that gives one answer to everything; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


REFUSED = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}'


@pytest.mark.parametrize(
    ("status", "kind", "body", "words"),
    [
        (202, "application/dicom+json; charset=utf-8", REFUSED, r"reason 0110"),
        (
            200,
            "text/html; charset=utf-8",
            b"<html>log in",
            "no DICOMweb server: it sends text/html",
        ),
        (200, "application/dicom+xml", b"<cut", "cannot be read"),
        (200, "application/json", b"[]", "cannot be read"),
    ],
)
def test_no_answer_but_a_good_one_is_taken_for_success(
    tmp_path: Path, status: int, kind: str, body: bytes, words: str
) -> None:
    """What is delivered is removed from the spool in a day."""
    paths = write_series(tmp_path / "in", count=1)
    with answering(status, kind, body) as url, pytest.raises(SendError, match=words):
        stow(paths, DicomWebServer(url=url))
    with answering(200, "", b"") as url:
        stow(paths, DicomWebServer(url=url))


def test_an_authority_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    for content in (None, "no PEM"):
        if content:
            (tmp_path / "ca.pem").write_text(content)
        server = DicomWebServer(url="https://pacs.example", authority=tmp_path / "ca.pem")
        with pytest.raises(DataError, match=r"ca\.pem: no certificates"):
            server.check()
