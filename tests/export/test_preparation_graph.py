"""The stored preparation is up to date, and a run's file of every precision takes pixels."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from tumorscope.cli.main import main
from tumorscope.export import export_onnx, export_run
from tumorscope.export.preparation_graph import build_preparation
from tumorscope.images import find_head
from tumorscope.inference.complete_file import GRAPH, PixelSize, complete_file
from tumorscope.inference.model_file import DEFAULT_MODEL, find_model
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.training.run_folder import RunFolder

PHANTOM = draw_phantom("meningioma", plane="axial", patient_seed=5, slice_number=2).image


def test_the_stored_graph_is_up_to_date() -> None:
    """If not: python benchmarks/make_preparation_graph.py."""
    stored, built = onnx.load(GRAPH), build_preparation()
    assert stored.graph == built.graph


@pytest.mark.parametrize("kind", ["onnx", "onnx-fp16", "onnx-int8", "onnx-int8-signed", "openvino"])
def test_a_run_is_exported_for_pixels(trained: Path, tmp_path: Path, kind: str) -> None:
    if kind == "openvino":
        pytest.importorskip("openvino")
    path = tmp_path / ("complete" if kind == "openvino" else "complete.onnx")
    made = export_run(RunFolder(trained), kind, path, pixels=PixelSize())
    assert made.verification is not None
    assert made.verification.label_agreement == 1
    if "int8" not in kind:
        assert made.verification.largest_difference < 1e-3


def test_a_fixed_size_stands_in_the_file(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "camera.onnx"
    words = ["export", str(trained), "--input", "pixels", "--input-size", "90x120", "--no-verify"]
    assert main([*words, "--out", str(path)]) == 0
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 90, 120]
    grey = np.asarray(Image.fromarray(PHANTOM).resize((120, 90)))
    (box,) = session.run(["box"], {"pixels": grey[None].astype(np.float32)})
    np.testing.assert_allclose(box, [find_head(grey)], atol=1e-3)
    capsys.readouterr()


@pytest.mark.parametrize("kind", ["onnx", "triton"])
def test_a_fixed_size_is_verified_on_slices_of_other_sizes(
    trained: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / {"onnx": "camera.onnx", "triton": "camera"}[kind]
    made = export_run(RunFolder(trained), kind, path, pixels=PixelSize((90, 120)))
    assert made.origin == "the run's validation slices"
    assert made.verification is not None
    assert made.verification.images == 4
    assert made.verification.largest_difference < 1e-3


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--input-size", "90x120"], "goes with --input pixels"),
        (["--input", "pixels", "--input-size", "90"], "height and width, as 480x640, not 90"),
        (["--input", "pixels", "--batch", "4"], "one slice a call, not 4"),
        (["--input", "pixels", "--format", "torchscript"], "takes prepared inputs"),
        (["--input", "pixels", "--target", "jetson-nano"], "leave out --input"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    reason: str,
) -> None:
    assert main(["export", str(trained), *words, "--out", str(tmp_path / "x.onnx")]) == 2
    assert reason in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--name", "mine"], "--name changes nothing here"),
        (["--batch", "4"], "--batch changes nothing here"),
        (["--opset", "17"], "--opset changes nothing here"),
        (["--data", "nowhere"], "--data changes nothing here"),
        (["--format", "onnx", "--name", "mine"], "--name changes nothing here"),
        (["--format", "onnx-fp16", "--batch", "4"], "--batch changes nothing here"),
        (["--format", "triton", "--data", "nowhere"], "--data changes nothing here"),
        (["--out", "file"], "an ONNX file ends in .onnx"),
        (["--out", "m.onnx"], "is the model file itself"),
        (["--input-size", "10x40"], "sides of 32 pixels or more and 50 million pixels"),
        (["--input-size", "99999x99999"], "sides of 32 pixels or more and 50 million pixels"),
    ],
)
def test_a_model_file_is_not_overwritten_and_no_option_is_passed_over(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = export_onnx(RunFolder(trained), tmp_path / "m.onnx").read_bytes()
    assert main(["export", "m.onnx", "--input", "pixels", *words]) == 2
    assert reason in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "m.onnx").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_model_file_in_16_bits_for_pixels_is_compared_with_the_one_that_was_given(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = export_onnx(RunFolder(trained), tmp_path / "m.onnx")
    words = ["--input", "pixels", "--format", "onnx-fp16", "--out", str(tmp_path / "half.onnx")]
    assert main(["export", str(source), *words, "--json", str(tmp_path / "said.json")]) == 0
    capsys.readouterr()
    said = json.loads((tmp_path / "said.json").read_text())
    assert 0 < said["largest_difference"] < 1e-2


@pytest.mark.parametrize(
    "words", [["--input", "pixels"], ["--format", "triton"], ["--target", "thor"]]
)
def test_files_that_are_no_models_give_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    whole = find_model(DEFAULT_MODEL).read_bytes()
    complete = tmp_path / "complete.onnx"
    complete_file(find_model(DEFAULT_MODEL), complete, PixelSize())
    cases = [
        ("cut.onnx", whole[: len(whole) // 2]),
        ("empty.onnx", b""),
        ("picture.onnx", b"\xff\xd8\xff\xe0 picture"),
        ("again.onnx", complete.read_bytes()),
    ]
    for name, content in cases:
        (tmp_path / name).write_bytes(content)
        assert (
            main(["export", str(tmp_path / name), *words, "--out", str(tmp_path / "o.onnx")]) == 2
        )
        (line,) = capsys.readouterr().err.splitlines()
        assert name in line
    assert not (tmp_path / "o.onnx").exists()


def test_a_board_takes_a_file_of_8_bits_as_it_is(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    export_run(RunFolder(trained), "onnx-int8-signed", path, batch=1, check=False)
    assert main(["export", str(path), "--target", "orin-jp7", "--out", str(tmp_path / "b")]) == 0
    assert '"int8"' in (tmp_path / "b" / "model.json").read_text()
    assert "written:" in capsys.readouterr().out
    words = ["--target", "orin-jp7", "--input-size", "480x640", "--out", str(tmp_path / "c")]
    assert main(["export", str(path), *words]) == 2
    assert "--input-size changes nothing here" in capsys.readouterr().err
