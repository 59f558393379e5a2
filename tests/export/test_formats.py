"""`tumorscope export`: every format agrees with the network, or no file is left."""

import json
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from tumorscope.classes import ANY_TUMOUR, CLASSES
from tumorscope.cli import export as command
from tumorscope.cli import main as cli
from tumorscope.datasets.sources import read_data
from tumorscope.errors import DataError, MissingExtraError, ModelError
from tumorscope.export import (
    FORMATS,
    Tolerance,
    export_run,
    formats,
    tensorrt_engine,
    verify,
)
from tumorscope.export.fp16 import to_fp16
from tumorscope.export.onnx_file import build_onnx
from tumorscope.export.quantization import quantize
from tumorscope.export.samples import read_sample
from tumorscope.export.served_network import INPUT_NAME
from tumorscope.export.verification import open_exported
from tumorscope.images import prepare
from tumorscope.inference import DEFAULT_MODEL, Classifier
from tumorscope.inference.model_file import find_model
from tumorscope.inference.runtimes import to_inputs
from tumorscope.networks.litenet import LiteNet
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import TrainedNetwork, load_weights

without_tensorrt = pytest.mark.skipif(
    find_spec("tensorrt") is not None, reason="TensorRT's Python package is installed"
)

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs `tumorscope export …`: status, standard output, standard error."""
    monkeypatch.setitem(cli.COMMANDS, "export", command.__doc__ or "")

    def run(*words: object) -> tuple[int, str, str]:
        status = cli.main(["export", *(str(word) for word in words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture(scope="module")
def network(trained: Path) -> TrainedNetwork:
    return load_weights(RunFolder(trained).weights_file)


@pytest.fixture
def moved(trained: Path, tmp_path: Path) -> RunFolder:
    """The run, with its data somewhere else than it was."""
    folder = tmp_path / "moved"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
    run = RunFolder(folder)
    facts = run.data() | {"data": [str(tmp_path / "nowhere")]}
    run.data_file.write_text(json.dumps(facts))
    return run


def pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (count, 32, 32), dtype=np.uint8)


def test_file_and_network_agree_at_three_zooms(
    trained: Path, tmp_path: Path, network: TrainedNetwork
) -> None:
    exported = export_run(RunFolder(trained), "onnx", tmp_path / "m.onnx", check=False)
    grey = pictures(5)
    said = Classifier.load(exported.path, tta=True).probabilities(grey, batch_size=2)
    assert said == pytest.approx(network.probabilities(grey, tta=True), abs=1e-5)
    assert np.abs(said - network.probabilities(grey)).max() > 5e-4  # (so the line above can tell)
    assert network.probabilities(grey[:0], tta=True).shape == (0, said.shape[1])


@pytest.mark.parametrize("name", ["onnx", "onnx-fp16", "torchscript", "openvino"])
def test_a_format_agrees_with_the_network(trained: Path, tmp_path: Path, name: str) -> None:
    if name == "openvino":
        pytest.importorskip("openvino")
    target = tmp_path / FORMATS[name].file
    exported = export_run(RunFolder(trained), name, target)
    found = exported.verification
    assert found is not None
    assert exported.path == target
    assert exported.origin == "the run's validation slices"
    counts = RunFolder(trained).data()["counts"]["validation"]
    assert found.images == sum(counts.values())
    assert 0 <= found.mean_difference <= found.largest_difference
    assert found.largest_difference <= (FORMATS[name].tolerance.probability or 0)
    assert found.label_agreement == 1.0
    assert found.accuracy == found.network_accuracy
    assert found.heatmap_difference is not None
    assert found.heatmap_difference < (1e-2 if name == "onnx-fp16" else 1e-4)
    assert found.milliseconds > 0
    written = target.rglob("*") if target.is_dir() else [target]
    assert found.size == sum(path.stat().st_size for path in written)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    json.dumps(exported.to_json())


def test_half_precision_keeps_its_ports(trained: Path, tmp_path: Path) -> None:
    path = export_run(RunFolder(trained), "onnx-fp16", tmp_path / "m.onnx", check=False).path
    model = onnx.load(path)
    ports = [*model.graph.input, *model.graph.output]
    assert {port.type.tensor_type.elem_type for port in ports} == {TensorProto.FLOAT}
    weights = [item for item in model.graph.initializer if len(item.dims) == 4]
    assert weights
    assert {item.data_type for item in weights} == {TensorProto.FLOAT16}
    assert [item.key for item in model.metadata_props] == ["tumorscope"]


def test_half_precision_spares_what_is_delicate() -> None:
    model = onnx.load(find_model(DEFAULT_MODEL))
    half = to_fp16(model, keep_fp32=LiteNet.keep_fp32[16])
    types = {item.name: item.data_type for item in half.graph.initializer}
    convolutions = [node for node in half.graph.node if node.op_type == "Conv"]
    early = {f"/{name}/" for name in ("stem", "stages.0", "stages.1", "stages.2")}
    for node in convolutions:
        spared = any(name in node.name for name in early)
        assert (types[node.input[1]] == TensorProto.FLOAT) == spared, node.name
    assert half.ByteSize() < 0.55 * model.ByteSize()
    phantoms = [
        draw_phantom(label, plane="axial", patient_seed=1, slice_number=2).image
        for label in CLASSES
    ]
    inputs = to_inputs(np.stack([prepare(image, 160) for image in phantoms]))
    answers = [
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, {INPUT_NAME: inputs})[0]
        for each in (model, half)
    ]
    assert np.abs(answers[0] - answers[1]).max() < 1e-2


def test_eight_bits_for_each_channel(trained: Path, tmp_path: Path) -> None:
    exported = export_run(RunFolder(trained), "onnx-int8", tmp_path / "m.onnx", check=False)
    assert exported.verification is None
    model = onnx.load(exported.path)
    assert [item.key for item in model.metadata_props] == ["tumorscope"]
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 13)]
    values = {item.name: item for item in model.graph.initializer}
    made = {output: node for node in model.graph.node for output in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    eight, full = [], []
    for node in convolutions:
        source = made.get(node.input[1])
        (eight if source and source.op_type == "DequantizeLinear" else full).append((node, source))
    # The class maps are computed in float, so that a heatmap is no coarser than the network's.
    assert [list(node.output) for node, _ in full] == [["heatmap"]]
    for _, source in eight:
        weights, scales = (numpy_helper.to_array(values[name]) for name in source.input[:2])
        assert weights.dtype == np.int8
        assert scales.shape == (len(weights),)
    assert exported.missing == (
        "DequantizeLinear of 32-bit integers",
        "DequantizeLinear of unsigned or shifted values",
        "QuantizeLinear of unsigned or shifted values",
    )


def test_eight_bits_are_verified_by_accuracy(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three epochs leave probabilities near a tie, where a rounding changes the label: any loss
    # will do here.
    target = tmp_path / "m.onnx"
    loose = replace(FORMATS["onnx-int8"], tolerance=Tolerance(accuracy=1.0))
    monkeypatch.setitem(formats.FORMATS, "onnx-int8", loose)
    assert str(loose.tolerance) == "at most 100 points of accuracy lost"
    found = export_run(RunFolder(trained), "onnx-int8", target).verification
    assert found is not None
    assert 0 < found.mean_difference < 0.05
    strict = replace(FORMATS["onnx-int8"], tolerance=Tolerance(accuracy=-1.0))
    monkeypatch.setitem(formats.FORMATS, "onnx-int8", strict)
    with pytest.raises(ModelError, match="points of accuracy are lost"):
        export_run(RunFolder(trained), "onnx-int8", tmp_path / "n.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_quantised_answers_stay_near(network: TrainedNetwork, tmp_path: Path) -> None:
    grey = pictures(40)
    path = tmp_path / "m.onnx"
    model = quantize(build_onnx(network), grey)
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (said,) = session.run(["probabilities"], {"grey": grey[:, None].astype(np.float32)})
    assert np.abs(said - network.probabilities(grey)).mean() < 0.03


def test_tumours_of_unknown_kind_are_no_sample(network: TrainedNetwork, phantoms: Path) -> None:
    first, second, *others = read_data([phantoms]).slices
    unnamed = replace(first, label=ANY_TUMOUR)
    sample = read_sample([unnamed, second, *others[:3]], network.description, origin="phantoms")
    assert len(sample.grey) == len(sample.labels) == 4
    assert sample.labels[0] == network.description.classes.index(second.label)


def test_a_sample_shows_the_slices_of_a_volume_as_they_were_read(
    network: TrainedNetwork, tmp_path: Path, draw: Callable[..., Path]
) -> None:
    draw(tmp_path / "glioma" / "P2.png", 1)
    grid = np.indices((40, 44, 48)).transpose(1, 2, 3, 0) - np.array([20, 22, 24])
    head = (np.linalg.norm(grid / np.array([16, 18, 20]), axis=-1) < 1) * (100.0 + grid[..., 2])
    (tmp_path / "notumor").mkdir()
    nibabel.save(nibabel.Nifti1Image(head, np.eye(4)), tmp_path / "notumor" / "P1.nii.gz")
    sample = read_sample(read_data([tmp_path]).slices, network.description, origin="a set")
    shown = [prepare(sample.picture(number), 32) for number in range(len(sample.grey))]
    assert len(shown) > 30
    np.testing.assert_array_equal(shown, sample.grey)


def test_eight_bits_with_a_fixed_batch(trained: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    exported = export_run(RunFolder(trained), "onnx-int8", target, batch=3, check=False)
    fixed, free = open_exported(exported.path), tmp_path / "free.onnx"
    assert fixed.batch == 3
    export_run(RunFolder(trained), "onnx-int8", free, check=False)
    expected, given = open_exported(free).run(pictures(7)), fixed.run(pictures(7))
    assert given.keys() == expected.keys()
    for name, values in given.items():
        np.testing.assert_allclose(values, expected[name], atol=1e-4)


def test_a_fixed_batch_is_verified_too(trained: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    exported = export_run(RunFolder(trained), "onnx", target, batch=4)
    assert exported.verification is not None
    assert exported.verification.largest_difference < 1e-4
    model = open_exported(target)
    assert model.batch == 4
    few, many = model.run(pictures(3)), model.run(pictures(10))
    assert {name: len(values) for name, values in few.items()} == dict.fromkeys(many, 3)
    np.testing.assert_allclose(many["logits"][:3], few["logits"], atol=1e-6)


def test_too_far_from_the_network_leaves_what_was_there(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = replace(FORMATS["onnx-fp16"], tolerance=Tolerance(probability=0.0))
    monkeypatch.setitem(formats.FORMATS, "onnx-fp16", strict)
    target = tmp_path / "m.onnx"
    with pytest.raises(ModelError, match=r"m\.onnx on .*: a probability differs .* by .*allowed"):
        export_run(RunFolder(trained), "onnx-fp16", target)
    assert list(tmp_path.iterdir()) == []
    target.write_text("the one before")
    with pytest.raises(ModelError):
        export_run(RunFolder(trained), "onnx-fp16", target)
    assert target.read_text() == "the one before"


def test_another_network_is_found_out(
    trained: Path, tmp_path: Path, network: TrainedNetwork
) -> None:
    path = export_run(RunFolder(trained), "onnx", tmp_path / "m.onnx", check=False).path
    warmer = replace(network.description, temperature=network.description.temperature * 3)
    other = TrainedNetwork(network.network, warmer)
    grey = pictures(6)
    found = verify(other, path, grey, network.probabilities(grey).argmax(axis=1))
    assert found.label_agreement == found.accuracy == 1.0
    with pytest.raises(ModelError, match="differs from the trained network's"):
        found.check(Tolerance(probability=1e-4), "m.onnx")
    found.check(Tolerance(accuracy=0.003), "m.onnx")
    found.check(Tolerance(), "m.onnx")
    with pytest.raises(ModelError, match=r"50\.00 points .* lost, and 0\.3 are"):
        replace(found, accuracy=0.5).check(Tolerance(accuracy=0.003), "m.onnx")
    with pytest.raises(ModelError, match="no numbers"):
        replace(found, largest_difference=float("nan")).check(Tolerance(), "m.onnx")


def test_openvino_holds_the_metadata(trained: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    target = tmp_path / "model_openvino"
    for _ in range(2):  # the second time over the first
        export_run(RunFolder(trained), "openvino", target, check=False)
    assert sorted(path.name for path in target.iterdir()) == ["model.bin", "model.xml"]
    model = openvino.Core().read_model(target / "model.xml")
    facts = json.loads(model.get_rt_info("tumorscope").astype(str))
    assert facts["input_size"] == 32
    assert facts["recipe"] == RunFolder(trained).recipe().model_dump()
    (target / "model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="not a model that OpenVINO can open"):
        open_exported(target)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("m.onnx", b"", "ONNX"),
        ("m.onnx", b"\x08\x07\x12\x07pytorch" * 9, "ONNX"),
        ("m.torchscript", b"no archive", "not a TorchScript model, or damaged"),
        ("m.pt", b"", "no known kind of model"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError, match=reason) as caught:
        open_exported(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cut_file_is_one_line(trained: Path, tmp_path: Path) -> None:
    for name in ("onnx", "torchscript"):
        path = export_run(RunFolder(trained), name, tmp_path / FORMATS[name].file, check=False).path
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ModelError) as caught:
            open_exported(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="no such file"):
        open_exported(tmp_path / "none.onnx")


def test_data_that_is_gone_is_said(moved: RunFolder, phantoms: Path, tmp_path: Path) -> None:
    exported = export_run(moved, "onnx")
    assert exported.origin == "phantoms"
    assert exported.path == moved.path / "model.onnx"
    again = export_run(moved, "onnx", data=[phantoms])
    assert again.origin == "the run's validation slices"
    with pytest.raises(DataError, match="no such folder"):
        export_run(moved, "onnx", data=[tmp_path / "elsewhere"])
    with pytest.raises(DataError, match="nowhere"):
        export_run(moved, "onnx-int8")
    assert not (moved.path / "model-int8.onnx").exists()


def test_other_data_is_not_the_runs(moved: RunFolder, draw: Callable[..., Path]) -> None:
    folder = moved.path.parent / "other"
    for label in ("glioma", "notumor"):
        draw(folder / label / f"{label}.png", 5, label=label)
    with pytest.raises(DataError, match="none of the run's validation slices"):
        export_run(moved, "onnx", data=[folder])


def test_the_command_shows_the_comparison(say: Say, trained: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    status, out, _ = say(trained, "--out", target)
    assert status == 0
    for text in ("same label", "100.00%", "ONNX Runtime", "allowed: probabilities within 0.0001"):
        assert text in out
    assert f"written: {target}" in out
    assert "Research use only" in out
    assert target.is_file()


def test_the_command_speaks_json(say: Say, trained: Path, tmp_path: Path) -> None:
    words = ("--opset", "newest", "--batch", "2", "--json", "-")
    status, out, _ = say(trained, "--out", tmp_path / "m.onnx", *words)
    assert status == 0
    facts = json.loads(out)
    assert facts["format"] == "onnx"
    assert facts["verification"]["label_agreement"] == 1.0
    assert facts["missing_in_tensorrt_8_2"][0].startswith("operator set")


def test_the_command_says_what_is_not_verified(
    say: Say, trained: Path, moved: RunFolder, tmp_path: Path
) -> None:
    words = (trained, "--format", "onnx-int8", "--out", tmp_path / "m.onnx", "--no-verify")
    status, out, _ = say(*words)
    assert status == 0
    assert "written, not verified" in out
    assert "not for a Jetson Nano: TensorRT 8.2 has no DequantizeLinear" in out
    status, out, _ = say(moved.path, "--out", tmp_path / "p.onnx")
    assert status == 0
    assert "Those are phantoms" in out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--batch", "many"), "--batch takes a number or 'dynamic', not 'many'"),
        (("--opset", "old"), "--opset takes a number or 'newest', not 'old'"),
        (("--opset", "7"), "operator set 7 is not on offer"),
        (("--out", "model.pt"), "ends in .onnx"),
        (("--format", "openvino", "--out", "model.xml"), "it is a folder"),
        (("--format", "torchscript", "--batch", "2"), "takes any batch"),
    ],
)
def test_bad_usage_is_one_line(
    say: Say, trained: Path, words: tuple[str, ...], reason: str
) -> None:
    status, _, err = say(trained, *words)
    assert status == 2
    assert reason in err
    assert err.count("\n") == 1


def test_no_run_folder_is_one_line(say: Say, tmp_path: Path) -> None:
    status, _, err = say(tmp_path)
    assert status == 2
    assert err.count("\n") == 1


def test_an_unknown_format_is_one_line(trained: Path) -> None:
    with pytest.raises(ModelError, match="no format 'tflite': it is one of onnx,"):
        export_run(RunFolder(trained), "tflite")


def test_a_missing_package_is_named(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    target = tmp_path / "model_openvino"
    status, _, err = say(trained, "--format", "openvino", "--out", target)
    assert status == 2
    assert "pip install 'tumorscope[openvino]'" in err
    assert list(tmp_path.iterdir()) == []
    target.mkdir()
    with pytest.raises(MissingExtraError, match="openvino"):
        open_exported(target)


@without_tensorrt
def test_tensorrt_is_named_where_it_is_missing(
    say: Say, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    words = (trained, "--format", "tensorrt", "--out", tmp_path / "m.engine")
    status, _, err = say(*words)
    assert status == 2
    assert "no TensorRT here" in err
    status, _, err = say(*words, "--opset", "newest")
    assert status == 2
    assert "TensorRT 8.2 has no operator set" in err
    assert list(tmp_path.iterdir()) == []


def test_an_engine_answers_as_the_network(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT needs an NVIDIA GPU")
    for batch in (None, 2):
        exported = export_run(RunFolder(trained), "tensorrt", tmp_path / "m.engine", batch=batch)
        assert exported.verification is not None
        assert exported.verification.runtime == "TensorRT"


class _Builder:
    """Stands in for TensorRT's builder, parser and profile, which need a GPU: notes the calls."""

    def __init__(self, *, parses: bool = True, engine: bytes | None = b"engine") -> None:
        self.parses, self.engine, self.calls = parses, engine, list[tuple[object, ...]]()

    def module(self, **flags: int) -> SimpleNamespace:
        return SimpleNamespace(
            Logger=_Logger,
            Builder=lambda _logger: self,
            OnnxParser=lambda _network, _logger: self,
            NetworkDefinitionCreationFlag=SimpleNamespace(**flags),
        )

    def create_network(self, flags: int) -> None:
        self.calls.append(("network", flags))

    def parse(self, content: bytes) -> bool:
        onnx.checker.check_model(content)
        return self.parses

    def get_error(self, number: int) -> SimpleNamespace:
        return SimpleNamespace(desc=lambda: f"error {number}")

    def create_builder_config(self) -> "_Builder":
        return self

    create_optimization_profile = create_builder_config

    def set_shape(self, *shape: object) -> None:
        self.calls.append(shape)

    def add_optimization_profile(self, profile: object) -> None:
        assert profile is self

    def build_serialized_network(self, _network: object, _config: object) -> bytes | None:
        return self.engine


