"""`tumorscope serve` answers as `tumorscope predict` does, within its limits, and tells nobody."""

import asyncio
import base64
import gzip
import io
import json
import math
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx2 as httpx
import nibabel
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicom_files import write_dicom
from serving import run_async, running
from small_model import write_model
from tumorscope import RESEARCH_USE_ONLY
from tumorscope.cli.main import main
from tumorscope.images import find_head
from tumorscope.inference import Classifier
from tumorscope.inference.heatmap import place_heat
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.serve import Limits, create_app
from tumorscope.serve.middleware import RequestMiddleware
from tumorscope.serve.service_metrics import ServiceMetrics


@cache
def head(number: int) -> Any:
    return draw_phantom("glioma", plane="axial", patient_seed=4, slice_number=number, size=72).image


@cache
def png(seed: int) -> bytes:
    image = draw_phantom("glioma", plane="axial", patient_seed=seed, slice_number=2, size=72).image
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def nifti(count: int) -> bytes:
    slices = [head(number % 6).T[::-1, ::-1] for number in range(count)]
    volume = np.stack(slices, axis=-1).astype(np.int16)
    content = nibabel.Nifti1Image(volume, np.diag([1, 1, 4, 1])).to_bytes()
    return gzip.compress(content, compresslevel=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "m.onnx", sharpness=1)


@pytest.fixture(scope="module")
def classifier(model: Path) -> Classifier:
    return Classifier.load(model, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, a broken one, a CT slice, a volume and a series of five slices."""
    folder = tmp_path_factory.mktemp("scans")
    for seed in (1, 2):
        (folder / f"{seed}.png").write_bytes(png(seed))
    (folder / "broken.png").write_bytes(png(1)[:900])
    write_dicom(folder / "ct.dcm", head(2), Modality="CT")
    (folder / "v.nii.gz").write_bytes(nifti(6))
    for number in range(5):
        write_dicom(
            folder / f"s{number}.dcm",
            head(number),
            SeriesInstanceUID="1.2.7",
            PixelSpacing=[1, 1],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[0, 0, 5 * number],
        )
    return folder


@pytest.fixture(scope="module")
def client(classifier: Classifier) -> Iterator[TestClient]:
    with TestClient(create_app({"small": classifier}, hosts=None)) as client:
        yield client


def upload(*files: Path) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (file.name, file.read_bytes())) for file in files]


def untimed(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers without what differs from run to run: the time, and the last digits."""
    result = []
    for item in items:
        rest = {key: value for key, value in item.items() if key != "milliseconds"}
        if rest.get("probabilities"):
            rest["probabilities"] = {k: round(v, 3) for k, v in rest["probabilities"].items()}
            rest["probability"] = round(rest["probability"], 3)
        result.append(rest)
    return result


def test_a_model_that_gives_no_numbers_gives_no_answer(folder: Path, tmp_path: Path) -> None:
    broken = Classifier.load(write_model(tmp_path / "nan.onnx", sharpness=math.nan), threads=1)
    files = upload(folder / "1.png", folder / "v.nii.gz")
    with TestClient(create_app({"broken": broken}, hosts=None)) as client:
        for path in ("/v1/classify?heatmap=png", "/v1/classify/volume"):
            response = client.post(path, files=files)
            assert response.status_code == 200
            for answer in response.json():
                assert (answer["verdict"], answer["label"]) == ("unsupported", None)
                assert "NaN" in answer["reason"]


def test_answers_are_those_of_predict(
    client: TestClient, classifier: Classifier, folder: Path
) -> None:
    names = ["2.png", "broken.png", "v.nii.gz", "ct.dcm", "1.png"]
    expected = [answer.to_json() for answer in classifier.predict([folder / n for n in names])]
    for item in expected:
        item["path"] = Path(item["path"]).name
    response = client.post("/v1/classify", files=upload(*(folder / name for name in names)))
    assert response.status_code == 200
    answers = response.json()
    assert list(answers[0]) == list(expected[0])
    paths = ["2.png", "broken.png", *["v.nii.gz"] * 6, "ct.dcm", "1.png"]
    assert [item["path"] for item in answers] == paths
    assert untimed(answers) == untimed(expected)
    assert answers[1]["error"].startswith("damaged picture")


def test_slices_and_axis_choose_as_in_predict(client: TestClient, folder: Path) -> None:
    answers = client.post(
        "/v1/classify?slices=2:4&axis=axial", files=upload(folder / "v.nii.gz")
    ).json()
    assert [answer["slice"] for answer in answers] == [2, 3]


def test_heatmap_and_picture_come_as_png(
    client: TestClient, classifier: Classifier, folder: Path
) -> None:
    (answer,) = client.post(
        "/v1/classify?heatmap=png&picture=png", files=upload(folder / "s3.dcm")
    ).json()
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["picture"]))))
    heat = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["heatmap"]))))
    np.testing.assert_array_equal(picture, head(3))
    (local,) = classifier.predict(head(3))
    expected = place_heat(local.heatmap, find_head(picture), (72, 72), (72, 72))  # type: ignore[union-attr, arg-type]
    np.testing.assert_allclose(heat, np.asarray(expected), atol=1)
    assert heat.max() == 255
    np.testing.assert_allclose(np.array(answer["affine"]) @ (2, 1, 0, 1), [-2, -1, 15, 1])


