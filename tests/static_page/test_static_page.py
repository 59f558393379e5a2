"""The static page answers in the browser as `tumorscope predict` does, and sends nothing."""

import csv
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, ClassVar

import nibabel
import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread

import tumorscope
from browsing import give, opened
from dicom_files import dicom, write_dicom, write_series
from tumorscope.classes import CLASSES
from tumorscope.images.slice_header import SliceHeader
from tumorscope.inference import Failure, Prediction
from tumorscope.inference.decision import OUT_OF_DISTRIBUTION
from tumorscope.inference.series_prediction import SeriesPrediction, predict_series
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.series.completeness import missing_slices
from tumorscope.series.rule import SeriesRule, answer_stack

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-3


class Handler(SimpleHTTPRequestHandler):
    """A host of files, as any other."""

    extensions_map: ClassVar[dict[str, str]] = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        """Let browsers keep files for a while without asking, as many hosts do."""
        self.send_header("Cache-Control", "max-age=600")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def built(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    del browser  # (Without one nothing is built.)
    spec = importlib.util.spec_from_file_location("build", ROOT / "static_page" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (ROOT / "build").mkdir(exist_ok=True)
    try:
        with FileLock(ROOT / "build" / "npm.lock"):  # other processes test, too
            packages = module.fetch_packages(ROOT / "build" / "npm")
    except (OSError, CalledProcessError) as error:
        pytest.skip(f"npm does not give the packages ({error})")
    folder = tmp_path_factory.mktemp("static-page")
    module.build(folder, packages)
    return folder


@pytest.fixture(scope="module")
def site(built: Path) -> Iterator[str]:
    with served(built) as address:
        yield address


@pytest.fixture(scope="module")
def page(browser: Any, site: str) -> Iterator[Any]:
    with opened(browser, site) as page:
        yield page


@pytest.fixture(autouse=True)
def nothing_of_the_test_before(page: Any) -> Iterator[None]:
    yield
    if page.locator("#clear").is_visible():
        page.click("#clear")


def saved(page: Any) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.click("#save-csv")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def assert_same(row: dict[str, str], answer: Any) -> None:
    assert (row["label"] or None) == answer.label
    assert row["verdict"] == answer.verdict
    for name, probability in answer.probabilities.items():
        assert float(row[f"probability_{name}"]) == pytest.approx(probability, abs=TOLERANCE)
    if answer.verdict == "unsupported":
        assert row["reason"] == answer.reason


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pictures, a volume of 13 slices and a series of 13: what 50 answers are for."""
    folder = tmp_path_factory.mktemp("scans")
    (folder / "pictures").mkdir()
    (folder / "series").mkdir()
    for number in range(24):
        plane = ("axial", "coronal", "sagittal")[number % 3]
        size = (96, 160, 230)[number // 8]
        label = CLASSES[number % 4]
        drawn = draw_phantom(label, plane=plane, patient_seed=number, slice_number=2, size=size)
        picture = Image.fromarray(drawn.image)
        if number % 2:
            red = Image.merge("RGB", [picture, picture.point(lambda level: level * 0.9), picture])
            red.save(folder / "pictures" / f"{number}.jpg", quality=95, subsampling=0)
        else:
            picture.save(folder / "pictures" / f"{number}.png")
    Image.new("L", (80, 80)).save(folder / "pictures" / "blank.png")
    heads = [
        draw_phantom("meningioma", plane="coronal", patient_seed=3, slice_number=n, size=128).image
        for n in range(13)
    ]
    voxels = 3.0 * np.stack([grey[::-1, ::-1].T for grey in heads], axis=1)[::-1] - 20
    affine = np.array([[-1.2, 0, 0, 70], [0, 5, 0, -30], [0, 0, 1.5, -70], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / "head.nii.gz")  # type: ignore[attr-defined]
    for number, grey in enumerate(heads):
        write_dicom(
            folder / "series" / f"{(5 * number) % 13}.dcm",
            (grey.astype(np.uint16) * 7 + 100),
            SeriesInstanceUID="1.2.5",
            PixelSpacing=[1.25, 1.25],
            ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
            ImagePositionPatient=[-80, 5 * number, 80],
            RescaleSlope=2,
            RescaleIntercept=-10,
            **({"WindowCenter": 1800, "WindowWidth": 3000} if number % 2 else {}),
        )
    return folder


def test_pictures_are_answered_as_predict_does(page: Any, scans: Path) -> None:
    files = sorted((scans / "pictures").iterdir())
    give(page, *files)
    rows = {row["path"]: row for row in saved(page)}
    assert len(rows) == 25
    for answer in tumorscope.load(threads=1).predict(files):
        assert_same(rows[Path(answer.path).name], answer)


@pytest.mark.parametrize("name", ["head.nii.gz", "series"])
def test_volumes_and_series_are_answered_as_predict_does(page: Any, scans: Path, name: str) -> None:
    path = scans / name
    if path.is_dir():
        page.set_input_files("#choose-folder", str(path))
    else:
        page.set_input_files("#choose-files", str(path))
    page.wait_for_selector("#save-csv:enabled")
    rows = saved(page)
    expected = tumorscope.load(threads=1).predict_series(path)
    assert isinstance(expected, SeriesPrediction)
    assert_same(rows[0], expected)
    assert len(rows) == 1 + len(expected.answers)
    for row, answer in zip(rows[1:], expected.answers, strict=True):
        assert row["slice"] == ("" if answer.slice is None else str(answer.slice))
        assert Path(row["path"]).name == Path(answer.path).name
        assert_same(row, answer)
    expect(page.locator(".curve")).to_be_visible()
    assert page.locator(".scan .heat").count() == 1


def test_heatmap_lies_where_the_tumour_is(page: Any) -> None:
    page.get_by_role("button", name="A series with its tumour mask").click()
    expect(page.locator(".score")).to_contain_text("on 14 of 14 (100 %)")


def module(page: Any, name: str, script: str, *given: Any) -> Any:
    address = page.evaluate("document.scripts[0].src").replace("main.js", name)
    return page.evaluate(
        f"async (given) => (({script})(await import('{address}'), ...given))", given
    )


def test_golden_decisions(page: Any) -> None:
    cases = json.loads((ROOT / "tests" / "inference" / "decisions.json").read_text())
    script = """({ decide }, cases, classes) => cases.map((case_) =>
        decide(case_.probabilities, classes, { confident: case_.confident,
            oodScore: case_.ood_score, oodThreshold: case_.ood_threshold }))"""
    decided = module(page, "decision.js", script, cases, list(CLASSES))
    assert len(cases) >= 24
    for case, decision in zip(cases, decided, strict=True):
        assert decision == case["decision"], case["name"]


@pytest.mark.parametrize("count", [1, 2, 6, 7, 30])
def test_series_rule_is_that_of_the_command(page: Any, count: int) -> None:
    rows = np.random.default_rng(count).dirichlet([0.5] * 4, count)
    rule = SeriesRule(slope=1.7, offset=-0.4)
    for no_tumour in (2, None):
        expected = answer_stack(rows, no_tumour, rule)
        script = "({ answerStack }, ...given) => answerStack(...given)"
        given = (rows.tolist(), -1 if no_tumour is None else no_tumour, rule.to_json())
        found = module(page, "series-rule.js", script, *given)
        assert found["probabilities"] == pytest.approx(expected.probabilities)
        assert found["deciding"] == list(expected.deciding)


@pytest.mark.parametrize(("strange", "blank"), [(0, 0), (8, 0), (9, 0), (8, 9)])
def test_a_series_is_decided_as_by_the_command(page: Any, strange: int, blank: int) -> None:
    reasons = [""] * 8 + [OUT_OF_DISTRIBUTION] * strange + ["blank"] * blank
    row = {name: 0.97 if name == "glioma" else 0.01 for name in CLASSES}
    slices = [
        Prediction(
            path="v.nii",
            header=SliceHeader(file="v.nii", frame=number, is_volume=True),
            slice=number,
            label=None if reason else "glioma",
            probability=None if reason else 0.97,
            probabilities={} if reason else row,
            verdict="unsupported" if reason else "confident",
            reason=reason,
            model="m 1",
            milliseconds=1.0,
        )
        for number, reason in enumerate(reasons)
    ]
    (expected,) = predict_series(slices, confident=[0.9] * 4)
    assert isinstance(expected, SeriesPrediction)
    model = {"classes": list(CLASSES), "confident": [0.9] * 4, "series": {}, "title": "m 1"}
    script = "({ answerSeries }, ...given) => answerSeries(...given)"
    given = [item.to_json() for item in slices]
    found = module(page, "series-rule.js", script, given, model)
    for name in ("label", "verdict", "reason", "slices", "decided_by"):
        assert found[name] == expected.to_json()[name]


def test_what_is_not_read_is_refused(page: Any, tmp_path: Path) -> None:
    deep = (np.arange(64 * 64).reshape(64, 64) * 3).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "page.tif")
    Image.fromarray(np.zeros((20, 64), np.uint8)).save(tmp_path / "small.png")
    write_dicom(tmp_path / "ct.dcm", np.full((64, 64), 9, np.uint8), Modality="CT")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    (tmp_path / "broken.nii").write_bytes(b"nothing")
    (tmp_path / "volume.mgz").write_bytes(b"\0\0\0\1")
    give(page, *sorted(tmp_path.iterdir()))
    why = {row["path"]: row["error"] or row["reason"] for row in saved(page)}
    assert why["deep.png"].startswith("PNG of 16 bits, which is not read in the browser")
    assert "not read in the browser" in why["page.tif"]
    assert why["small.png"] == "64x20 pixels are too few (at least 32 a side)"
    assert why["ct.dcm"] == "a CT scan (modality CT); the model classifies MR slices only"
    assert why["broken.jpg"] == "damaged picture, its data is broken"
    assert why["broken.nii"] == "not a NIfTI file"
    assert "tumorscope serve reads more" in why["volume.mgz"]


def test_nothing_is_sent_and_no_network_is_needed_afterwards(browser: Any, site: str) -> None:
    with opened(browser, site) as page:
        asked: list[tuple[str, str]] = []
        page.on("request", lambda request: asked.append((request.method, request.url)))
        page.evaluate("navigator.serviceWorker.ready.then(() => null)")
        page.context.set_offline(True)
        page.reload()
        page.wait_for_selector("body[data-ready]")
        page.get_by_role("button", name="A slice with a glioma").click()
        expect(page.locator(".answer .share")).to_be_visible(timeout=30_000)
        kinds = ("http:", "https:")
        sent = [(method, url) for method, url in asked if url.startswith(kinds)]
        assert {method for method, _ in sent} == {"GET"}
        assert all(url.startswith(site) for _, url in sent)


def test_a_model_that_cannot_be_loaded_is_told(browser: Any, site: str) -> None:
    page = browser.new_context().new_page()
    page.route("**/ort.wasm.min.mjs", lambda route: route.abort())
    page.goto(site)
    expect(page.get_by_role("alert")).to_have_text("The model cannot be loaded in this browser.")
    page.context.close()


def test_a_new_version_takes_the_place_of_the_old_one_as_a_whole(
    browser: Any, built: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    shutil.copytree(built, folder)
    with served(folder) as address, opened(browser, address) as page:
        page.evaluate("navigator.serviceWorker.ready.then(() => null)")
        for name, old, new in (
            ("main.js", "// The page", 'document.body.dataset.version = "new"; // The page'),
            ("service-worker.js", "tumorscope-", "tumorscope-2-"),
        ):
            text = (folder / name).read_text()
            (folder / name).write_text(text.replace(old, new, 1))
        page.reload()
        page.evaluate(
            """async () => {
                while (!(await caches.keys()).every((name) => name.includes("-2-"))) {
                    await new Promise((done) => setTimeout(done, 100));
                }
            }"""
        )
        page.reload()
        page.wait_for_selector("body[data-version=new][data-ready]")


@given(numbers=st.lists(st.integers(-3, 40), max_size=12), step=st.sampled_from([1.0, 3.3, 5.0]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_a_series_lacks_is_told_as_the_command_tells_it(
    page: Any, numbers: list[int], step: float
) -> None:
    headers = [
        SliceHeader(
            file=f"{place}.dcm", series="1.2", instance=number,
            position=(0, 0, step * number), orientation=(1, 0, 0, 0, 1, 0),
        )
        for place, number in enumerate(dict.fromkeys(numbers))
    ]  # fmt: skip
    given_ = [
        {
            "instance": header.instance,
            "position": list(header.position or ()),
            "orientation": list(header.orientation or ()),
        }
        for header in headers
    ]
    script = "({ missingSlices }, headers) => missingSlices(headers)"
    assert module(page, "slice-order.js", script, given_) == missing_slices(headers)


def test_part_of_a_series_is_never_confident(page: Any, tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", count=8)
    paths[2].unlink()
    cut = dcmread(paths[4])
    cut.PixelData = cut.PixelData[:100]
    cut.save_as(paths[4])
    page.set_input_files("#choose-folder", str(tmp_path / "in"))
    page.wait_for_selector("#save-csv:enabled")
    rows = saved(page)
    model = tumorscope.load(threads=1)
    answers = model.join_series(model.predict(tmp_path / "in"))
    (expected,) = (answer for answer in answers if isinstance(answer, SeriesPrediction))
    assert expected.missing
    assert (rows[0]["verdict"], rows[0]["reason"]) == (expected.verdict, expected.reason)
    assert_same(rows[0], expected)


def test_bits_above_the_value_and_padding_without_its_sign_are_read_as_predict_reads_them(
    page: Any, tmp_path: Path
) -> None:
    drawn = draw_phantom("glioma", plane="axial", patient_seed=3, slice_number=2, size=128).image
    deep = drawn.astype(np.uint16) << 4
    marked = deep | (np.arange(128, dtype=np.uint16) % 2 << 13)
    write_dicom(tmp_path / "overlay.dcm", marked, BitsStored=12, HighBit=11)
    signed = deep.astype(np.int16)
    signed[:, :20] = -2000
    padded = dicom(signed)
    padded.add_new("PixelPaddingValue", "US", 65536 - 2000)
    padded.save_as(tmp_path / "padded.dcm", enforce_file_format=True)
    for name in ("overlay.dcm", "padded.dcm"):
        give(page, tmp_path / name)
        (expected,) = tumorscope.load(threads=1).predict(tmp_path / name)
        assert not isinstance(expected, Failure)
        assert_same(saved(page)[-1], expected)
        page.click("#clear")


def test_without_npm_a_line_says_what_is_missing(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "static_page", tmp_path / "static_page")
    command = [sys.executable, str(tmp_path / "static_page" / "build.py")]
    without = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command, env=without, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("nothing was built: npm does not give its packages")
    assert done.stderr.count("\n") == 1