class _Logger:
    ERROR = 1

    def __init__(self, level: int) -> None:
        assert level == self.ERROR


@without_tensorrt
def test_tensorrt_is_asked_for_an_engine(
    network: TrainedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_engine, "find_spec", lambda _name: True)
    model, target = build_onnx(network), tmp_path / "m.engine"
    new, old = _Builder(), _Builder()
    monkeypatch.setitem(sys.modules, "tensorrt", new.module())
    tensorrt_engine.write_engine(model, target)
    assert target.read_bytes() == b"engine"
    shapes = [[count, 1, 32, 32] for count in (1, 1, 32)]
    assert new.calls == [("network", 0), ("grey", *shapes)]
    monkeypatch.setitem(sys.modules, "tensorrt", old.module(EXPLICIT_BATCH=0))
    tensorrt_engine.write_engine(build_onnx(network, batch=1), target)
    assert old.calls == [("network", 1)]
    for broken, reason in (
        (_Builder(parses=False), "does not take the model: error 0"),
        (_Builder(engine=None), "could not build an engine"),
    ):
        monkeypatch.setitem(sys.modules, "tensorrt", broken.module())
        with pytest.raises(ModelError, match=reason):
            tensorrt_engine.write_engine(model, target)


_TRTEXEC = """#!/bin/sh
for word in "$@"; do
    case "$word" in
        --onnx=*) test -f "${word#--onnx=}" || exit 1 ;;
        --saveEngine=*) echo "$@" > "${word#--saveEngine=}" ;;
    esac
done
"""


@without_tensorrt
def test_trtexec_builds_the_engine(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script stands in for NVIDIA's program, which needs a GPU."""
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "trtexec"
    program.write_text(_TRTEXEC)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    target = tmp_path / "engines" / "m.engine"
    with pytest.raises(ModelError, match="--no-verify"):
        export_run(RunFolder(trained), "tensorrt", target)
    assert list(target.parent.iterdir()) == []
    export_run(RunFolder(trained), "tensorrt", target, check=False)
    said = target.read_text()
    assert "--minShapes=grey:1x1x32x32" in said
    assert "--maxShapes=grey:32x1x32x32" in said
    export_run(RunFolder(trained), "tensorrt", target, batch=1, check=False)
    assert "Shapes" not in target.read_text()
    program.write_text("#!/bin/sh\necho 'no CUDA device' >&2\nexit 1\n")
    with pytest.raises(ModelError, match="trtexec could not build an engine: no CUDA device"):
        export_run(RunFolder(trained), "tensorrt", target, check=False)
    assert [path.name for path in target.parent.iterdir()] == ["m.engine"]