def test_large_slices_are_shown_smaller_where_they_lie(client: TestClient, tmp_path: Path) -> None:
    grey = np.asarray(Image.fromarray(head(2)).resize((1536, 1024)))
    file = write_dicom(
        tmp_path / "large.dcm",
        grey,
        PixelSpacing=[0.2, 0.2],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        ImagePositionPatient=[0, 0, 0],
    )
    (answer,) = client.post("/v1/classify?picture=png", files=upload(file)).json()
    picture = Image.open(io.BytesIO(base64.b64decode(answer["picture"])))
    assert picture.size == (768, 512)
    middle = np.array(answer["affine"]) @ (767 / 2, 511 / 2, 0, 1)
    np.testing.assert_allclose(middle[:2], [-0.2 * 1535 / 2, -0.2 * 1023 / 2])


def test_what_has_no_picture_has_none(client: TestClient, folder: Path) -> None:
    (answer,) = client.post(
        "/v1/classify?heatmap=png&picture=png", files=upload(folder / "ct.dcm")
    ).json()
    assert answer["verdict"] == "unsupported"
    assert answer["picture"] is answer["heatmap"] is answer["affine"] is None


def test_series_in_any_order_is_one_answer_along_the_body(
    client: TestClient, classifier: Classifier, folder: Path
) -> None:
    files = [folder / f"s{number}.dcm" for number in (3, 0, 4, 2, 1)]
    (whole,) = client.post("/v1/classify/volume", files=upload(*files)).json()
    in_order = [folder / f"s{number}.dcm" for number in range(5)]
    (expected,) = classifier.join_series(classifier.predict(in_order))
    assert whole["label"] == expected.to_json()["label"]
    assert whole["slices"] == 5
    assert [answer["path"] for answer in whole["answers"]] == [f"s{n}.dcm" for n in range(5)]
    assert len(whole["decided_by"]) == 3


def test_volume_and_series_and_broken_file_are_kept_apart(client: TestClient, folder: Path) -> None:
    files = upload(folder / "v.nii.gz", folder / "s1.dcm", folder / "broken.png", folder / "s0.dcm")
    answers = client.post("/v1/classify/volume?heatmap=png", files=files).json()
    assert [answer["path"] for answer in answers] == ["v.nii.gz", ".", "broken.png"]
    assert [len(answer.get("answers", ())) for answer in answers] == [6, 2, 0]
    assert all(item["heatmap"] for item in answers[0]["answers"])


def test_volumes_of_one_name_are_different_patients(client: TestClient) -> None:
    """Browsers and curl leave the folders out: pat1/t1.nii.gz and pat2/t1.nii.gz."""
    files = [("files", ("t1.nii.gz", nifti(count))) for count in (4, 6)]
    answers = client.post("/v1/classify/volume", files=files).json()
    assert [(answer["path"], answer["slices"]) for answer in answers] == [
        ("t1.nii.gz", 4),
        ("t1.nii.gz", 6),
    ]
    assert [len(answer["answers"]) for answer in answers] == [4, 6]


def test_pictures_of_one_name_are_refused_and_with_folders_kept_apart(client: TestClient) -> None:
    def ask(*names: str) -> list[dict[str, Any]]:
        files = [("files", (name, png(seed))) for seed, name in enumerate(names)]
        answers: list[dict[str, Any]] = client.post("/v1/classify/volume", files=files).json()
        return answers

    lost = ask("1.png", "2.png", "1.png")
    assert [item["path"] for item in lost] == ["1.png", ".", "1.png"]
    assert "send them with their folders" in lost[0]["error"]
    assert [item["path"] for item in ask("a/1.png", "b/1.png", "a/2.png")] == ["a", "b"]


