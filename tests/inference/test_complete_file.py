"""The preparation in the graph is the preparation, and stands in front of any model file."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from small_model import SIDE, write_model
from tumorscope.cli.main import main
from tumorscope.errors import ModelError
from tumorscope.images import find_head, prepare, read_slice
from tumorscope.inference import Classifier
from tumorscope.inference.complete_file import PixelSize, complete_file, preparation
from tumorscope.inference.model_file import open_model
from tumorscope.jetson.operators import unsupported_operators
from tumorscope.phantoms.drawing import draw_phantom

Grey = NDArray[np.uint8]

PHANTOM = draw_phantom("meningioma", plane="axial", patient_seed=5, slice_number=2).image
GRAPH = preparation(96, PixelSize()).SerializeToString()


def _open(model: bytes | Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


SESSION = _open(GRAPH)


def _in_graph(grey: Grey) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    made, box = SESSION.run(None, {"pixels": grey[None].astype(np.float32)})
    return made[0, 0], box[0]


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
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete file; the file that it was made of lies beside it."""
    folder = tmp_path_factory.mktemp("complete")
    model = write_model(folder / "model.onnx", sharpness=40.0)
    complete_file(model, folder / "complete.onnx", PixelSize())
    return folder / "complete.onnx"


@pytest.mark.parametrize(("height", "width"), [(72, 72), (33, 500), (300, 211)])
def test_one_file_answers_pictures_of_every_size(complete: Path, height: int, width: int) -> None:
    picture = Image.fromarray(PHANTOM).resize((width, height), Image.Resampling.BICUBIC)
    grey = np.asarray(picture)
    session = _open(complete)
    names = [port.name for port in session.get_outputs()]
    said = dict(
        zip(names, session.run(None, {"pixels": grey[None].astype(np.float32)}), strict=True)
    )
    expected = Classifier.load(complete.with_name("model.onnx")).outputs(prepare(grey, SIDE)[None])
    assert said.keys() == expected.keys() | {"box"}
    np.testing.assert_allclose(said["probabilities"], expected["probabilities"], atol=1e-3)
    np.testing.assert_allclose(said["box"], [find_head(grey)], atol=1e-3)


def test_it_is_plain_and_says_what_it_is(complete: Path) -> None:
    model = onnx.load(complete)
    onnx.checker.check_model(model, full_check=True)
    assert [item.version for item in model.opset_import] == [13]
    assert unsupported_operators(model) == []
    facts = json.loads({item.key: item.value for item in model.metadata_props}["tumorscope"])
    assert (facts["input"], facts["preparation"]) == ("pixels", 2)
    with pytest.raises(ModelError, match="complete file, which takes pixels"):
        open_model(complete)


@pytest.mark.parametrize(
    ("changes", "reason"), [({"batch": 4}, "takes 4 slices a call"), ({"opset": 17}, "--opset 13")]
)
def test_what_the_preparation_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, int], reason: str
) -> None:
    model = write_model(tmp_path / "model.onnx", batch=changes.get("batch", "N"))
    changed = onnx.load(model)
    changed.opset_import[0].version = changes.get("opset", 13)
    onnx.save(changed, model)
    with pytest.raises(ModelError, match=reason):
        complete_file(model, tmp_path / "complete.onnx", PixelSize())
    assert not (tmp_path / "complete.onnx").exists()


@pytest.mark.parametrize("precision", ["onnx", "onnx-fp16"])
def test_the_bundled_model_takes_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    path = tmp_path / "camera.onnx"
    words = ["export", "tumorscope-edge", "--input", "pixels", "--input-size", "240x200"]
    assert main([*words, "--format", precision, "--out", str(path)]) == 0
    assert "of tumorscope-edge.onnx: " in " ".join(capsys.readouterr().out.split())
    session = _open(path)
    assert session.get_inputs()[0].shape == [1, 240, 200]
    grey = np.asarray(Image.fromarray(PHANTOM).resize((200, 240)))
    said, box = session.run(["probabilities", "box"], {"pixels": grey[None].astype(np.float32)})
    (expected,) = Classifier.load().probabilities(
        prepare(grey, Classifier.load().facts.input_size)[None]
    )
    np.testing.assert_allclose(said[0], expected, atol=1e-3 if precision == "onnx" else 1e-2)
    np.testing.assert_allclose(box, [find_head(grey)], atol=1e-3)


def test_a_plain_install_makes_it(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None; "
        "from tumorscope.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["export", "tumorscope-edge", "--input", "pixels", "--out", str(tmp_path / "c.onnx")]
    subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True)
    assert _open(tmp_path / "c.onnx").get_inputs()[0].shape == [1, "H", "W"]


def test_what_does_not_verify_is_not_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model.onnx", sharpness=math.nan)
    words = ["export", str(model), "--input", "pixels", "--out", str(tmp_path / "c.onnx")]
    assert main(words) == 2
    assert "a probability differs by" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "c.onnx").exists()
