"""`tumorscope benchmark`: what is measured is what answers, and nothing is left out silently."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from small_model import SIDE, write_model
from tumorscope.cli import benchmark as command
from tumorscope.errors import DataError, ModelError
from tumorscope.inference import Classifier
from tumorscope.inference.model_file import open_model
from tumorscope.inference.runtimes import installed_runtimes
from tumorscope.latency import timing, timing_process
from tumorscope.latency.timing import benchmark, take_turns
from tumorscope.latency.timing_process import start_process
from tumorscope.progress import silent

needs_openvino = pytest.mark.skipif(
    "openvino" not in installed_runtimes(), reason="OpenVINO is not installed"
)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """One process of each runtime and a few files are enough here."""
    monkeypatch.setattr(timing, "_PROCESSES", 1)
    monkeypatch.setattr(command, "_DRAWN", 2)
    monkeypatch.setattr(command, "_SIDE", 64)
    monkeypatch.setattr(command, "_AT_LEAST", 8)


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "small.onnx")


@pytest.fixture
def pictures(tmp_path, draw):
    return [draw(tmp_path / "pictures" / f"{seed}.jpg", seed) for seed in range(3)]


def run(*words: object) -> int:
    """Run the command as `main` does, errors left to the caller."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


def test_what_is_timed_are_all_outputs_that_predict_asks_for(tmp_path, monkeypatch):
    model = open_model(write_model(tmp_path / "model.onnx", ood_score=1.0), threads=1)
    inputs = np.zeros((1, 1, SIDE, SIDE), np.float32)
    asked = []
    monkeypatch.setattr(timing, "take_turns", lambda asks, **_: asked.extend(asks.values()))
    timing._time_calls({"onnx": model}, inputs, 1, 1, silent)
    (ask,) = asked
    expected = Classifier(model).outputs(np.zeros((1, SIDE, SIDE), np.uint8))
    given = ask()
    assert given.keys() == expected.keys() == {"probabilities", "logits", "heatmap", "ood_score"}
    for name, values in given.items():
        assert np.array_equal(values, expected[name])


def test_turns_are_taken_in_order_and_warm_up_is_not_timed():
    calls: list[str] = []
    seconds = take_turns(
        {name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3, warm_up=2
    )
    assert "".join(calls) == "ab" * 5
    assert all(times.shape == (3,) and (times > 0).all() for times in seconds.values())


def test_figures_of_all_runtimes(model, pictures):
    result = benchmark(model, pictures, threads=1, calls=20)
    assert [item.runtime for item in result.runtimes] == list(installed_runtimes())
    assert (result.model, result.input_size, result.files) == ("small 0.1", SIDE, 3)
    assert result.size_bytes == model.stat().st_size
    assert not result.refused
    assert not result.unreadable
    for item in result.runtimes:
        assert 0 < item.p50_ms <= item.p95_ms <= item.p99_ms
        assert (item.latency_batch, item.throughput_batch) == (1, 32)
        # A process that starts, imports and reads takes longer than a call in a running one.
        assert item.cold_start_seconds * 1000 > item.p50_ms
        assert item.images_per_second > 0
        assert item.files_per_second > 0
        assert item.peak_memory_mib > 20


def test_fixed_batch(tmp_path, pictures):
    path = write_model(tmp_path / "two.onnx", batch=2, heatmap=False)
    (item,) = benchmark(path, pictures, runtimes=["onnx"], threads=1, calls=2).runtimes
    assert (item.latency_batch, item.throughput_batch) == (2, 2)


@needs_openvino
def test_a_runtime_that_refuses_the_model_is_named(model, pictures, monkeypatch):
    import openvino  # noqa: PLC0415

    # No small network is known that ONNX Runtime takes and OpenVINO does not, so a setting that
    # it refuses stands in for one.
    compile_model = openvino.compile_model
    monkeypatch.setattr(
        openvino, "compile_model", lambda m, d, s: compile_model(m, d, {**s, "NO_SUCH": 1})
    )
    result = benchmark(model, pictures, threads=1, calls=1)
    assert [item.runtime for item in result.runtimes] == ["onnx"]
    assert "OpenVINO" in result.refused["openvino"]
    with pytest.raises(ModelError, match="OpenVINO"):
        benchmark(model, pictures, runtimes=["openvino"], calls=1)


def test_unknown_runtime(model):
    with pytest.raises(ModelError, match="choose from onnx"):
        run(model, "--runtime", "torchscript")


def test_a_process_that_fails_says_why(tmp_path, pictures):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"broken\.onnx: not a model that ONNX Runtime can open"):
        start_process("onnx", path, threads=1, batch=1, picture=pictures[0])