def test_volume_of_several_is_chosen_and_said(client: TestClient) -> None:
    stack = np.stack([np.stack([head(n) for n in range(4)], -1), np.zeros((72, 72, 4))], -1)
    image = nibabel.Nifti1Image(stack.astype(np.int16), np.diag([1, 1, 4, 1]))
    files = [("files", ("channels.nii.gz", gzip.compress(image.to_bytes())))]
    (whole,) = client.post("/v1/classify/volume", files=files).json()
    assert whole["note"] == "the first of 2 volumes"
    first = client.post("/v1/classify", files=files).json()[0]
    assert first["note"] == whole["note"]
    (empty,) = client.post("/v1/classify/volume?volume=1", files=files).json()
    assert (empty["label"], empty["slices"]) == (None, 0)
    assert empty["note"] == "number 1 of 2 volumes, counted from 0"
    (missing,) = client.post("/v1/classify/volume?volume=2", files=files).json()
    assert "it holds 2 volumes (0 to 1), not a volume 2" in missing["error"]
    assert client.post("/v1/classify?volume=-1", files=files).status_code == 422


def test_card_tells_of_models_and_limits(model: Path) -> None:
    sure, unsure = (Classifier.load(model, threads=1, confident=share) for share in (0.3, 1.0))
    with TestClient(create_app({"a": sure, "b": unsure}, hosts=None)) as client:
        card = client.get("/v1/model").json()
        assert [item["id"] for item in card["models"]] == ["a", "b"]
        assert card["models"][0]["confident"] == [0.3] * 4
        assert card["models"][0]["classes"] == list(sure.facts.classes)
        assert card["notice"] == RESEARCH_USE_ONLY
        assert card["limits"]["files"] == Limits().files
        files = [("files", ("1.png", png(1)))]
        verdicts = [
            client.post(f"/v1/classify?model={name}", files=files).json()[0]["verdict"]
            for name in ("a", "b")
        ]
        assert verdicts == ["confident", "uncertain"]


def test_openapi_describes_the_files_with_examples(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    operation = schema["paths"]["/v1/classify"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["files"]["items"]["format"] == "binary"
    example = operation["responses"]["200"]["content"]["application/json"]["example"]
    assert example[0]["verdict"] == "confident"
    assert "error" in example[1]
    assert {"413", "429"} < set(operation["responses"])


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("model=other", "no such model here: choose from 'small'"),
        ("heatmap=jpg", "parameter 'heatmap': Input should be 'png'"),
        ("axis=oblique", "parameter 'axis': Input should be 'axial', 'coronal' or 'sagittal'"),
        ("slices=some", "unknown slices 'some'"),
    ],
)
def test_wrong_parameters_are_named(client: TestClient, query: str, words: str) -> None:
    response = client.post(f"/v1/classify?{query}", files=[("files", ("1.png", png(1)))])
    assert response.status_code == 422
    assert words in response.json()["error"]


def form(content: bytes, **headers: str) -> dict[str, Any]:
    kind = headers.pop("kind", "multipart/form-data; boundary=mark")
    return {"content": content, "headers": {"Content-Type": kind, **headers}}


PART = b'--mark\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({}, 415, "multipart/form-data form with the field 'files'"),
        (form(b"{}", kind="application/json"), 415, "multipart/form-data"),
        (form(b"", kind="multipart/form-data"), 400, "a damaged form"),
        (form(b""), 400, "it ends too early"),
        (form(b"--mark--\r\n"), 422, "no files"),
        (form(PART.replace(b'"files"', b'"file"') + b"x\r\n--mark--\r\n"), 422, "no files"),
        (form(PART.replace(b'; filename="a"', b"") + b"x\r\n--mark--\r\n"), 422, "no files"),
        (
            form(PART + b"x\r\n" + PART.replace(b'"files"', b'"file"') + b"x\r\n--mark--\r\n"),
            422,
            "not so: 'file'",
        ),
        (form(PART + b"x\r\n" + PART), 400, "it ends too early"),
        (form(b"no form at all"), 400, "a damaged form"),
        (form(PART.replace(b' name="files"', b"") + b"x\r\n--mark--\r\n"), 400, "a damaged form"),
    ],
)
def test_what_is_no_form_with_files_is_refused(
    client: TestClient, request_: dict[str, Any], status: int, words: str
) -> None:
    response = client.post("/v1/classify", **request_)
    assert (response.status_code, words in response.json()["error"]) == (status, True)


