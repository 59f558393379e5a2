"""The preparation in the graph is the preparation, and the complete file answers as the network."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tumorscope.cli.main import main
from tumorscope.errors import ModelError
from tumorscope.export import export_run
from tumorscope.export.complete_network import PixelSize, PreparationGraph
from tumorscope.images import find_head, prepare, read_slice
from tumorscope.inference.model_file import open_model
from tumorscope.jetson.operators import unsupported_operators
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import load_weights

Grey = NDArray[np.uint8]

PHANTOM = draw_phantom("meningioma", plane="axial", patient_seed=5, slice_number=2).image
GRAPH = PreparationGraph(96)


def _in_graph(grey: Grey) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    with torch.inference_mode():
        made, box = GRAPH(torch.from_numpy(grey.copy())[None])
    return made.numpy()[0, 0], box.numpy()[0]


def _check_same(grey: Grey) -> None:
    made, box = _in_graph(grey)
    off = np.abs(made - prepare(grey, 96))
    assert off.mean() < 1
    assert (off > 3).mean() <= 0.001
    np.testing.assert_allclose(box, find_head(grey), atol=1e-3)


def _noise(height: int, width: int, random: np.random.Generator) -> NDArray[np.float64]:
    return random.integers(0, 256, (height, width)).astype(np.float64)


def _faint(height: int, width: int, random: np.random.Generator) -> NDArray[np.float64]:
    return 100 + random.integers(0, 9, (height, width)).astype(np.float64)


def _shade(height: int, width: int, random: np.random.Generator) -> NDArray[np.float64]:
    return np.add.outer(np.linspace(0, 200, height), np.linspace(0, random.integers(1, 55), width))


def _tiles(height: int, width: int, random: np.random.Generator) -> NDArray[np.float64]:
    coarse = random.integers(0, 256, (7, 5)).astype(np.float64)
    return np.kron(coarse, np.ones((-(-height // 7), -(-width // 5))))[:height, :width]


def _head(height: int, width: int, random: np.random.Generator) -> NDArray[np.float64]:
    """A phantom of any proportions, with a bar at a side and a frame half of the time."""
    picture = Image.fromarray(PHANTOM).resize((width, height), Image.Resampling.BICUBIC)
    grey = np.array(picture, dtype=np.float64)
    if random.random() < 0.5:
        grey[:, : width // 8] = random.integers(0, 256)
        grey[-(height // 10) :] = np.linspace(0, 255, width)
        grey[: max(1, height // 50)] = 255
    return grey


@settings(max_examples=60, deadline=None)
@given(
    sides=st.tuples(*[st.floats(5, 10.96)] * 2),
    draw=st.sampled_from([_noise, _faint, _shade, _tiles, _head]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_picture_is_prepared_the_same(
    sides: tuple[float, float],
    draw: Callable[[int, int, np.random.Generator], NDArray[np.float64]],
    seed: int,
) -> None:
    """Sides of 32 to 2,000 pixels, small ones as often as large ones."""
    height, width = (int(2.0**side) for side in sides)
    _check_same(draw(height, width, np.random.default_rng(seed)).astype(np.uint8))


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_flat_picture_is_prepared_the_same(value: int) -> None:
    grey = np.full((70, 41), value, np.uint8)
    made, box = _in_graph(grey)
    assert (made == value).all()
    assert box.tolist() == [0, 70, 0, 41]


def test_real_slices_are_prepared_the_same(real_data: Path) -> None:
    for file in sorted((real_data / "kaggle").glob("Testing/*/*.jpg"))[::37]:
        _check_same(read_slice(file))


@pytest.fixture(scope="module")
def complete(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("complete") / "complete.onnx"
    export_run(RunFolder(trained), "onnx", path, pixels=PixelSize())
    return path


@pytest.mark.parametrize(("height", "width"), [(72, 72), (33, 500), (300, 211)])
def test_one_file_answers_pictures_of_every_size(
    complete: Path, trained: Path, height: int, width: int
) -> None:
    network = load_weights(RunFolder(trained).weights_file)
    picture = Image.fromarray(PHANTOM).resize((width, height), Image.Resampling.BICUBIC)
    grey = np.asarray(picture)
    session = onnxruntime.InferenceSession(complete, providers=["CPUExecutionProvider"])
    said = dict(
        zip(
            (port.name for port in session.get_outputs()),
            session.run(None, {"pixels": grey[None].astype(np.float32)}),
            strict=True,
        )
    )
    inputs = prepare(grey, network.description.input_size)[None]
    np.testing.assert_allclose(said["probabilities"], network.probabilities(inputs), atol=1e-3)
    np.testing.assert_allclose(said["box"], [find_head(grey)], atol=1e-3)
    assert {"logits", "heatmap"} <= said.keys()


def test_the_complete_file_is_plain_and_says_what_it_is(complete: Path) -> None:
    model = onnx.load(complete)
    assert [item.version for item in model.opset_import] == [13]
    assert unsupported_operators(model) == []
    facts = json.loads({item.key: item.value for item in model.metadata_props}["tumorscope"])
    assert (facts["input"], facts["preparation"]) == ("pixels", 2)
    with pytest.raises(ModelError, match="complete file, which takes pixels"):
        open_model(complete)


def test_openvino_takes_pixels_too(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    made = export_run(RunFolder(trained), "openvino", tmp_path / "complete", pixels=PixelSize())
    assert made.verification is not None
    assert made.verification.label_agreement == 1
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


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--input-size", "90x120"], "goes with --input pixels"),
        (["--input", "pixels", "--input-size", "90"], "height and width, as 480x640, not 90"),
        (["--input", "pixels", "--batch", "4"], "one slice a call, not 4"),
        (["--input", "pixels", "--format", "onnx-fp16"], "takes prepared inputs"),
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
