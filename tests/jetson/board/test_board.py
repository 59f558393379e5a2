"""A bundle at work: it answers as `tumorscope predict`, checks itself, says what is wrong."""

import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from bundles import STANDINS, answers, make_bundle, reseal, run_bytes_in, run_in
from tumorscope.export.fp16 import to_fp16
from tumorscope.images import read_slice, reading
from tumorscope.inference import DEFAULT_MODEL, Classifier
from tumorscope.inference.model_file import find_model
from tumorscope.jetson import find_target, write_bundle
from tumorscope.jetson.board import benchmark, classify, verify
from tumorscope.jetson.board import golden as golden_answers
from tumorscope.jetson.board.folder import BoardError, check_files, read_facts
from tumorscope.phantoms.drawing import draw_phantom

Run = Callable[..., tuple[int, str, str]]
ONNX = ("--runtime", "onnx")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small model; to be copied, not changed."""
    return make_bundle(tmp_path_factory.mktemp("board"))


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A copy of it in an empty folder."""
    return shutil.copytree(whole, tmp_path / "bundle")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Pictures of every kind: grey, colour, 16 bits, turned, blank, truncated, none at all."""
    folder = tmp_path / "scans"
    (folder / "inner").mkdir(parents=True)
    grey = draw_phantom("glioma", plane="axial", patient_seed=3, slice_number=2, size=90).image
    head = Image.fromarray(grey)
    head.save(folder / "grey.png")
    exif = Image.Exif()
    exif[0x0112] = 8
    head.convert("RGB").save(folder / "turned.jpg", exif=exif.tobytes())
    Image.fromarray(grey.astype(np.uint16) * 20).save(folder / "sixteen.png")
    head.convert("RGBA").rotate(20).save(folder / "inner" / "clear.PNG")
    Image.new("L", (50, 50), 9).save(folder / "blank.png")
    content = (folder / "turned.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (folder / "words.png").write_text("no picture")
    (folder / "notes.txt").write_text("not looked at")
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a board's command in this process: status, standard output, standard error."""

    def run_main(command: Any, bundle: Path, *words: object) -> tuple[int, str, str]:
        status = command.main([str(word) for word in words], bundle)
        return (status, *capsys.readouterr())

    return run_main


def test_alone_in_a_folder_it_answers_as_predict_does(bundle: Path, scans: Path) -> None:
    result = run_in(bundle, "classify.py", scans, *ONNX)
    assert result.returncode == 1  # (two files cannot be read)
    given = {item["path"]: item for item in answers(result.stdout)}
    model = bundle.parent / "model.onnx"
    shutil.copyfile(bundle / "model.onnx", model)
    expected = {
        item.to_json()["path"]: item.to_json() for item in Classifier.load(model).predict(scans)
    }
    assert given.keys() == expected.keys()
    assert len(given) == 7
    for path, answer in given.items():
        if "error" in answer:
            assert answer["error"] == expected[path]["error"]
            continue
        assert list(answer) == list(expected[path])
        same = ("label", "verdict", "reason", "model", "slice")
        assert {name: answer[name] for name in same} == {
            name: expected[path][name] for name in same
        }
        if answer["label"]:
            assert answer["probabilities"] == pytest.approx(
                expected[path]["probabilities"], abs=1e-5
            )
    assert given[str(scans / "blank.png")]["verdict"] == "unsupported"
    assert "ends too early" in given[str(scans / "truncated.jpg")]["error"]
    assert "2 cannot be read" in result.stderr
    assert "Research use only" in result.stderr


@pytest.mark.parametrize("broken", [{"sharpness": math.nan}, {"ood_score": math.nan}])
def test_outputs_that_are_no_numbers_are_no_answer(
    scans: Path, tmp_path: Path, broken: dict[str, float]
) -> None:
    bundle = make_bundle(tmp_path / "broken", **broken)
    (given,) = answers(run_in(bundle, "classify.py", scans / "grey.png", *ONNX).stdout)
    (expected,) = Classifier.load(bundle.parent / "model.onnx").predict(scans / "grey.png")
    assert given["verdict"] == "unsupported"
    assert given | {"milliseconds": 0} == expected.to_json() | {"milliseconds": 0}