def test_names_are_only_repeated(client: TestClient) -> None:
    names = ["../../etc/passwd", "/etc/passwd", "ä\u202e.png", "a/b.dcm", "~root/.nii.gz"]
    answers = client.post(
        "/v1/classify", files=[("files", (name, b"nothing")) for name in names]
    ).json()
    assert [answer["path"] for answer in answers] == names
    assert all(answer["error"] for answer in answers)
    assert "not an image file of a kind that is read" in answers[1]["error"]


def test_limits_hold_while_a_request_arrives(classifier: Classifier) -> None:
    limits = Limits(body=100_000, files=3)
    with TestClient(create_app({"small": classifier}, limits=limits, hosts=None)) as client:
        told = client.post("/v1/classify", files=[("files", ("a", bytes(100_000)))])
        assert told.status_code == 413
        assert "more than 0.1 MB in one request" in told.json()["error"]

        taken = 0

        def endless() -> Iterator[bytes]:
            nonlocal taken
            yield PART
            while True:
                taken += 10_000
                yield bytes(10_000)

        def untold() -> Iterator[bytes]:
            for chunk in endless():
                if taken > 1_000_000:
                    return
                yield chunk

        headers = {"Content-Type": "multipart/form-data; boundary=mark"}
        response = client.post("/v1/classify", content=untold(), headers=headers)
        assert response.status_code == 413

        response = client.post("/v1/classify", files=[("files", ("a", b"x"))] * 4)
        assert response.status_code == 413
        assert "more than 3 files" in response.json()["error"]
        assert client.get("/readyz").text == "ready"


def test_full_queue_is_told_to_come_again(classifier: Classifier) -> None:
    limits = Limits(queue=2)

    async def crowd() -> list[httpx.Response]:
        app = create_app({"small": classifier}, limits=limits, hosts=None)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            posts = [
                client.post("/v1/classify", files=[("files", ("a.png", png(1)))]) for _ in range(8)
            ]
            answers = await asyncio.gather(*posts)
            return [*answers, await client.post("/v1/classify", files=[("files", ("a", png(1)))])]

    *answers, later = run_async(crowd())
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert all(a.headers["Retry-After"] == "1" for a in answers if a.status_code == 429)
    assert later.status_code == 200


def test_memory_of_all_uploads_together_is_limited(classifier: Classifier) -> None:
    limits = Limits(held=50_000)
    with TestClient(create_app({"small": classifier}, limits=limits, hosts=None)) as client:
        response = client.post("/v1/classify", files=[("files", ("a", bytes(60_000)))])
        assert response.status_code == 429
        assert client.post("/v1/classify", files=[("files", ("a", png(1)))]).status_code == 200


def test_requests_that_come_together_are_judged_together(classifier: Classifier) -> None:
    pictures = {f"{seed}.png": png(seed) for seed in range(24)}

    async def crowd() -> tuple[list[Any], str]:
        app = create_app({"small": classifier}, hosts=None)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            posts = [
                client.post("/v1/classify", files=[("files", item)]) for item in pictures.items()
            ]
            answers = [response.json() for response in await asyncio.gather(*posts)]
            return answers, (await client.get("/metrics")).text

    answers, metrics = run_async(crowd())
    assert [item["path"] for (item,) in answers] == list(pictures)
    alone = classifier.predict([np.asarray(Image.open(io.BytesIO(p))) for p in pictures.values()])
    assert [item["label"] for (item,) in answers] == [answer.label for answer in alone]  # type: ignore[union-attr]
    batches = re.search(r'batch_slices_count{model="small"} (\d+)', metrics)
    assert batches is not None
    assert int(batches[1]) < len(pictures) / 2


def test_answer_that_takes_too_long_is_given_up(classifier: Classifier) -> None:
    limits = Limits(seconds=0.1)
    app = create_app({"small": classifier}, limits=limits, hosts=None, threads=1)
    with TestClient(app) as client:
        response = client.post(
            "/v1/classify?slices=all", files=[("files", ("v.nii.gz", nifti(400)))]
        )
        assert response.status_code == 503
        assert "more than 0.1 s" in response.json()["error"]
        assert client.get("/healthz").text == "ok"