def test_what_the_process_says(model, pictures, capsys):
    timing_process._answer("onnx", str(model), "1", "32", str(pictures[0]))
    answered, peak = capsys.readouterr().out.splitlines()
    assert answered == "answered"
    assert float(peak) > 20


def test_json_to_a_file_and_a_table(model, pictures, tmp_path, capsys):
    target = tmp_path / "figures.json"
    words = (model, "--images", pictures[0].parent, "--calls", 3, "--threads", 1)
    assert run(*words, "--runtime", "onnx", "--json", target) == 0
    record = json.loads(target.read_text())
    (item,) = record["runtimes"]
    assert (record["model"], record["threads"], record["calls"]) == ("small 0.1", 1, 3)
    assert record["files"] == 9  # Three pictures, as often as it takes to have eight.
    shown = capsys.readouterr().out
    assert f"onnx {onnxruntime.__version__}" in shown
    assert f"{item['p50_ms']:.2f}" in shown
    assert "Research use only" in shown


def test_phantoms_are_drawn_where_no_pictures_are_named(model, capsys):
    assert run(model, "--runtime", "onnx", "--calls", 1, "--threads", 1, "--json", "-") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["files"] == 8
    assert record["unreadable"] == []


def test_a_broken_picture_is_named_and_the_rest_measured(model, pictures, capsys):
    pictures[1].write_bytes(pictures[1].read_bytes()[:200])
    folder = pictures[0].parent
    words = ("--images", folder, "--runtime", "onnx", "--calls", 1, "--threads", 1)
    assert run(model, *words) == 1
    shown = capsys.readouterr().out
    assert shown.count(str(pictures[1])) == 1


def test_folders_without_a_picture(model, tmp_path):
    empty = tmp_path / "empty"
    with pytest.raises(DataError, match="no such folder"):
        run(model, "--images", empty)
    empty.mkdir()
    with pytest.raises(DataError, match="no JPEG or PNG"):
        run(model, "--images", empty)
    (empty / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="no picture can be read"):
        run(model, "--images", empty)


@pytest.mark.parametrize("words", [("--threads", "0"), ("--calls", "-1"), ("--calls", "many")])
def test_counts_are_checked(words):
    with pytest.raises(SystemExit):
        run("model.onnx", *words)


def test_torch_is_not_imported(model, pictures):
    code = (
        "import sys; from pathlib import Path; from tumorscope.latency.timing import benchmark;"
        "from tumorscope.cli import benchmark as command; model, picture = map(Path, sys.argv[1:]);"
        "command._show(benchmark(model, [picture], calls=1)); sys.exit('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(model), str(pictures[0])]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "files/s" in done.stdout


def test_peak_memory_is_the_process_own(model, pictures):
    ballast = np.ones(300 * 2**20, dtype=np.uint8)  # 300 MiB that only this process holds
    cost = start_process("onnx", model, threads=1, batch=1, picture=Path(pictures[0]))
    assert ballast.nbytes / 2**20 > cost.peak_mib


def test_peak_memory_where_there_is_no_proc(tmp_path, monkeypatch):
    pytest.importorskip("resource", reason="this system does not tell")
    told = timing_process._peak_mib()
    monkeypatch.setattr(timing_process, "_STATUS", tmp_path / "missing")
    # The same, or more: what this process's parent held may count.
    assert timing_process._peak_mib() >= 0.9 * told