def test_it_answers_real_slices_as_predict_does(real_data: Path, tmp_path: Path) -> None:
    bundle = write_bundle(
        find_model(DEFAULT_MODEL), find_target("jetson-nano"), tmp_path / "b"
    ).path
    files = sorted((real_data / "kaggle" / "Testing").rglob("*.jpg"))[::60]
    result = run_in(bundle, "classify.py", *files, *ONNX)
    given = answers(result.stdout)
    for answer, expected in zip(given, Classifier.load().predict(files), strict=True):
        said = expected.to_json()
        assert answer["label"] == said["label"]
        assert answer["probabilities"] == pytest.approx(said["probabilities"], abs=1e-4)


def test_overlays_show_the_slice_and_its_heatmap(bundle: Path, scans: Path, run: Run) -> None:
    status, out, _ = run(classify, bundle, scans / "grey.png", *ONNX, "--overlay", scans / "o")
    assert status == 0
    assert len(answers(out)) == 1
    with Image.open(scans / "o" / "00001_grey.png") as picture:
        values = np.asarray(picture, dtype=int)
    coloured = (np.ptp(values, axis=2) > 60).any(axis=0)
    assert coloured[432:].any()
    assert not coloured[:416].any()
    assert [path.name for path in (scans / "o").iterdir()] == ["00001_grey.png"]


def test_without_class_maps_the_slice_stands_alone(tmp_path: Path, scans: Path, run: Run) -> None:
    bundle = make_bundle(tmp_path / "flat", heatmap=False)
    assert run(verify, bundle, *ONNX)[0] == 0
    words = (scans / "grey.png", *ONNX, "--overlay", tmp_path / "o")
    assert run(classify, bundle, *words)[0] == 0
    with Image.open(tmp_path / "o" / "00001_grey.png") as picture:
        assert picture.width < 500


RAW = ("blank.png", "grey.png", "sixteen.png", "turned.jpg", "inner/clear.PNG")
"""The scans that can be read, in their order."""


def _pgm(path: Path) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(read_slice(path)).save(buffer, "PPM")
    return buffer.getvalue()


def test_raw_frames_are_the_slices_one_after_the_other(bundle: Path, scans: Path) -> None:
    result = run_bytes_in(bundle, "classify.py", scans, "--raw")
    assert result.returncode == 1
    assert result.stderr.decode().count("left out") == 2
    assert result.stdout == b"".join(_pgm(scans / name) for name in RAW)


