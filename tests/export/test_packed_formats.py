"""Triton's model repository and MONAI's bundle: what these programs make of them is right."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from monai.bundle.scripts import run as run_bundle
from monai.bundle.scripts import verify_net_in_out
from PIL import Image

from small_model import write_model
from tumorscope.cli.main import main
from tumorscope.errors import ModelError
from tumorscope.export import FORMATS, export_run
from tumorscope.export.monai_bundle import open_monai_bundle
from tumorscope.export.triton_repository import open_triton
from tumorscope.images.reading import read_slice
from tumorscope.inference import Classifier
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.training.run_folder import RunFolder

_MODEL_CONFIG = """
name: "model_config.proto" package: "inference" syntax: "proto3"
enum_type { name: "DataType" value { name: "TYPE_INVALID" number: 0 }
    value { name: "TYPE_INT64" number: 9 } value { name: "TYPE_FP32" number: 11 } }
enum_type { name: "Kind" value { name: "KIND_AUTO" number: 0 }
    value { name: "KIND_CPU" number: 2 } }
message_type { name: "ModelInput"
    field { name: "name" number: 1 type: TYPE_STRING }
    field { name: "data_type" number: 2 type: TYPE_ENUM type_name: ".inference.DataType" }
    field { name: "dims" number: 4 type: TYPE_INT64 label: LABEL_REPEATED } }
message_type { name: "ModelOutput"
    field { name: "name" number: 1 type: TYPE_STRING }
    field { name: "data_type" number: 2 type: TYPE_ENUM type_name: ".inference.DataType" }
    field { name: "dims" number: 3 type: TYPE_INT64 label: LABEL_REPEATED }
    field { name: "label_filename" number: 4 type: TYPE_STRING } }
message_type { name: "ModelInstanceGroup"
    field { name: "count" number: 2 type: TYPE_INT32 }
    field { name: "kind" number: 4 type: TYPE_ENUM type_name: ".inference.Kind" } }
message_type { name: "ModelParameter" field { name: "string_value" number: 1 type: TYPE_STRING } }
message_type { name: "ModelConfig"
    field { name: "name" number: 1 type: TYPE_STRING }
    field { name: "backend" number: 17 type: TYPE_STRING }
    field { name: "max_batch_size" number: 4 type: TYPE_INT32 }
    field { name: "input" number: 5 type: TYPE_MESSAGE type_name: ".inference.ModelInput"
        label: LABEL_REPEATED }
    field { name: "output" number: 6 type: TYPE_MESSAGE type_name: ".inference.ModelOutput"
        label: LABEL_REPEATED }
    field { name: "instance_group" number: 7 type: TYPE_MESSAGE label: LABEL_REPEATED
        type_name: ".inference.ModelInstanceGroup" }
    field { name: "parameters" number: 14 type: TYPE_MESSAGE label: LABEL_REPEATED
        type_name: ".inference.ModelConfig.ParametersEntry" }
    nested_type { name: "ParametersEntry" options { map_entry: true }
        field { name: "key" number: 1 type: TYPE_STRING }
        field { name: "value" number: 2 type: TYPE_MESSAGE
            type_name: ".inference.ModelParameter" } } }
"""
"""The part of Triton's model_config.proto that is used, as a `FileDescriptorProto`."""


