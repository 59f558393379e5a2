"""A model file is used only when it says all that is needed; everything else is one clear line."""

import json
from pathlib import Path

import onnx
import onnxruntime
import pytest

from small_model import metadata, write_model
from tumorscope.errors import ModelError
from tumorscope.inference import DEFAULT_MODEL, PROVIDERS, Classifier, bundled_models
from tumorscope.inference.model_file import WEIGHTS, find_model, read_facts


def test_facts_of_the_file(tmp_path: Path) -> None:
    facts = Classifier.load(write_model(tmp_path / "m.onnx", unknown_key=1)).facts
    assert facts.title == "small 0.1"
    assert facts.classes == ("glioma", "meningioma", "notumor", "pituitary")
    assert (facts.input_size, facts.confident, facts.temperature) == (32, (0.9,) * 4, 1.5)
    assert facts.data == {"fingerprint": "00"}


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"no model 'tumourscope' .*\(bundled: ") as caught:
        find_model("tumourscope")
    assert all(name in str(caught.value) for name in bundled_models())


def test_default_model_is_bundled_or_its_lack_is_told() -> None:
    if DEFAULT_MODEL in bundled_models():
        assert find_model(DEFAULT_MODEL) == WEIGHTS / f"{DEFAULT_MODEL}.onnx"
        assert Classifier.load().facts.name == DEFAULT_MODEL
    else:
        with pytest.raises(ModelError, match=DEFAULT_MODEL):
            Classifier.load()


def test_paths_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        find_model(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="no such model file"):
        find_model("m.onnx")
    with pytest.raises(ModelError, match="tumorscope export"):
        find_model(tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"\x80\x04 not an ONNX file")
    with pytest.raises(ModelError, match=r"m\.onnx: not a model that ONNX Runtime can open"):
        Classifier.load(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": ""}, "says nothing of classes and input"),
        ({"text": "{"}, "metadata are damaged"),
        ({"text": "[]"}, "metadata are damaged"),
        ({"format": 2}, r"format 2, this tumorscope reads up to 1: .*pip install -U"),
        ({"preparation": 999}, "image preparation 999"),
        ({"thresholds": {}}, "lack 'confident'"),
        ({"temperature": "warm"}, "metadata are damaged"),
        ({"thresholds": {"confident": [0.9]}}, "lack a threshold for each class"),
        ({"thresholds": {"confident": [0.9] * 5}}, "lack a threshold for each class"),
        ({"thresholds": {"confident": [0.9, 2, 0.9, 0.9]}}, "lack a threshold for each class"),
        ({"thresholds": {"confident": [0.9, float("nan"), 1, 1]}}, "lack a threshold for each"),
        ({"thresholds": {"confident": [0.9] * 4, "series": 7}}, "metadata are damaged"),
        *(
            ({"thresholds": {"confident": [0.9] * 4, **more}}, "a threshold that is none")
            for more in (
                {"ood_threshold": float("nan")},
                {"series": {"confident": -1}},
                {"series": {"confident": float("nan")}},
                {"series": {"offset": float("inf")}},
            )
        ),
        ({"classes": "abcd"}, "no list of classes"),
        ({"classes": ["glioma", "glioma", "notumor", "pituitary"]}, "no two different classes"),
    ],
)
def test_metadata_that_do_not_fit(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = write_model(tmp_path / "m.onnx", **changes)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=message) as caught:
        Classifier.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("lacking", sorted(metadata()))
def test_every_fact_is_needed(lacking: str) -> None:
    facts = metadata()
    del facts[lacking]
    with pytest.raises(ModelError, match=f"lack '{lacking}'"):
        read_facts(json.dumps(facts), Path("m.onnx"))


def test_network_that_does_not_fit_its_metadata(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    text = json.dumps(metadata(input_size=64))
    onnx.helper.set_model_props(model, {"tumorscope": text})
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"not the expected network .*\[N,1,64,64\]"):
        Classifier.load(path)


def test_providers(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    assert Classifier.load(path, providers=["cpu"]).facts.name == "small"
    with pytest.raises(
        ModelError, match=r"unknown execution provider 'gpu': choose from cpu, cuda"
    ):
        Classifier.load(path, providers=["gpu"])
    installed = onnxruntime.get_available_providers()
    missing = next(name for name, value in PROVIDERS.items() if value not in installed)
    with pytest.raises(ModelError, match=f"'{missing}' is not in this ONNX Runtime .*cpu"):
        Classifier.load(path, providers=[missing])
