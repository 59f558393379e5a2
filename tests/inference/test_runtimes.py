"""Every runtime answers the same behind one interface, and what cannot be opened is one line."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from small_model import SIDE, write_model
from tumorscope.errors import MissingExtraError, ModelError
from tumorscope.inference.model_file import open_model
from tumorscope.inference.runtimes import (
    METADATA_KEY,
    Port,
    Runtime,
    installed_runtimes,
    open_runtime,
    runtime_version,
    to_inputs,
)

needs_openvino = pytest.mark.skipif(
    "openvino" not in installed_runtimes(), reason="OpenVINO is not installed"
)


def test_the_processor_is_the_first_runtime() -> None:
    assert installed_runtimes()[0] == "onnx"
    assert len(set(installed_runtimes())) == len(installed_runtimes())
    assert runtime_version("onnx") == onnxruntime.__version__


@pytest.mark.parametrize("batch", ["N", 2])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_runtime_gives_the_same_outputs(tmp_path: Path, batch: str | int, count: int) -> None:
    free = write_model(tmp_path / "free.onnx", ood_score=1.5)
    path = write_model(tmp_path / "model.onnx", batch=batch, ood_score=1.5)
    grey = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    session = onnxruntime.InferenceSession(free)
    names = [port.name for port in session.get_outputs()]
    expected = dict(zip(names, session.run(names, {"grey": to_inputs(grey)}), strict=True))
    assert names == ["probabilities", "logits", "heatmap", "ood_score"]
    for name in installed_runtimes():
        opened = open_runtime(path, runtime=name, threads=1)
        assert opened.batch == (None if batch == "N" else batch)
        assert opened.inputs == (Port("grey", (opened.batch, 1, SIDE, SIDE)),)
        for at_once in (1, 2, 32):
            outputs = opened.run(grey, at_once=at_once)
            assert list(outputs) == names
            for output, values in outputs.items():
                assert values == pytest.approx(expected[output], abs=1e-5), (name, output)


def test_a_model_says_the_same_of_itself_in_every_runtime(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx")
    facts = [open_model(path, runtime=name).facts for name in installed_runtimes()]
    assert facts[0].title == "small 0.1"
    assert all(other == facts[0] for other in facts)


@pytest.mark.parametrize("name", installed_runtimes())
def test_weights_in_a_file_beside_the_model_are_read(tmp_path: Path, name: str) -> None:
    model = onnx.load(write_model(tmp_path / "whole.onnx"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    grey = np.full((2, SIDE, SIDE), 90, dtype=np.uint8)
    parted, whole = (
        open_runtime(tmp_path / file, runtime=name) for file in ("m.onnx", "whole.onnx")
    )
    assert np.array_equal(parted.run(grey)["logits"], whole.run(grey)["logits"])


@pytest.mark.parametrize("name", installed_runtimes())
def test_a_model_that_says_nothing_of_itself_is_refused(tmp_path: Path, name: str) -> None:
    path = write_model(tmp_path / "bare.onnx", text="")
    assert open_runtime(path, runtime=name).metadata is None
    with pytest.raises(ModelError, match=f"no '{METADATA_KEY}' metadata"):
        open_model(path, runtime=name)


@pytest.mark.parametrize("name", installed_runtimes())
def test_what_is_no_model_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.onnx"
    for content in (b"", b"\x08\x07\x12\x07pytorch" * 9):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"m\.onnx: not a model that .* can open") as caught:
            open_runtime(path, runtime=name)
        assert "\n" not in str(caught.value)


def test_what_cannot_be_opened_here_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        open_runtime(tmp_path / "m.onnx")
    (tmp_path / "m.pt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"known are \.onnx, \.x, OpenVINO"):
        open_runtime(tmp_path / "m.pt", others={".x": open_runtime})
    with pytest.raises(ModelError, match="no runtime 'torchscript' here: choose from onnx"):
        open_runtime(tmp_path / "m.pt", runtime="torchscript")


def test_other_kinds_of_files_are_opened_by_who_knows_them(tmp_path: Path) -> None:
    path = tmp_path / "m.x"
    path.write_bytes(b"")
    runtime = Runtime(title="X", metadata=None, inputs=(), outputs=(), call=lambda _: ())
    assert open_runtime(path, others={".x": lambda _: runtime}) is runtime


@needs_openvino
def test_openvino_reads_its_own_folder_as_it_reads_onnx(tmp_path: Path) -> None:
    import openvino  # noqa: PLC0415

    path, folder = write_model(tmp_path / "m.onnx"), tmp_path / "folder"
    model = openvino.Core().read_model(path)
    model.set_rt_info("{}", METADATA_KEY)
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    opened, other = open_runtime(folder), open_runtime(path, runtime="openvino")
    assert opened.metadata == "{}"
    assert (opened.title, opened.inputs, opened.outputs) == (
        "OpenVINO",
        other.inputs,
        other.outputs,
    )
    grey = np.full((3, SIDE, SIDE), 77, np.uint8)
    for name, values in opened.run(grey).items():
        assert values == pytest.approx(other.run(grey)[name], abs=1e-6)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match="openvino"):
        open_runtime(tmp_path)
