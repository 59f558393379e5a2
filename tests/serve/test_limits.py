"""A network that knows what it learned from refuses what is of another kind, in every format."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tumorscope.cli.main import main
from tumorscope.evaluation import Predictions
from tumorscope.export import FORMATS, export_run, unsupported_operators
from tumorscope.export.verification import open_exported
from tumorscope.images import prepare, read_slice
from tumorscope.inference import Classifier, Prediction
from tumorscope.inference.model_file import open_model
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import load_weights


@pytest.fixture(scope="module")
def lite(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of our network with a tumour map, four epochs on phantoms."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "lite"
    fields = (
        "input.size=64",
        "input.start=0",
        "training.drawn=0",
        "training.epochs=4",
        "training.batch_size=8",
    )
    words = ["train", "--data", str(phantoms), "--split", "grouped-folds", "--recipe", "edge"]
    words += [word for field in fields for word in ("--set", field)]
    assert main([*words, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def model(lite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(RunFolder(lite), "onnx", tmp_path_factory.mktemp("model") / "m.onnx").path


def strange_pictures(folder: Path) -> list[Path]:
    """Noise and stripes: nothing that looks like a head."""
    random = np.random.default_rng(0)
    rows, columns = np.indices((128, 128))
    stripes = (127 + 120 * np.sin((rows + 2 * columns) / 3)).astype(np.uint8)
    pictures = [random.integers(0, 256, (128, 128), dtype=np.uint8), stripes]
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def inputs(paths: list[Path]) -> NDArray[np.uint8]:
    return np.stack([prepare(read_slice(path), 64) for path in paths])


def test_what_is_of_another_kind_is_unsupported_and_the_rest_is_judged(
    model: Path, phantoms: Path, tmp_path: Path
) -> None:
    classifier = Classifier.load(model)
    strange = classifier.predict(strange_pictures(tmp_path))
    for answer in strange:
        assert isinstance(answer, Prediction)
        assert (answer.verdict, answer.label, answer.heatmap) == ("unsupported", None, None)
        assert "unlike the brain MRI slices" in answer.reason
        assert answer.to_json()["probabilities"] is None
    usual = classifier.predict(sorted((phantoms / "images").iterdir()))
    assert np.mean([answer.verdict != "unsupported" for answer in usual]) > 0.9


def test_the_model_file_carries_the_limit(model: Path, lite: Path) -> None:
    facts = open_model(model).facts
    assert (
        facts.ood_threshold == load_weights(RunFolder(lite).weights_file).description.ood_threshold
    )
    assert facts.ood_threshold is not None
    (entry,) = onnx.load(model).metadata_props
    assert json.loads(entry.value)["thresholds"]["ood_threshold"] == facts.ood_threshold
    assert unsupported_operators(onnx.load(model)) == []


def test_the_verdicts_that_were_judged_are_those_of_the_model_file(
    model: Path, lite: Path, phantoms: Path
) -> None:
    classified = Predictions.load(lite / "predictions.csv")
    paths = [phantoms / name.split("/", 1)[1] for name in classified.names]
    answers = Classifier.load(model).predict(paths)
    assert tuple(answer.verdict for answer in answers) == classified.verdicts  # type: ignore[union-attr]
    written = json.loads((lite / "evaluation.json").read_text())["verdicts"]
    assert {name: figures["n"] for name, figures in written.items()} == {
        name: classified.verdicts.count(name) for name in written
    }
    facts = open_model(model).facts
    assert facts.confident == load_weights(RunFolder(lite).weights_file).description.confident


@pytest.mark.parametrize("name", ["onnx-fp16", "onnx-int8", "torchscript", "openvino"])
def test_every_format_knows_what_is_strange(
    lite: Path, phantoms: Path, tmp_path: Path, name: str
) -> None:
    if name == "openvino":
        pytest.importorskip("openvino")
    path = export_run(RunFolder(lite), name, tmp_path / FORMATS[name].file, check=False).path
    limit = load_weights(RunFolder(lite).weights_file).description.ood_threshold
    assert limit is not None
    usual = sorted((phantoms / "images").iterdir())[:8]
    scores = open_exported(path).run(inputs([*usual, *strange_pictures(tmp_path)]))["ood_score"]
    assert scores.shape == (10,)
    assert (scores[8:] > limit).all()
    assert (scores[:8] < limit).sum() >= 7
