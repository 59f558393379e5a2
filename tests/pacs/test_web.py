"""Images come by STOW-RS as they do by C-STORE; metrics and health are there to be watched."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGExtended12Bit

from certificates import write_certificate
from dicom_files import write_dicom, write_series
from dicom_network import series
from tumorscope.pacs.intake import Intake
from tumorscope.pacs.listener_metrics import ListenerMetrics
from tumorscope.pacs.series_gaps import missing_images
from tumorscope.pacs.spool import Spool
from tumorscope.pacs.tls import TlsFiles
from tumorscope.pacs.web import WebServer


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", missing_images)
    yield spool
    spool.close()


@pytest.fixture
def server(spool: Spool) -> Iterator[WebServer]:
    metrics = ListenerMetrics()
    server = WebServer(("127.0.0.1", 0))
    server.offer_storage(Intake(spool, metrics), "a secret")
    server.offer_metrics(lambda: metrics.text(spool.waiting()), spool.problem)
    server.start()
    yield server
    server.stop()


def client(server: WebServer, token: str = "a secret") -> DICOMwebClient:
    headers = {"Authorization": f"Bearer {token}"}
    return DICOMwebClient(url=f"http://127.0.0.1:{server.port}", headers=headers)


def form(*parts: bytes) -> dict[str, Any]:
    kind = 'multipart/related; type="application/dicom"; boundary=mark'
    pieces = [b"--mark\r\nContent-Type: application/dicom\r\n\r\n" + part for part in parts]
    return {
        "content": b"\r\n".join([*pieces, b"--mark--\r\n"]),
        "headers": {"Authorization": "Bearer a secret", "Content-Type": kind},
    }


def test_a_series_comes_whole_and_is_kept_byte_for_byte(
    tmp_path: Path, spool: Spool, server: WebServer
) -> None:
    images = series(tmp_path / "in")
    result = client(server).store_instances(datasets=images)
    kept = {item.ReferencedSOPInstanceUID for item in result.ReferencedSOPSequence}
    assert kept == {image.SOPInstanceUID for image in images}
    spool.take_quiet(0.0, 3600.0)
    (job,) = spool.jobs()
    assert job.incomplete == ""
    pixels = {dcmread(path).SOPInstanceUID: dcmread(path).PixelData for path in job.images}
    assert pixels == {image.SOPInstanceUID: image.PixelData for image in images}


def test_bodies_in_chunks_are_taken(tmp_path: Path, server: WebServer) -> None:
    """So dicomweb-client sends what is larger than a megabyte, and Orthanc all."""
    images = series(tmp_path / "in", size=800)
    result = client(server).store_instances(datasets=images)
    assert len(result.ReferencedSOPSequence) == len(images) == 4
    url, whole = f"http://127.0.0.1:{server.port}/studies", form(b"nothing")
    pieces = [whole["content"][:50], whole["content"][50:]]
    whole["headers"]["Authorization"] = "bearer a secret"  # (The scheme's case is free.)
    assert httpx.post(url, headers=whole["headers"], content=iter(pieces)).status_code == 409


@pytest.mark.parametrize(
    ("body", "status"), [(b"-1\r\nx", 400), (b"2\r\nxyz\r\n", 400), (b"fffffffff\r\n", 413)]
)
def test_damaged_and_endless_chunks_are_refused(
    server: WebServer, body: bytes, status: int
) -> None:
    lines = ["POST /studies HTTP/1.1", *(f"{k}: {v}" for k, v in form()["headers"].items())]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sender:
        sender.sendall("\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode() + body)
        assert f" {status} ".encode() in sender.recv(100)


def test_what_is_not_kept_has_its_reason(tmp_path: Path, server: WebServer) -> None:
    (good,) = write_series(tmp_path / "in", count=1)
    ct = write_dicom(
        tmp_path / "ct.dcm",
        dcmread(good).pixel_array,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
        StudyInstanceUID="1.2",
        SeriesInstanceUID="1.2.3",
    )
    url = f"http://127.0.0.1:{server.port}/studies"
    response = httpx.post(url, **form(good.read_bytes(), ct.read_bytes(), b"nothing"))
    assert response.status_code == 202
    answer = response.json()
    assert len(answer["00081199"]["Value"]) == 1
    reasons = [item["00081197"]["Value"][0] for item in answer["00081198"]["Value"]]
    assert reasons == [0x0122, 0x0110]
    assert httpx.post(url, **form(b"nothing")).status_code == 409
    assert httpx.post(url, **form()).status_code == 409


def test_what_is_no_stow_request_is_refused(server: WebServer) -> None:
    base = f"http://127.0.0.1:{server.port}"
    good = form(b"x")
    for change, path, status in (
        ({"Authorization": "Bearer wrong"}, "/studies", 401),
        ({"Content-Type": "application/json"}, "/studies", 415),
        ({}, "/elsewhere", 404),
    ):
        headers = {**good["headers"], **change}
        response = httpx.post(f"{base}{path}", content=good["content"], headers=headers)
        assert response.status_code == status
        assert response.json()["error"]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as large:
        lines = ["POST /studies HTTP/1.1", *(f"{k}: {v}" for k, v in good["headers"].items())]
        large.sendall("\r\n".join([*lines, "Content-Length: 999999999999", "", ""]).encode())
        assert b" 413 " in large.recv(100)


def test_metrics_and_health(
    tmp_path: Path, server: WebServer, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    client(server).store_instances(datasets=series(tmp_path / "in"))
    base = f"http://127.0.0.1:{server.port}"
    text = httpx.get(f"{base}/metrics").text
    assert 'tumorscope_objects_total{result="kept",way="stow"} 4.0' in text
    assert 'tumorscope_spool_series{state="arriving"} 1.0' in text
    assert "Mustermann" not in text
    assert httpx.get(f"{base}/healthz").text == "ok"
    head = httpx.head(f"{base}/healthz")
    assert (head.status_code, head.headers["Content-Length"], head.text) == (200, "2", "")
    monkeypatch.setattr(spool, "_folder", tmp_path / "gone")
    sick = httpx.get(f"{base}/healthz")
    assert (sick.status_code, "No such file" in sick.text) == (503, True)


def test_stow_over_tls_wants_a_certificate(tmp_path: Path, spool: Spool) -> None:
    certificate, key, authority = write_certificate(tmp_path)
    files = TlsFiles(certificate=certificate, key=key, authority=authority)
    server = WebServer(("127.0.0.1", 0), tls=files.for_listening())
    server.offer_storage(Intake(spool, ListenerMetrics()), None)
    server.start()
    url = f"https://127.0.0.1:{server.port}/studies"
    (image,) = write_series(tmp_path / "in", count=1)
    known = files.for_sending()
    assert httpx.post(url, **form(image.read_bytes()), verify=known).status_code == 200
    stranger = ssl.create_default_context(cafile=str(authority))
    with pytest.raises(httpx.HTTPError):
        httpx.post(url, **form(image.read_bytes()), verify=stranger)
    server.stop()


def test_a_body_without_its_end_is_refused(tmp_path: Path, server: WebServer) -> None:
    url = f"http://127.0.0.1:{server.port}/studies"
    first, second = (path.read_bytes() for path in write_series(tmp_path / "in", count=2))
    whole = form(first, second)
    cut = {**whole, "content": whole["content"].removesuffix(b"\r\n--mark--\r\n")}
    response = httpx.post(url, **cut)
    assert (response.status_code, "has no end" in response.json()["error"]) == (400, True)
    shouted = 'Multipart/Related; Type="Application/DICOM"; Boundary=mark'
    whole["headers"]["Content-Type"] = shouted
    assert httpx.post(url, **whole).status_code == 200


def test_what_cannot_be_unpacked_or_read_is_not_kept(tmp_path: Path, server: WebServer) -> None:
    (path,) = write_series(tmp_path / "in", count=1)
    packed, deep = dcmread(path), dcmread(path)
    packed.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    packed.save_as(tmp_path / "packed.dcm")
    deep.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    deep.BitsStored, deep.HighBit = 12, 11
    deep.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    deep.save_as(tmp_path / "deep.dcm")
    contents = [(tmp_path / name).read_bytes() for name in ("packed.dcm", "deep.dcm")]
    response = httpx.post(f"http://127.0.0.1:{server.port}/studies", **form(*contents))
    assert response.status_code == 409
    items = response.json()["00081198"]["Value"]
    assert [item["00081197"]["Value"][0] for item in items] == [0xC122, 0xC122]
