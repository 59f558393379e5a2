"""`export --format litert`: the file answers as the network does, in LiteRT's own interpreter."""

import json
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tumorscope.cli.main import main
from tumorscope.errors import MissingExtraError, ModelError
from tumorscope.export import FORMATS, Tolerance, export_run, formats
from tumorscope.export.litert_file import open_litert, write_litert
from tumorscope.networks.litenet import LiteNet
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import Description, TrainedNetwork


@pytest.fixture(scope="module")
def converter() -> None:
    """LiteRT's converter, which takes a gigabyte of packages, or a skip with the reason."""
    pytest.importorskip("litert_torch", reason="needs tumorscope[litert]")


@pytest.fixture
def lite() -> TrainedNetwork:
    """The bundled model's network with weights that were not learned, and a real OOD score."""
    torch.manual_seed(3)
    network = LiteNet(frozen=0).eval()
    random = np.random.default_rng(5)
    width = len(network.ood_score.mean)
    usual = random.normal(size=(64, width)).astype(np.float32)
    network.ood_score.fit(usual, usual * 3)
    description = Description(
        network={"name": "litenet"}, classes=network.classes, input_size=64, temperature=1.3
    )
    return TrainedNetwork(network, description)


@pytest.mark.usefixtures("converter")
def test_a_run_is_exported_and_agrees(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "model.tflite"
    words = ["export", str(trained), "--format", "litert", "--out", str(target), "--json", "-"]
    assert main(words) == 0
    facts = json.loads(capfd.readouterr().out)
    found = facts["verification"]
    assert (found["runtime"], found["label_agreement"]) == ("LiteRT", 1.0)
    assert found["largest_difference"] < 1e-4
    assert found["heatmap_difference"] < 1e-4
    opened = open_litert(target)
    assert [port.name for port in opened.outputs] == ["probabilities", "logits", "heatmap"]
    assert opened.inputs[0].shape == (1, 1, 32, 32)
    classes = RunFolder(trained).data()["classes"]
    assert json.loads(opened.metadata or "")["classes"] == classes
    with zipfile.ZipFile(target) as archive:
        assert archive.read("labels.txt").decode().split() == classes
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


@pytest.mark.usefixtures("converter")
def test_the_bundled_models_network_converts(lite: TrainedNetwork, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    grey = np.random.default_rng(7).integers(0, 256, (6, 64, 64), dtype=np.uint8)
    write_litert(lite, {"tumorscope.json": "{}"}, path, batch=2)
    opened = open_litert(path)
    assert opened.batch == 2
    said = opened.run(grey)
    np.testing.assert_allclose(said["probabilities"], lite.probabilities(grey), atol=1e-5)
    np.testing.assert_allclose(said["ood_score"], lite.ood_score(grey), atol=1e-3)


@pytest.mark.usefixtures("converter")
def test_eight_bits_spare_what_is_delicate(
    lite: TrainedNetwork, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = np.random.default_rng(7).integers(0, 256, (8, 64, 64), dtype=np.uint8)
    small = tmp_path / "m8.tflite"
    write_litert(lite, {"tumorscope.json": "{}"}, small, calibration=grey)
    weights = sum(values.numel() for values in lite.network.parameters())
    assert small.stat().st_size < 0.45 * 4 * weights
    types = Counter(_convolution_types(small))
    assert types[np.int8] > 30
    assert types[np.float32] >= 4  # stem, stages.0
    said = open_litert(small).run(grey)["probabilities"]
    assert np.abs(said - lite.probabilities(grey)).mean() < 0.02

    # Three epochs leave probabilities near a tie, where a rounding changes the label.
    loose = replace(FORMATS["litert-int8"], tolerance=Tolerance(accuracy=1.0))
    monkeypatch.setitem(formats.FORMATS, "litert-int8", loose)
    found = export_run(RunFolder(trained), "litert-int8", tmp_path / "r.tflite").verification
    assert found is not None
    assert 0 < found.mean_difference < 0.05


def _convolution_types(path: Path) -> Iterator[type]:
    """Yields the type of each convolution's weights."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    model = Interpreter(model_path=str(path))
    types = {item["index"]: item["dtype"] for item in model.get_tensor_details()}
    for operation in model._get_ops_details():
        if operation["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            yield types[operation["inputs"][1]]


@pytest.mark.usefixtures("converter")
def test_a_damaged_file_is_one_line(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match="not a LiteRT model, or damaged"):
        open_litert(path)
    export_run(RunFolder(trained), "litert", path, check=False)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="not a LiteRT model, or damaged"):
        open_litert(path)


def test_without_litert_one_line_says_how_to_get_it(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("litert_torch", "ai_edge_litert", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    words = ["export", str(trained), "--format", "litert", "--out", str(tmp_path / "m.tflite")]
    assert main(words) == 2
    assert "pip install 'tumorscope[litert]'" in capsys.readouterr().err
    assert main([*words, "--opset", "17"]) == 2
    assert "a LiteRT file has no operator set" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MissingExtraError):
        open_litert(tmp_path / "m.tflite")
