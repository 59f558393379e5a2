"""A network that was built again from its file answers as the file does."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from tumorscope.cli.main import main
from tumorscope.errors import ModelError
from tumorscope.export import FORMATS, Tolerance, export_onnx, export_run
from tumorscope.export.rebuilt_network import rebuild
from tumorscope.inference.model_file import DEFAULT_MODEL, find_model, open_model
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import load_weights


@pytest.fixture(scope="module")
def file(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(RunFolder(trained), tmp_path_factory.mktemp("file") / "model.onnx")


def test_it_answers_as_the_network_did(trained: Path, file: Path) -> None:
    before, after = load_weights(RunFolder(trained).weights_file), rebuild(file)
    assert after.description == before.description
    grey = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)
    np.testing.assert_allclose(after.probabilities(grey), before.probabilities(grey), atol=1e-5)
    chosen = np.arange(5) % 4
    heatmaps = after.heatmaps(grey, chosen), before.heatmaps(grey, chosen)
    np.testing.assert_allclose(*heatmaps, atol=1e-4)


def test_the_bundled_model_can_be_built_again() -> None:
    rebuilt = rebuild(find_model(DEFAULT_MODEL))  # compares its answers with the file's
    assert rebuilt.description.ood_threshold is not None
    assert rebuilt.description.series is not None


def test_any_format_is_made_of_a_model_file(
    file: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["export", str(file), "--data", str(phantoms), "--format"]
    assert main([*words, "onnx-int8", "--json", "made.json"]) == 0
    made = json.loads((tmp_path / "made.json").read_text())
    assert made["path"] == "model-int8.onnx"
    assert made["images"] == "every other slice of --data"
    before, after = (open_model(path).facts for path in (file, tmp_path / "model-int8.onnx"))
    assert replace(after, created=before.created) == before


def test_what_a_model_file_was_compared_on_is_named_where_it_fails(
    file: Path,
    phantoms: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(
        FORMATS, "onnx", replace(FORMATS["onnx"], tolerance=Tolerance(probability=0.0))
    )
    out = tmp_path / "again.onnx"
    assert main(["export", str(file), "--data", str(phantoms), "--out", str(out)]) == 2
    assert "again.onnx on every other slice of --data: a probability" in capsys.readouterr().err
    assert not out.exists()


def test_eight_bits_of_a_model_file_need_slices(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "small.onnx"
    assert main(["export", str(file), "--format", "onnx-int8", "--out", str(target)]) == 2
    assert "--data" in capsys.readouterr().err
    assert not target.exists()


def test_a_file_is_not_written_over_itself(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = file.read_bytes()
    monkeypatch.chdir(file.parent)
    assert main(["export", file.name]) == 2
    assert "is the model file itself" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_file_with_other_weights_is_found_out(file: Path, tmp_path: Path) -> None:
    model = onnx.load(file)
    (linear,) = (item for item in model.graph.initializer if item.name.endswith("linear.bias"))
    linear.name = "somebody.elses.bias"
    for node in model.graph.node:
        node.input[:] = [
            linear.name if name == "network.linear.bias" else name for name in node.input
        ]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ModelError, match="answers otherwise"):
        rebuild(tmp_path / "other.onnx")


def test_sixteen_bits_are_not_built_again(trained: Path, tmp_path: Path) -> None:
    made = export_run(RunFolder(trained), "onnx-fp16", tmp_path / "half.onnx", check=False).path
    with pytest.raises(ModelError, match="32 bits"):
        rebuild(made)