def test_token_opens_the_api_and_nothing_else_does(classifier: Classifier) -> None:
    app = create_app({"small": classifier}, token="a secret", hosts=None)
    files = [("files", ("a.png", png(1)))]
    with TestClient(app) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}):
            response = client.post("/v1/classify", files=files, headers=headers)
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert client.get("/metrics", headers=headers).status_code == 401
        good = {"Authorization": "Bearer a secret"}
        assert client.post("/v1/classify", files=files, headers=good).status_code == 200
        assert client.get("/v1/model", headers=good).status_code == 200
        for path in ("/", "/healthz", "/readyz"):
            assert client.get(path).status_code == 200


def test_openapi_names_what_the_token_and_the_host_refuse(classifier: Classifier) -> None:
    app = create_app({"small": classifier}, token="a secret", hosts=["here"])
    with TestClient(app, base_url="http://here") as client:
        paths = client.get("/openapi.json").json()["paths"]
        for path in ("/v1/model", "/metrics", "/healthz"):
            status = client.get(path).status_code
            assert str(status) in paths[path]["get"]["responses"]
            status = client.get(path, headers={"Host": "elsewhere"}).status_code
            assert status == 421
            assert "421" in paths[path]["get"]["responses"]


def test_foreign_pages_stay_outside(classifier: Classifier) -> None:
    """No CORS, and no other name for a service that only this machine can reach."""
    with TestClient(create_app({"small": classifier}), base_url="http://127.0.0.1:8000") as client:
        response = client.get("/v1/model", headers={"Origin": "http://elsewhere"})
        assert response.status_code == 200
        assert not [name for name in response.headers if name.startswith("access-control")]
        assert client.options("/v1/classify").status_code == 405
        for name in ("elsewhere", "127.0.0.1.elsewhere", "[", ""):
            assert client.get("/healthz", headers={"Host": name}).status_code == 421
        for name in ("localhost", "[::1]:8000"):
            assert client.get("/healthz", headers={"Host": name}).status_code == 200