def test_raw_frames_stop_for_nothing_that_cannot_be_read(
    bundle: Path, scans: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert classify.main([str(scans), "--raw"], bundle) == 1
    out, complaint = capsysbinary.readouterr()
    assert out.count(b"P5\n") == len(RAW)
    assert complaint.count(b"left out: ") == 2
    assert classify.main([str(scans / "grey.png"), "--raw"], bundle) == 0


def test_an_overlay_that_cannot_be_written_gives_one_line(
    bundle: Path, scans: Path, run: Run
) -> None:
    words = (scans / "grey.png", *ONNX, "--overlay", scans / "grey.png" / "inner")
    status, _, complaint = run(classify, bundle, *words)
    assert status == 1
    assert "Not a directory" in complaint
    assert complaint.count("\n") == 1


class FilmCapture:
    """A stand-in for OpenCV's `VideoCapture`: three colour frames."""

    frames = tuple(np.random.default_rng(0).integers(0, 256, (3, 60, 80, 3), dtype=np.uint8))

    def __init__(self, source: object) -> None:
        self.left = list(self.frames) if source in (0, "film.avi") else None

    def isOpened(self) -> bool:  # noqa: N802  (OpenCV's name)
        return self.left is not None

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        return (True, self.left.pop(0)) if self.left else (False, None)

    def release(self) -> None:
        self.left = None


@pytest.mark.parametrize(("source", "limit", "count"), [("0", (), 3), ("film.avi", (2,), 2)])
def test_a_cameras_frames_are_judged(
    bundle: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    limit: tuple[int, ...],
    count: int,
) -> None:
    opencv = type(sys)("cv2")
    opencv.VideoCapture = FilmCapture  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv2", opencv)
    frames = ("--frames", *limit) if limit else ()
    status, out, _ = run(classify, bundle, "--camera", source, *ONNX, *frames)
    assert status == 0
    given = answers(out)
    assert [(item["path"], item["slice"]) for item in given] == [
        (f"camera {source}", number) for number in range(count)
    ]
    # OpenCV's frames are blue, green, red.
    grey = np.asarray(Image.fromarray(FilmCapture.frames[0][:, :, ::-1]).convert("L"))
    expected = Classifier.load(bundle / "model.onnx").predict(grey)[0].to_json()
    assert given[0]["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    status, _, complaint = run(classify, bundle, "--camera", "7", *ONNX)
    assert (status, complaint) == (2, "classify.py: the camera '7' cannot be opened\n")


def test_a_camera_without_opencv(bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    status, _, complaint = run(classify, bundle, "--camera", "0", *ONNX)
    assert status == 2
    assert complaint.startswith("classify.py: no OpenCV")
    assert complaint.count("\n") == 1


def test_it_verifies_itself(bundle: Path) -> None:
    result = run_in(bundle, "verify.py", *ONNX)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "PASS: small 0.1, ONNX Runtime" in result.stdout
    assert "Research use only" in result.stdout


def _change_weight(bundle: Path) -> None:
    model = onnx.load(bundle / "model.onnx")
    kernel = model.graph.initializer[0]
    values = numpy_helper.to_array(kernel).copy()
    values[0, 0, 0, 0] *= 1.1
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))
    onnx.save(model, bundle / "model.onnx")


def _change_graph(bundle: Path) -> None:
    model = onnx.load(bundle / "preparation.onnx")
    values = {item.name: item for item in model.graph.initializer}
    near = values["preparation.places"]
    places = numpy_helper.to_array(near) * np.float32(1.5)
    near.CopyFrom(numpy_helper.from_array(places, near.name))
    onnx.save(model, bundle / "preparation.onnx")


def _rewrite(name: str, old: str, new: str) -> Callable[[Path], None]:
    def rewrite(bundle: Path) -> None:
        text = (bundle / name).read_text()
        assert old in text
        (bundle / name).write_text(text.replace(old, new, 1))

    return rewrite


def _change_classes(bundle: Path) -> None:
    said = json.loads((bundle / "model.json").read_text())
    said["model"]["classes"].reverse()
    (bundle / "model.json").write_text(json.dumps(said))


PREPARATION = "tumorscope/images/preparation.py"

CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a weight": (_change_weight, "off by"),
    "the classes' order": (_change_classes, "the order of the classes"),
    "a level of the head": (
        _rewrite(PREPARATION, "ROUNDS = 3 / 8", "ROUNDS = 4 / 8"),
        "grey levels",
    ),
    "the brightest value": (_rewrite(PREPARATION, "(510 * ", "(508 * "), "grey levels"),
    "the graph of the preparation": (_change_graph, "its graph    differ"),
    "a share of dark pixels": (_rewrite(PREPARATION, "PARTS = 200", "PARTS = 150"), "grey lev"),
    "the filter": (_rewrite(PREPARATION, "Image.BILINEAR  #", "Image.BICUBIC  #"), "grey levels"),
    "how colour becomes grey": (
        _rewrite("tumorscope/images/reading.py", '(upright.convert("L")', "(upright.split()[0]"),
        "turned-colour.jpg",
    ),
    "what transparent pixels become": (
        _rewrite("tumorscope/images/reading.py", "(0, 0, 0, 255)", "(255, 255, 255, 255)"),
        "transparent.png",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_it_finds_changes_even_with_new_checksums(bundle: Path, run: Run, what: str) -> None:
    change, line = CHANGES[what]
    change(bundle)
    if what != "the classes' order":
        status, _, complaint = run(classify, bundle, "golden", *ONNX)
        assert status == 2
        assert "not as it was exported: copy the bundle again" in complaint
        assert complaint.count("\n") == 1
    reseal(bundle)
    result = run_in(bundle, "verify.py", *ONNX)
    assert result.returncode == 1
    assert line in result.stdout
    assert "FAIL" in result.stdout


def test_it_finds_changes_of_scale_in_the_bundled_model(tmp_path: Path, run: Run) -> None:
    bundle = write_bundle(
        find_model(DEFAULT_MODEL), find_target("jetson-nano"), tmp_path / "b"
    ).path
    assert run(verify, bundle, *ONNX)[0] == 0
    model = onnx.load(bundle / "model.onnx")
    first = next(item for item in model.graph.node if item.op_type == "Constant")
    value = numpy_helper.to_array(first.attribute[0].t)
    first.attribute[0].t.CopyFrom(numpy_helper.from_array(np.asarray(value * np.float32(1.01))))
    onnx.save(model, bundle / "model.onnx")
    reseal(bundle)
    status, out, _ = run(verify, bundle, *ONNX)
    assert status == 1
    assert "logits: off by" in out


def test_golden_answers_of_other_shapes_are_told(bundle: Path, run: Run) -> None:
    path = bundle / "golden" / "golden.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["output_logits"] = arrays["output_logits"][:, :3]
    arrays["inputs"] = arrays["inputs"][:, :16, :16]
    np.savez(path, **arrays)
    (bundle / "golden" / "noise-fine.png").write_text("no picture")
    with pytest.raises(Exception, match="grey"):  # the network refuses other sizes
        run(verify, bundle, *ONNX)
    arrays["inputs"] = np.pad(arrays["inputs"], ((0, 0), (0, 16), (0, 16)))
    np.savez(path, **arrays)
    status, out, _ = run(verify, bundle, *ONNX)
    assert status == 1
    assert "logits: 68 values, not 51" in out
    assert "noise-fine.png: not a JPEG, PNG, TIFF, BMP, GIF or WebP picture" in out


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no model.json": (lambda folder: (folder / "model.json").unlink(), "model.json: missing"),
    "cut model.json": (
        lambda folder: (folder / "model.json").write_text('{"format": 1'),
        "model.json: damaged",
    ),
    "other preparation": (
        _rewrite("model.json", '"preparation": 2', '"preparation": 9'),
        "made for other files than these",
    ),
    "no words": (
        _rewrite("model.json", '"words": [', '"words": 7, "rest": ['),
        "model.json: damaged",
    ),
    "other side": (_rewrite("model.json", '"input_size": 32', '"input_size": 1e9'), "damaged"),
    "no model": (lambda folder: (folder / "model.onnx").unlink(), "model.onnx: missing"),
    "cut model": (
        lambda folder: (folder / "model.onnx").write_bytes(b"abc"),
        "model.onnx: not as it was exported",
    ),
    "no checksums": (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS: missing"),
    "cut checksums": (
        lambda folder: (folder / "SHA256SUMS").write_text("abc"),
        "SHA256SUMS: damaged",
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_bundle_gives_one_line(bundle: Path, run: Run, what: str) -> None:
    damage, line = DAMAGES[what]
    damage(bundle)
    for command in (classify, benchmark):
        words = ("golden",) if command is classify else ()
        status, out, complaint = run(command, bundle, *words, *ONNX)
        assert (status, out) == (2, "")
        assert line in complaint
        assert complaint.endswith(": copy the bundle again\n")
        assert complaint.count("\n") == 1


@pytest.mark.parametrize("content", [None, b"no archive", b"PK\x03\x04 cut"])
def test_damaged_golden_answers_give_one_line(
    bundle: Path, run: Run, content: bytes | None
) -> None:
    path = bundle / "golden" / "golden.npz"
    path.unlink() if content is None else path.write_bytes(content)
    status, _, complaint = run(verify, bundle, *ONNX)
    assert status == 2
    assert ("missing" if content is None else "damaged") in complaint
    assert complaint.count("\n") == 1


def test_other_files_may_be_changed(bundle: Path, run: Run) -> None:
    (bundle / "README.md").write_text("my notes")
    assert run(classify, bundle, bundle / "golden", *ONNX)[0] == 0
    status, out, _ = run(verify, bundle, *ONNX)
    assert status == 1
    assert "README.md: not as it was exported" in out


def test_a_model_that_no_runtime_opens_gives_one_line(bundle: Path, run: Run) -> None:
    (bundle / "model.onnx").write_bytes(b"abc")
    reseal(bundle)
    status, _, complaint = run(classify, bundle, bundle / "golden", *ONNX)
    assert status == 2
    assert "ONNX Runtime cannot open it" in complaint


def test_a_model_that_says_other_things_is_found(bundle: Path, run: Run) -> None:
    _rewrite("model.json", '"license": "Apache-2.0"', '"license": "mine"')(bundle)
    reseal(bundle)
    status, out, _ = run(verify, bundle, *ONNX)
    assert status == 1
    assert "model.onnx says other things about itself than model.json" in out
    assert "than model.json: license\n" in out


def test_outputs_that_model_json_lacks_are_told(bundle: Path, run: Run) -> None:
    _rewrite("model.json", '"logits"', '"heights"')(bundle)
    reseal(bundle)
    status, out, _ = run(verify, bundle, *ONNX)
    assert status == 1
    assert "the outputs: model.json has heatmap, heights, " in out
    assert "heights: there is no such output" in out


def test_a_model_whose_metadata_are_damaged_is_told(bundle: Path, run: Run) -> None:
    model = onnx.load(bundle / "model.onnx")
    model.metadata_props[0].value = "[]"
    onnx.save(model, bundle / "model.onnx")
    reseal(bundle)
    status, out, _ = run(verify, bundle, *ONNX)
    assert status == 1
    assert "  model.onnx: what it says about itself is missing or damaged\n" in out


def test_missing_runtimes_give_one_line(
    bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for command, words in ((classify, ("golden",)), (verify, ()), (benchmark, ())):
        for runtime, line in (("tensorrt", "no TensorRT"), ("onnx", "no ONNX Runtime")):
            status, _, complaint = run(command, bundle, *words, "--runtime", runtime)
            assert status == 2
            assert line in complaint
            assert complaint.count("\n") == 1


@pytest.mark.parametrize("package", ["numpy", "PIL"])
@pytest.mark.parametrize("command", ["classify.py", "verify.py", "benchmark.py"])
def test_a_python_without_numpy_or_pillow_gives_one_line(
    bundle: Path, package: str, command: str
) -> None:
    (bundle / package).mkdir()
    (bundle / package / "__init__.py").write_text("raise ImportError")
    result = run_in(bundle, command)
    assert result.returncode == 1
    assert result.stderr.startswith(f"no {package} for this Python: sudo apt-get install python3-")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [(), ("golden", "--camera", "0")])
def test_it_wants_pictures_or_a_camera(bundle: Path, run: Run, words: tuple[str, ...]) -> None:
    status, _, complaint = run(classify, bundle, *words)
    assert (status, complaint) == (2, "classify.py: give pictures or folders, or --camera\n")


def test_a_missing_file_and_an_empty_folder_are_told(bundle: Path, run: Run) -> None:
    (bundle / "empty").mkdir()
    status, out, _ = run(classify, bundle, bundle / "gone.png", bundle / "empty", *ONNX)
    assert status == 1
    assert [item["error"] for item in answers(out)] == ["no such file", "a folder, not a picture"]


def test_without_space_there_is_one_line_and_no_half_picture(bundle: Path) -> None:
    program = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
        "sys.argv = sys.argv[1:]; sys.path.insert(0, ''); "
        "runpy.run_path('classify.py', run_name='__main__')"
    )
    words = ("classify.py", "golden/glioma-axial.png", *ONNX, "--overlay", "pictures")
    result = run_in(bundle, "-c", program, *words)
    assert result.returncode == 1
    assert "check the path, the rights and the space" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list((bundle / "pictures").iterdir())


def test_who_reads_only_the_first_line_gets_no_traceback(bundle: Path) -> None:
    (bundle / "many").mkdir()
    for number in range(200):
        shutil.copyfile(bundle / "golden" / "noise-coarse.png", bundle / "many" / f"{number}.png")
    line = f"{sys.executable} classify.py many --runtime onnx | head -n 1"
    result = run_in(bundle, "-c", line, python="/bin/sh")
    assert result.stdout.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_stopping_it_says_nothing(bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(classify, "open_runtime", stop)
    assert run(classify, bundle, "golden", *ONNX) == (130, "", "")


def test_the_benchmark_measures_time_memory_and_power(
    bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(STANDINS / "bin"), prepend=os.pathsep)
    status, out, _ = run(benchmark, bundle, *ONNX, "--calls", 40, "--json")
    assert status == 0
    figures = json.loads(out)
    assert figures["calls"] == 40
    assert 0 < figures["network_p50_ms"] <= figures["network_p95_ms"]
    assert 0 < figures["reading_p50_ms"] <= figures["reading_p95_ms"]
    assert figures["whole_slices_a_second"] > 1
    assert figures["power_watts"] == 3.5
    assert figures["peak_memory_mb"] is None or figures["peak_memory_mb"] > 10


def test_without_a_power_meter_the_benchmark_says_so(
    bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    status, out, _ = run(benchmark, bundle, *ONNX, "--calls", 3)
    assert status == 0
    assert "power_watts                  not measured" in out
    assert "Research use only" in out


def test_in_16_bits_the_bundled_model_says_the_same(tmp_path: Path) -> None:
    bundle = write_bundle(
        find_model(DEFAULT_MODEL), find_target("jetson-nano"), tmp_path / "b"
    ).path
    onnx.save(to_fp16(onnx.load(bundle / "model.onnx")), bundle / "model.onnx")
    facts = read_facts(bundle)
    with pytest.raises(BoardError, match="not as it was exported"):
        check_files(bundle)
    golden = golden_answers.read_golden(bundle)
    from tumorscope.jetson.board.engines import OnnxRuntime  # noqa: PLC0415

    runtime, allowed = OnnxRuntime(bundle, "model.onnx"), golden_answers.ALLOWED
    # What engines in 16 bits are allowed covers 16 bits, and what is allowed in 32 does not.
    assert golden_answers.check_answers(facts, golden, runtime, allowed["tensorrt"]) == []
    assert golden_answers.check_answers(facts, golden, runtime, allowed["onnx"])
    before = golden["output_probabilities"]
    after = np.stack([runtime.ask(grey[None, None])["probabilities"] for grey in golden["inputs"]])
    best = np.sort(before, axis=1)
    clear = best[:, -1] - best[:, -2] > 0.05
    assert clear.sum() >= 10
    assert (before.argmax(axis=1) == after.argmax(axis=1))[clear].all()


@pytest.mark.parametrize("version", [5, 7])
def test_old_pillows_way_of_reading_gives_the_same(
    scans: Path, monkeypatch: pytest.MonkeyPatch, version: int, tmp_path: Path
) -> None:
    names = ("grey.png", "turned.jpg", "sixteen.png", "inner/clear.PNG")
    expected = [read_slice(scans / name) for name in names]
    monkeypatch.setattr(reading, "_PILLOW", version)
    for name, grey in zip(names, expected, strict=True):
        np.testing.assert_array_equal(read_slice(scans / name), grey)
    Image.fromarray(expected[0]).save(tmp_path / "x.ppm")
    shutil.move(tmp_path / "x.ppm", tmp_path / "x.png")
    for name in (tmp_path / "x.png", scans / "words.png"):
        with pytest.raises(
            reading.UnreadableImageError, match="not a JPEG, PNG, TIFF, BMP, GIF or WebP picture"
        ):
            read_slice(name)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_old_pillow_turns_pictures_upright(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    grey = np.random.default_rng(1).integers(0, 256, (40, 60), dtype=np.uint8)
    path = tmp_path / "turned.jpg"
    Image.fromarray(grey).save(path, exif=exif.tobytes())
    expected = read_slice(path)
    monkeypatch.setattr(reading, "_PILLOW", 5)
    np.testing.assert_array_equal(read_slice(path), expected)


def _python_3_6() -> str:
    """The oldest Python that a board has, with NumPy and Pillow, or a skip with the reason."""
    named = os.environ.get("TUMORSCOPE_PYTHON36") or shutil.which("python3.6")
    if not named:
        pytest.skip("no python3.6 here; TUMORSCOPE_PYTHON36 may name one")
    program = "import sys, numpy, PIL; assert sys.version_info[:2] == (3, 6)"
    result = subprocess.run([named, "-c", program], capture_output=True, check=False)
    if result.returncode:
        pytest.skip(f"{named} is no Python 3.6 with NumPy and Pillow")
    return named


def test_it_runs_on_python_3_6(bundle: Path, scans: Path) -> None:
    python = _python_3_6()
    result = run_bytes_in(bundle, "classify.py", scans / "grey.png", "--raw", python=python)
    assert (result.returncode, result.stdout) == (0, _pgm(scans / "grey.png"))
    for command in ("verify.py", "benchmark.py"):
        refused = run_in(bundle, command, python=python)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "no TensorRT for this Python" in refused.stderr
    if run_in(bundle, "-c", "import onnxruntime", python=python).returncode:
        pytest.skip(f"{python} has no ONNX Runtime: the rest was not tried")
    verified = run_in(bundle, "verify.py", *ONNX, python=python)
    assert "PASS" in verified.stdout, verified.stdout + verified.stderr
    words = ("classify.py", "golden", *ONNX, "--overlay", "pictures")
    classified = run_in(bundle, *words, python=python)
    assert classified.returncode == 0, classified.stderr
    assert len(list((bundle / "pictures").iterdir())) == len(answers(classified.stdout)) == 17


def test_frames_that_are_no_slices_are_named(
    bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = FilmCapture.frames[0]
    frames = [good[:, :, :1], good.astype(np.uint16), good[:20], np.dstack([good, good])]
    monkeypatch.setattr(FilmCapture, "frames", frames)
    opencv = type(sys)("cv2")
    opencv.VideoCapture = FilmCapture  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv2", opencv)
    status, out, _ = run(classify, bundle, "--camera", "0", *ONNX)
    first, *others = answers(out)
    assert status == 1
    assert "error" not in first
    assert [item["error"] for item in others] == [
        f"a frame of uint16 of shape {list(good.shape)}: grey or BGR of 8 bits is read",
        f"{good.shape[1]}x20 pixels are too few (at least 32 a side)",
        f"a frame of uint8 of shape {[*good.shape[:2], 6]}: grey or BGR of 8 bits is read",
    ]
    monkeypatch.setattr(FilmCapture, "frames", [])
    status, _, complaint = run(classify, bundle, "--camera", "0", *ONNX)
    assert (status, complaint) == (2, "classify.py: the camera '0' gives no frame\n")


def test_long_names_linked_folders_and_other_files(bundle: Path, run: Run, tmp_path: Path) -> None:
    picture = (bundle / "golden" / "glioma-axial.png").read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "in" / f"{'x' * 245}.png").write_bytes(picture)
    (tmp_path / "linked" / "b.png").write_bytes(picture)
    (tmp_path / "in" / "link").symlink_to(tmp_path / "linked")
    (tmp_path / "linked" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "scan.dcm").write_bytes(b"a scan")
    words = (str(tmp_path / "in"), *ONNX, "--overlay", str(tmp_path / "out"))
    status, out, said = run(classify, bundle, *words)
    assert status == 0
    assert [Path(item["path"]).name for item in answers(out)] == [f"{'x' * 245}.png", "b.png"]
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert "passed over: a file that is no picture" in said
    assert "scan.dcm" in said


def test_what_the_cpp_program_does_not_take_is_left_out(
    bundle: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 2050), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey[:, :60]).save(tmp_path / "b.png")
    assert classify.main([str(tmp_path), "--raw"], bundle) == 1
    out, said = capfdbinary.readouterr()
    assert out.startswith(b"P5\n60 40\n255\n")
    assert b"a.png: more than 2048 pixels a side" in said