@pytest.fixture(scope="module")
def made(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Exports the run once in each format, verified."""
    folder = tmp_path_factory.mktemp("packed")

    def export(name: str) -> Path:
        path = folder / FORMATS[name].file
        if not path.exists():
            found = export_run(RunFolder(trained), name, path, name="head scans 2").verification
            assert found is not None
            assert found.label_agreement == 1.0
            assert found.heatmap_difference is not None
            assert found.heatmap_difference < 1e-2
        return path

    return export


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Pictures that readers disagree about, and files that none can read."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for label in ("glioma", "meningioma", "notumor", "pituitary"):
        drawn = draw_phantom(label, plane="axial", patient_seed=1, slice_number=2, size=96).image
        Image.fromarray(drawn[:80]).save(folder / f"{label}.png")
    Image.fromarray(drawn.astype(np.uint16) * 16).save(folder / "twelve bits.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(drawn).save(folder / "turned.jpg", exif=turned)
    Image.new("L", (64, 64)).save(folder / "black.png")
    (folder / "notes.txt").write_text("no scan")
    return folder


def model_config(path: Path) -> Any:
    """Parses a configuration as Triton does: a field that it does not know is an error."""
    file = text_format.Parse(_MODEL_CONFIG, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))
    return text_format.Parse(path.read_text(encoding="utf-8"), kind())


def test_triton_is_told_what_the_model_takes_and_gives(made: Callable[[str], Path]) -> None:
    (folder,) = (path for path in made("triton").iterdir() if path.is_dir())
    config, model = model_config(folder / "config.pbtxt"), onnx.load(folder / "1" / "model.onnx")
    assert config.name == folder.name == "head-scans-2"
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 0)
    assert [(group.kind, group.count) for group in config.instance_group] == [(2, 1)]
    for told, ports in ((config.input, model.graph.input), (config.output, model.graph.output)):
        assert [(port.name, list(port.dims)) for port in told] == [
            (port.name, [side.dim_value or -1 for side in port.type.tensor_type.shape.dim])
            for port in ports
        ]
        assert {port.data_type for port in told} == {11}
        assert {port.type.tensor_type.elem_type for port in ports} == {onnx.TensorProto.FLOAT}
    assert list(config.input[0].dims) == [1, -1, -1]
    (metadata,) = model.metadata_props
    assert config.parameters["tumorscope"].string_value == metadata.value
    facts = json.loads(metadata.value)
    (labelled,) = (port for port in config.output if port.label_filename)
    assert labelled.name == "probabilities"
    assert (folder / labelled.label_filename).read_text().split() == facts["classes"]
    page = (folder.parent / "README.md").read_text()
    for text in ("tritonserver --model-repository", 'infer("head-scans-2"', facts["intended_use"]):
        assert text in page


def test_monai_runs_the_bundle(
    made: Callable[[str], Path],
    trained: Path,
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = made("monai-bundle")
    monkeypatch.setattr(sys, "path", [*sys.path])
    run_bundle(
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
        dataset_dir=str(scans),
        output_dir=str(tmp_path / "eval"),
    )
    with (tmp_path / "eval" / "predictions.csv").open(newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert rows.keys() == {path.name for path in scans.iterdir()}
    assert rows.pop("notes.txt")["error"] == "not a JPEG, PNG, TIFF, BMP, GIF or WebP picture"
    model = export_run(RunFolder(trained), "onnx", tmp_path / "model.onnx", check=False).path
    for answer in Classifier.load(model).predict(sorted(path for path in scans.glob("*.*g"))):
        row = rows.pop(Path(answer.path).name)
        assert (row["label"], row["verdict"]) == (answer.label or "", answer.verdict)
        for name, probability in (answer.probabilities or {}).items():
            assert float(row[f"probability_{name}"]) == pytest.approx(probability, abs=1e-3)
    assert rows == {}


def test_monai_finds_the_metadata_right(
    made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = made("monai-bundle")
    metadata = bundle / "configs" / "metadata.json"
    monkeypatch.syspath_prepend(bundle)
    verify_net_in_out(
        "network_def",
        meta_file=str(metadata),
        config_file=str(bundle / "configs" / "inference.json"),
        any=48,
        bundle_root=str(bundle),
    )
    facts = json.loads(metadata.read_text())
    # What meta_schema_20240725.json requires.
    words = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task")
    for name in (*words, "description", "authors", "copyright", "intended_use", "pred_classes"):
        assert isinstance(facts[name], str), name
        assert facts[name], name
    for name in ("required_packages_version", "changelog"):
        assert all(isinstance(value, str) for value in facts[name].values())
    assert facts["references"] == []
    ports = [*facts["network_data_format"].values()]
    assert [list(port) for port in ports] == [["image"], ["pred"]]
    for port in (ports[0]["image"], ports[1]["pred"]):
        assert {type(side) for side in port["spatial_shape"]} <= {str, int}
        assert {"type", "format", "num_channels", "dtype", "value_range"} <= port.keys()
    assert ports[1]["pred"]["channel_def"]["2"] == "notumor"
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {"docs/README.md", "LICENSE", "models/model.onnx", "configs/logging.conf"} < files
    assert not any(name.endswith(".pyc") for name in files)


def test_a_bundle_reads_a_slice_as_the_package_does(
    made: Callable[[str], Path], scans: Path
) -> None:
    bundle = made("monai-bundle")
    opened = open_monai_bundle(bundle)
    plain = made("triton")
    for name in ("twelve bits.png", "turned.jpg"):
        pixels = read_slice(scans / name)[None].astype(np.float32)
        expected, given = open_triton(plain).ask(pixels), opened.ask(pixels)
        assert given.keys() == expected.keys()
        for port, values in given.items():
            np.testing.assert_array_equal(values, expected[port])


@pytest.mark.parametrize("name", ["triton", "monai-bundle"])
def test_a_model_file_is_packed_too(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "small.onnx", license="CC BY-NC-SA 4.0", name='a "b" / c')
    out = tmp_path / "made" / name
    words = ["export", str(model), "--format", name, "--out", str(out)]
    assert main([*words, "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["path"] == str(out)
    assert 0 <= said["largest_difference"] < 1e-3
    page = next(out.rglob("README.md")).read_text()
    assert "CC BY-NC-SA 4.0" in page
    if name == "triton":
        (config,) = out.glob("*/config.pbtxt")
        assert config.parent.name == model_config(config).name == "a-b-c"
    else:
        assert "creativecommons.org/licenses/by-nc-sa/4.0" in (out / "LICENSE").read_text()
    # An earlier one goes; what else stands there does not.
    assert main([*words, "--no-verify"]) == 0
    (out / "mine").mkdir()
    assert main(words) == 2
    assert "holds 'mine', too: name another folder" in capsys.readouterr().err
    (out / "mine").rmdir()
    second = next(out.rglob("model.onnx")).parents[1] / "2" / "model.onnx"
    second.parent.mkdir()
    second.touch()
    assert main(words) == 2
    assert f"holds '{second.parent.relative_to(out)}', too" in capsys.readouterr().err
    assert second.exists()
    (tmp_path / "file").touch()
    assert main([*words[:-1], str(tmp_path / "file")]) == 2
    assert "file: is a file, and a folder is written" in capsys.readouterr().err
    assert [path.name for path in out.parent.iterdir()] == [name]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--input", "prepared"), "takes pixels: leave out --input prepared"),
        (("--batch", "4"), "one slice a call, not 4"),
        (("--opset", "17"), "of operator set 17"),
    ],
)
def test_what_does_not_fit_is_one_line(
    trained: Path, tmp_path: Path, words: tuple[str, ...], reason: str, capsys: Any
) -> None:
    command = ["export", str(trained), "--format", "triton", "--out", str(tmp_path / "t"), *words]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model repository"):
        open_triton(tmp_path)
    with pytest.raises(ModelError, match="no MONAI bundle"):
        open_monai_bundle(tmp_path)