def test_page_is_strict_about_what_it_loads(client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert "Research use only" in response.text
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.search(r'src="assets/[0-9a-f]{16}/main.js"', response.text)
    missing = client.get("/nothing.html")
    assert (missing.status_code, missing.json()) == (404, {"error": "Not Found"})
    assert client.get("/../app.py").status_code == 404


def test_metrics_count_requests_and_verdicts(classifier: Classifier, folder: Path) -> None:
    with TestClient(create_app({"small": classifier}, hosts=None)) as client:
        client.post("/v1/classify", files=upload(folder / "broken.png", folder / "ct.dcm"))
        client.request("BREW", "/coffee")
        metrics = client.get("/metrics").text
    assert 'requests_total{method="POST",route="/v1/classify",status="200"} 1.0' in metrics
    assert 'verdicts_total{model="small",verdict="unreadable"} 1.0' in metrics
    assert 'verdicts_total{model="small",verdict="unsupported"} 1.0' in metrics
    assert 'request_seconds_count{route="/v1/classify"} 1.0' in metrics
    assert "BREW" not in metrics
    assert "coffee" not in metrics


def test_log_holds_no_names(model: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Invalid value"):
        file = write_dicom(
            tmp_path / "Mustermann.dcm",
            head(2),
            PatientName="Mustermann^Erika",
            SeriesInstanceUID="Mustermann",
            BodyPartExamined="Mustermann",
        )
    with running(tmp_path, "--model", str(model)) as service:
        for query in ("?model=Mustermann", ""):
            httpx.post(f"{service.address}/v1/classify/volume{query}", files=upload(file))
        httpx.get(f"{service.address}/Mustermann.png")
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(20)
        log = service.log.read_text()
    assert [line.split()[2:5] for line in log.splitlines()] == [
        ["POST", "/v1/classify/volume", "422"],
        ["POST", "/v1/classify/volume", "200"],
        ["GET", "page", "404"],
    ]


def test_error_in_the_code_is_logged_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(_: Request) -> Response:
        raise RuntimeError("about Mustermann")

    app = Starlette(routes=[Route("/", fails)])
    client = TestClient(RequestMiddleware(app, metrics=ServiceMetrics(lambda: 0), hosts=None))
    response = client.get("/")
    assert response.status_code == 500
    assert "Mustermann" not in response.text + caplog.text
    assert re.search(r"RuntimeError at .*fails:\d+", caplog.text)


def test_stopped_service_answers_what_it_accepted(model: Path, tmp_path: Path) -> None:
    volume, bearer = nifti(60), {"Authorization": "Bearer from the environment"}
    words = ("--model", str(model), "--threads", "1")
    with running(tmp_path, *words, token="from the environment") as service:

        def post(_: int) -> httpx.Response:
            files = [("files", ("v.nii.gz", volume))]
            return httpx.post(
                f"{service.address}/v1/classify", files=files, timeout=60, headers=bearer
            )

        with ThreadPoolExecutor(8) as pool:
            posts = [pool.submit(post, number) for number in range(8)]
            wait_until_inside(service.address, 8, bearer)
            service.process.send_signal(signal.SIGTERM)
            answers = [future.result() for future in posts]
        assert [answer.status_code for answer in answers] == [200] * 8
        assert [len(answer.json()) for answer in answers] == [60] * 8
        assert service.process.wait(20) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{service.address}/healthz")
        assert "Traceback" not in service.log.read_text()


def wait_until_inside(address: str, count: int, headers: dict[str, str]) -> None:
    """Wait until so many requests are being worked on or were answered."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        metrics = httpx.get(f"{address}/metrics", headers=headers).text
        inside = re.findall(
            r"^tumorscope_requests(?:_inside|_total.*v1/classify.*200.*) (\d+)",
            metrics,
            re.MULTILINE,
        )
        if sum(map(int, inside)) == count:
            return
        time.sleep(0.02)
    pytest.fail("the requests did not come in")


def test_slow_and_broken_clients_do_not_stay(model: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file\n")
    words = ("--model", str(model), "--timeout", "1", "--token-file", str(tmp_path / "token"))
    bearer = {"Authorization": "Bearer from a file"}
    with running(tmp_path, *words, "--host", "localhost") as service:
        assert httpx.get(f"{service.address}/v1/model").status_code == 401
        port = int(service.address.rpartition(":")[2])
        start = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n"
        start += b"Authorization: Bearer from a file\r\n"
        start += b"Content-Type: multipart/form-data; boundary=mark\r\nContent-Length: 9999\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
            slow.sendall(start + PART)
            assert slow.recv(12) == b"HTTP/1.1 408"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as gone:
            gone.sendall(start + PART)
        wait_until_inside(service.address, 0, bearer)
        assert httpx.get(f"{service.address}/readyz").text == "ready"
        assert "POST /v1/classify 499" in service.log.read_text()


def test_open_address_without_a_token_is_warned_of(model: Path, tmp_path: Path) -> None:
    words = ("--model", str(model), "--model", str(model), "--host", "0.0.0.0")
    with running(tmp_path, *words) as service:
        card = httpx.get(f"{service.address}/v1/model", headers={"Host": "anything"}).json()
        assert [item["id"] for item in card["models"]] == ["small 0.1", "small 0.1 (2)"]
        assert "warning: anyone who reaches 0.0.0.0" in service.log.read_text()


def test_token_file_and_addresses_that_do_not_work_are_told_in_a_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "token"
    empty.write_text("\n")
    words = ["serve", "--model", str(model)]
    assert main([*words, "--token-file", str(empty)]) == 2
    assert "an empty token lets anyone in" in capsys.readouterr().err
    for content in ("schlüssel".encode(), b"\xff\xfe\x00"):  # (No header's, and no text.)
        empty.write_bytes(content)
        assert main([*words, "--token-file", str(empty)]) == 2
        assert "a token is of ASCII" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main([*words, "--port", str(taken.getsockname()[1])]) == 2
    assert "in use" in capsys.readouterr().err
    assert main([*words, "--port", "70000"]) == 2
    assert "choose another --port" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--queue", "0"])
    assert "'0' is not a whole number of 1 or more" in capsys.readouterr().err


def test_model_that_fails_is_an_error_of_the_service_and_no_more(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A network whose run breaks must not leave requests waiting for ever."""
    broken = Classifier.load(model, threads=1)
    app = create_app({"small": broken}, hosts=None)
    with TestClient(app) as client:
        broken._model = replace(broken._model, runtime=None)
        response = client.post("/v1/classify", files=[("files", ("a.png", png(1)))])
    assert response.status_code == 500
    assert json.loads(response.text)["error"] == "something went wrong here; the log says where"
    assert "AttributeError" in caplog.text
