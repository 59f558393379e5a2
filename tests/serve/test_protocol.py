"""What unfriendly and absent clients do to a service: nothing that others would notice."""

import asyncio
import contextlib
import gzip
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import nibabel
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from pydantic import ValidationError

from certificates import write_certificate
from serving import Service, run_async, running
from small_model import write_model
from tumorscope.cli.main import main
from tumorscope.images.slices import SliceChoice
from tumorscope.inference import Classifier, Failure
from tumorscope.inference.classifier import Input, Prepared
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.serve import Limits, create_app, protocol
from tumorscope.serve.schema import SliceAnswer

START = (
    b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: multipart/form-data; boundary=mark\r\nContent-Length: 9999\r\n\r\n"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "m.onnx")


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    image = draw_phantom("glioma", plane="axial", patient_seed=1, slice_number=2).image
    Image.fromarray(image).save(path)
    return path


@pytest.fixture(scope="module")
def service(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    words = ("--model", str(model), "--queue", "8")
    with running(tmp_path_factory.mktemp("service"), *words) as service:
        yield service


@pytest.fixture
def client(model: Path) -> Iterator[TestClient]:
    app = create_app({"small": Classifier.load(model, threads=1)})
    with TestClient(app, base_url="http://localhost:8000") as client:
        yield client


def connect(service: Service) -> socket.socket:
    port = int(service.address.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def post(service: Service, path: Path) -> httpx.Response:
    with path.open("rb") as file:
        return httpx.post(f"{service.address}/v1/classify", files={"files": file}, timeout=60)


def test_headers_without_an_end_are_refused_at_once(service: Service, picture: Path) -> None:
    with connect(service) as endless:
        endless.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                endless.sendall(b"a" * 65536)
        began = time.monotonic()
        assert post(service, picture).status_code == 200
        assert time.monotonic() - began < 5
        with contextlib.suppress(ConnectionError):
            assert endless.recv(12) in (b"HTTP/1.1 400", b"")


def test_connections_that_send_no_whole_headers_are_closed(model: Path, tmp_path: Path) -> None:
    with running(tmp_path, "--model", str(model)) as service, connect(service) as half:
        half.sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")
        half.settimeout(protocol.HEADER_SECONDS + 5)
        assert half.recv(1) == b""
        assert httpx.get(f"{service.address}/healthz").text == "ok"


def test_half_open_uploads_take_no_place_from_others(service: Service, picture: Path) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            half = stack.enter_context(connect(service))
            half.sendall(START + b"--mark\r\n")
        time.sleep(0.2)
        assert httpx.get(f"{service.address}/readyz").text == "ready"
        assert post(service, picture).status_code == 200


def test_an_upload_that_stalls_is_given_up(model: Path) -> None:
    limits = Limits(stall=0.2)
    app = create_app({"small": Classifier.load(model, threads=1)}, limits=limits, hosts=None)

    async def body() -> AsyncIterator[bytes]:
        yield b"--mark\r\n"
        await asyncio.sleep(10)
        yield b"too late"

    async def upload() -> httpx.Response:
        kind = {"Content-Type": "multipart/form-data; boundary=mark"}
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post("/v1/classify", content=body(), headers=kind)

    response = run_async(upload())
    assert (response.status_code, "0.2 s" in response.json()["error"]) == (408, True)


def test_work_for_clients_that_left_is_given_up(service: Service, picture: Path) -> None:
    """Twenty large volumes whose senders are gone do not keep a picture waiting."""
    random = np.random.default_rng(0)
    part = random.integers(0, 200, (64, 64, 8), dtype=np.int16)
    volume = np.tile(part, (4, 4, 40))
    packed = gzip.compress(nibabel.Nifti1Image(volume, np.eye(4)).to_bytes(), compresslevel=1)
    form = b'--mark\r\nContent-Disposition: form-data; name="files"; filename="v.nii.gz"\r\n\r\n'
    form += packed + b"\r\n--mark--\r\n"
    start = START.replace(b"9999", str(len(form)).encode())
    for _ in range(20):
        with connect(service) as gone, contextlib.suppress(ConnectionError):
            gone.sendall(start + form)
    began = time.monotonic()
    assert post(service, picture).status_code == 200
    assert time.monotonic() - began < 10


def test_head_and_wrong_methods(client: TestClient) -> None:
    for path in ("/healthz", "/readyz", "/"):
        response = client.head(path)
        assert (response.status_code, response.content) == (200, b"")
    for path, allowed in (("/v1/classify", {"POST"}), ("/v1/model", {"GET"}), ("/", {"GET"})):
        response = client.request("DELETE", path)
        assert response.status_code == 405
        assert allowed <= set(response.headers["Allow"].split(", "))
    assert client.get("/v1/classify").status_code == 405


def test_requests_for_pages_of_other_sites_are_refused(client: TestClient, picture: Path) -> None:
    files = {"files": picture.read_bytes()}
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[none"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert client.post("/v1/classify", files=files, headers=headers).status_code == 403
    own = {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/classify", files=files, headers=own).status_code == 200


def test_the_api_is_described_without_another_host(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "http" not in page.text.replace("<!doctype html>", "")
    for name in re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text):
        assert client.get(f"/{name}").status_code == 200
    operation = client.get("/openapi.json").json()["paths"]["/v1/classify"]["post"]
    axis = next(item for item in operation["parameters"] if item["name"] == "axis")
    assert {"axial", "coronal", "sagittal"} <= set(axis["schema"]["anyOf"][0]["enum"])


def test_the_pages_files_are_compressed_and_kept(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["Cache-Control"] == "no-cache"
    (script,) = re.findall(r'src="(assets/[0-9a-f]{16}/main\.js)"', page.text)
    folder = script.rpartition("/")[0]
    viewer = client.get(f"/{folder}/vendor/niivue/niivue.umd.js")
    assert viewer.headers["Content-Encoding"] == "gzip"
    assert "immutable" in viewer.headers["Cache-Control"]
    assert int(viewer.headers["Content-Length"]) < 0.5 * len(viewer.content)
    again = client.get("/", headers={"If-None-Match": page.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    weak = {"If-None-Match": f"W/{page.headers['ETag']}"}  # (As proxies hand it on.)
    assert client.get("/", headers=weak).status_code == 304
    plain = client.get(f"/{script}", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert client.get("/assets/0000000000000000/main.js").status_code == 404


def test_other_names_are_answered_where_allowed(model: Path, tmp_path: Path) -> None:
    words = ("--model", str(model), "--allowed-host", "brain.example", "--root-path", "/brain")
    with running(tmp_path, *words) as service:
        for host, status in (("brain.example", 200), ("localhost", 200), ("evil.example", 421)):
            answer = httpx.get(f"{service.address}/healthz", headers={"Host": host})
            assert answer.status_code == status
        servers = httpx.get(f"{service.address}/openapi.json").json()["servers"]
        assert servers == [{"url": "/brain"}]


def test_https(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate, key, authority = write_certificate(tmp_path)
    words = ("--model", str(model), "--tls-cert", str(certificate), "--tls-key", str(key))
    with running(tmp_path, *words) as service:
        assert service.address.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(authority))
        assert httpx.get(f"{service.address}/healthz", verify=trusted).text == "ok"
    assert main(["serve", *words[:4]]) == 2
    assert "belong together" in capsys.readouterr().err
    assert main(["serve", *words[:4], "--tls-key", str(certificate)]) == 2
    assert "no certificate with its key" in capsys.readouterr().err


LINES = {"Accept": "application/x-ndjson"}


class Endless(Classifier):
    """A model whose every file is a volume without an end, until nobody wants more."""

    given_up: threading.Event

    def read(
        self, item: Input, choice: SliceChoice | None = None, *, number: int = 0
    ) -> Iterator[Prepared | Failure]:
        try:
            while True:
                yield from super().read(item, choice, number=number)
        finally:
            self.given_up.set()


@pytest.fixture
def endless(model: Path) -> Endless:
    classifier = Endless(Classifier.load(model, threads=1)._model, threads=1)
    classifier.given_up = threading.Event()
    return classifier


async def ask(app: FastAPI, picture: Path, lines: int, *, stays: bool = False) -> list[Any]:
    """Send a picture, take so many lines of the answer, and leave."""
    content = b'--mark\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    content += picture.read_bytes() + b"\r\n--mark--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=mark", "accept": LINES["Accept"]}
    left = asyncio.Event()
    read: list[Any] = []
    asked = [{"type": "http.request", "body": content}]

    async def receive() -> Any:
        if asked:
            return asked.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        read.extend(json.loads(line) for line in message.get("body", b"").splitlines())
        if len(read) >= lines:
            if not stays:
                left.set()
            await asyncio.sleep(60)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/classify",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    return read


def test_reading_stops_between_slices_once_the_client_has_gone(
    endless: Endless, picture: Path
) -> None:
    app = create_app({"small": endless}, hosts=None)
    read = run_async(asyncio.wait_for(ask(app, picture, 3), 20))
    assert [answer["path"] for answer in read] == ["a.png"] * 3
    assert endless.given_up.wait(20)
    assert "requests_inside 0.0" in TestClient(app).get("/metrics").text


def test_a_line_that_is_late_ends_the_stream(endless: Endless, picture: Path) -> None:
    late = create_app({"small": endless}, hosts=None, limits=Limits(seconds=0.3))
    with TestClient(late) as client:
        files = {"files": ("a.png", picture.read_bytes())}
        response = client.post("/v1/classify/volume?volume=0", files=files, headers=LINES)
    *_, last = map(json.loads, response.text.splitlines())
    assert list(last) == ["error"]
    assert "more than 0.3 s" in last["error"]
    assert endless.given_up.wait(20)


def test_a_client_that_takes_nothing_is_given_up(endless: Endless, picture: Path) -> None:
    app = create_app({"small": endless}, hosts=None, limits=Limits(stall=0.2))
    read = run_async(asyncio.wait_for(ask(app, picture, 2, stays=True), 20))
    assert len(read) == 2
    assert endless.given_up.wait(20)


def test_answers_as_lines_are_the_answers_of_the_array(client: TestClient, picture: Path) -> None:
    files = [("files", ("a.png", picture.read_bytes())), ("files", ("b.txt", b"no image"))]
    for path in ("/v1/classify?picture=png", "/v1/classify/volume"):
        array = client.post(path, files=files)
        lines = client.post(path, files=files, headers=LINES)
        assert lines.headers["Content-Type"].startswith(LINES["Accept"])
        texts = [re.sub(r'"milliseconds":[\d.]+', "", text) for text in (array.text, lines.text)]
        assert texts[0] == "[" + ",".join(texts[1].splitlines()) + "]"
    assert client.post("/v1/classify?model=x", files=files, headers=LINES).status_code == 422


def test_lines_tell_how_far_the_work_on_volumes_is(
    client: TestClient, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tumorscope.serve.service.PROGRESS_SECONDS", 0.0)
    files = [("files", (f"a/{number}.png", picture.read_bytes())) for number in range(3)]
    response = client.post("/v1/classify/volume", files=files, headers=LINES)
    *progress, answer = map(json.loads, response.text.splitlines())
    assert [item["slices_done"] for item in progress] == [1, 2, 3]
    assert {item["files"] for item in progress} == {3}
    assert answer["slices"] == 1  # (The others are copies.)


def test_the_answers_fit_their_description(client: TestClient, picture: Path) -> None:
    """Nothing is sent that the description lacks: what is described is what sends."""
    spec = client.get("/openapi.json").json()["components"]["schemas"]
    files = [("files", ("a.png", picture.read_bytes())), ("files", ("b.txt", b"no image"))]
    answer, failure = client.post("/v1/classify?picture=png&heatmap=png", files=files).json()
    (whole, _) = client.post("/v1/classify/volume", files=files).json()
    card = client.get("/v1/model").json()
    for item, name in (
        (answer, "SliceAnswer"),
        (failure, "FileError"),
        (whole, "VolumeAnswer"),
        (card, "Card"),
        (card["models"][0], "ModelCard"),
        (client.get("/nothing").json(), "Problem"),
    ):
        assert set(spec[name]["required"]) <= set(item) <= set(spec[name]["properties"])
    with pytest.raises(ValidationError):
        SliceAnswer(**answer, unheard_of=1)
