"""The way over TensorRT, with stand-ins for it: there is no GPU here.

The stand-ins in `tests/standins` have the names, signatures and options of TensorRT 8.2, 10 and
11, and
let ONNX Runtime compute. So what is tested is that the board's files keep to these interfaces: that
ports are found, memory is copied, engines belong to their board. Nothing is said about arithmetic.
"""

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bundles import STANDINS, answers, make_bundle, run_in
from tumorscope.classes import CLASSES
from tumorscope.jetson.board import classify, cuda, engine, verify
from tumorscope.jetson.board import golden as golden_answers
from tumorscope.jetson.board.engines import INPUT, TensorRT
from tumorscope.jetson.board.folder import BoardError, read_facts

NANO = "NVIDIA Jetson Nano Developer Kit\0"
DECISIONS = Path(__file__).parents[2] / "inference" / "decisions.json"
GENERATIONS = {"8": "8.2.1.9", "10": "10.3.0", "11": "11.0.0"}
TARGETS = {"8": "jetson-nano", "10": "orin-jp6", "11": "thor"}


@pytest.fixture(scope="module")
def cudart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the stand-in for CUDA's runtime library."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("cuda")
    words = ("-shared", "-fPIC", STANDINS / "cudart.c", "-o", folder / "libcudart.so")
    subprocess.run([compiler, *map(str, words)], check=True)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("board"))


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "bundle")


def variables(cudart: Path, generation: str) -> dict[str, str]:
    """What stands for a board with that TensorRT."""
    return {
        "PATH": f"{STANDINS / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "PYTHON": sys.executable,
        "PYTHONPATH": f"{STANDINS}:{STANDINS / ('tensorrt_' + generation)}",
        "LD_LIBRARY_PATH": str(cudart),
        "STANDIN_TENSORRT": generation,
    }


@pytest.mark.parametrize("generation", GENERATIONS)
def test_an_engine_is_built_verified_and_used(
    tmp_path: Path, cudart: Path, generation: str
) -> None:
    board = variables(cudart, generation)
    bundle = make_bundle(tmp_path, target=TARGETS[generation])
    result = run_in(bundle, "build_engine.sh", "--any-board", python="/bin/bash", **board)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in bundle.glob("model.engine*")) == [
        "model.engine",
        "model.engine.json",
    ]
    log = (bundle / "build_engine.log").read_text()
    precision = {"8": "--fp16", "10": "--stronglyTyped", "11": ""}[generation]
    assert [
        word for word in log.split() if word in ("--fp16", "--int8", "--stronglyTyped")
    ] == precision.split()
    assert "--timingCacheFile=timing.cache" in log
    memory = {
        "8": "--workspace=512",
        "10": "--memPoolSize=workspace:1024",
        "11": "--memPoolSize=workspace:4096",
    }
    assert memory[generation] in log
    said = json.loads((bundle / "model.engine.json").read_text())
    assert said["tensorrt"] == GENERATIONS[generation]
    result = run_in(bundle, "verify.py", **board)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"PASS: small 0.1, TensorRT {GENERATIONS[generation]}" in result.stdout
    result = run_in(bundle, "classify.py", "golden", "--overlay", "o", **board)
    assert result.returncode == 0, result.stderr
    onnx_says = run_in(bundle, "classify.py", "golden", "--runtime", "onnx")
    for first, second in zip(answers(result.stdout), answers(onnx_says.stdout), strict=True):
        del first["milliseconds"], second["milliseconds"]
        assert first == second
    result = run_in(bundle, "benchmark.py", "--calls", 3, "--json", **board)
    assert json.loads(result.stdout)["runtime"] == f"TensorRT {GENERATIONS[generation]}"


@pytest.mark.parametrize(
    ("words", "changes", "line"),
    [
        ((), {}, "wrong board: this bundle is for jetson-nano, this is 'no Jetson"),
        (("--any-board",), {"PYTHONPATH": ""}, "no TensorRT for this Python"),
        (("--any-board",), {"PATH": "/usr/bin:/bin"}, "trtexec is neither on the PATH nor"),
        (("--any-board",), {"STANDIN_FAILS": "1"}, "[E] Error: out of memory"),
    ],
)
def test_what_keeps_an_engine_from_being_built(
    bundle: Path, cudart: Path, words: tuple[str, ...], changes: dict[str, str], line: str
) -> None:
    board = variables(cudart, "8") | changes
    result = run_in(bundle, "build_engine.sh", *words, python="/bin/bash", **board)
    assert result.returncode == 2
    assert line in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(bundle.glob("model.engine*"))


@pytest.fixture(params=GENERATIONS)
def board(
    request: pytest.FixtureRequest,
    bundle: Path,
    cudart: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """This process as a Jetson Nano with an engine in the bundle."""
    (tmp_path / "model").write_text(NANO)
    monkeypatch.setattr(engine, "DEVICE_TREE", tmp_path / "model")
    monkeypatch.setattr(cuda, "_NAMES", (str(cudart / "libcudart.so"),))
    monkeypatch.syspath_prepend(STANDINS)
    monkeypatch.syspath_prepend(STANDINS / f"tensorrt_{request.param}")
    sys.modules.pop("tensorrt", None)
    monkeypatch.chdir(bundle)
    assert engine.main(["check"], bundle) == 0
    shutil.copyfile("model.onnx", "model.engine")
    assert engine.main(["describe"], bundle) == 0
    yield bundle
    sys.modules.pop("tensorrt", None)


def test_the_engine_answers_by_either_interface(board: Path) -> None:
    facts = read_facts(board)
    runtime = TensorRT(board, facts)
    golden = golden_answers.read_golden(board)
    assert golden_answers.check_answers(facts, golden, runtime, 1e-6) == []
    first = runtime.ask(golden["inputs"][0])
    kept = first["logits"].copy()
    runtime.ask(golden["inputs"][-1])
    np.testing.assert_array_equal(first["logits"], kept)  # The memory is used again, not shared.
    assert INPUT not in first


def _edit(**changes: str) -> Callable[[Path], None]:
    def edit(bundle: Path) -> None:
        path = bundle / "model.engine.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no engine": (lambda folder: (folder / "model.engine").unlink(), "no model.engine here"),
    "nothing beside it": (
        lambda folder: (folder / "model.engine.json").unlink(),
        "model.engine.json is missing or damaged",
    ),
    "another board": (
        _edit(board="NVIDIA Jetson Orin Nano Developer Kit"),
        "was built on 'NVIDIA Jetson Orin Nano Developer Kit'",
    ),
    "another TensorRT": (_edit(tensorrt="8.0.1.6"), "with TensorRT 8.0.1.6, this is 'NVIDIA"),
    "another model": (_edit(model_sha256="0"), "was built from another model.onnx"),
    "a cut engine": (
        lambda folder: (folder / "model.engine").write_bytes(b"abc"),
        "model.engine is damaged",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_engine_that_does_not_belong_here_gives_one_line(
    board: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, line = WRONG[what]
    change(board)
    for command, words in ((classify, ["golden"]), (verify, [])):
        assert command.main(words, board) == 2
        complaint = capsys.readouterr().err
        assert line in complaint
        assert complaint.endswith("run ./build_engine.sh on this board\n")
        assert complaint.count("\n") == 1


def test_engines_that_tensorrt_or_the_model_reject(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = read_facts(board)
    (board / "model.engine").write_bytes(b"no engine")
    engine.describe(board)
    with pytest.raises(BoardError, match=r"TensorRT cannot read model\.engine"):
        TensorRT(board, facts)
    other = make_bundle(tmp_path / "other", heatmap=False)
    shutil.copyfile(other / "model.onnx", board / "model.engine")
    engine.describe(board)
    with pytest.raises(BoardError, match="has other inputs and outputs"):
        TensorRT(board, facts)
    shutil.copyfile(board / "model.onnx", board / "model.engine")
    engine.describe(board)
    runtime = TensorRT(board, facts)
    monkeypatch.setattr(runtime, "_execute", lambda: False)
    with pytest.raises(BoardError, match="could not run the engine"):
        runtime.ask(np.zeros((32, 32), np.uint8))
    tensorrt = sys.modules["tensorrt"]
    monkeypatch.setattr(tensorrt.Engine, "type_of_ports", tensorrt.DataType.HALF)
    with pytest.raises(BoardError, match="not of 32-bit floats"):
        TensorRT(board, facts)


def test_cuda_that_fails_or_is_missing(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = read_facts(board)
    monkeypatch.setenv("STANDIN_MEMORY_FULL", "1")
    with pytest.raises(BoardError, match="CUDA failed in cudaMalloc: out of memory"):
        TensorRT(board, facts)
    monkeypatch.setattr(cuda, "_NAMES", ("libcudart-missing.so",))
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    with pytest.raises(BoardError, match="no CUDA runtime"):
        TensorRT(board, facts)


def test_before_building_board_and_space_are_checked(
    board: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 5 * 2**20))
    assert engine.main(["check"], board) == 2
    assert "no space: 64 MB must be free" in capsys.readouterr().err
    engine.DEVICE_TREE.write_text("NVIDIA Jetson Orin Nano Developer Kit")
    assert engine.main(["check"], board) == 2
    complaint = capsys.readouterr().err
    assert "wrong board: this bundle is for jetson-nano, this is 'NVIDIA Jetson Orin" in complaint
    assert complaint.count("\n") == 1


@pytest.fixture(scope="module", params=[(8, 2), (10, 3), (11, 0)], ids=str)
def program(
    request: pytest.FixtureRequest, cudart: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """`classify.cpp`, built with its CMake file against the stand-ins' headers."""
    if not (shutil.which("cmake") and shutil.which("c++")):
        pytest.skip("no CMake or no C++ compiler here")
    source = Path(engine.__file__).parent
    folder = tmp_path_factory.mktemp("cpp")
    major, minor = request.param
    cache = {
        "TENSORRT_INCLUDE": STANDINS / "cpp",
        "CUDA_INCLUDE": STANDINS / "cpp",
        "TENSORRT_LIBRARY": cudart / "libcudart.so",
        "CUDA_LIBRARY": cudart / "libcudart.so",
        "CMAKE_CXX_FLAGS": f"-Werror -DNV_TENSORRT_MAJOR={major} -DNV_TENSORRT_MINOR={minor}",
    }
    for name in ("classify.cpp", "CMakeLists.txt"):
        shutil.copyfile(source / name, folder / name)
    words = ["cmake", "-S", folder, "-B", folder / "build"]
    words += [f"-D{name}={value}" for name, value in cache.items()]
    subprocess.run(words, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", folder / "build"], check=True, capture_output=True)
    return folder / "build" / "classify"


def _pipe(program: Path, frames: bytes, *words: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [program, *map(str, words)], input=frames, capture_output=True, check=False
    )


def _engine(path: Path, rows: list[list[float]], side: int = 32) -> bytes:
    """Write the stand-in's engine, which answers with these rows; return a frame for each."""
    lines = [" ".join(map(str, row)) for row in rows]
    path.write_text("\n".join([str(side), *lines]) + "\n")
    return b"".join(bytes([number]) * side**2 for number in range(len(rows)))


def test_the_cpp_program_answers_frames_from_a_pipe(
    program: Path, whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.engine"
    frames = _engine(path, [[0.2, 0.05, 0.05, 0.7], [0.7, 0.05, 0.05, 0.2]])
    result = _pipe(program, frames, path, whole / "model.txt")
    assert result.returncode == 0, result.stderr
    assert b"Research use only" in result.stderr
    first, second = answers(result.stdout.decode())
    assert [first["slice"], second["slice"]] == [0, 1]
    assert first["label"] == "pituitary"
    assert second["label"] == "glioma"
    path_only = run_in(whole, "classify.py", "golden/noise-fine.png", "--runtime", "onnx")
    assert list(first) == list(answers(path_only.stdout)[0])


def test_the_cpp_program_decides_as_python_does(program: Path, tmp_path: Path) -> None:
    for case in json.loads(DECISIONS.read_text()):
        score, limit = case["ood_score"], case["ood_threshold"]
        row = [*case["probabilities"], *([] if score is None else [score])]
        frame = _engine(tmp_path / "model.engine", [row])
        lines = ["title small 0.1"]
        lines += [] if limit is None else [f"ood_threshold {limit}"]
        for name, confident in zip(CLASSES, case["confident"], strict=True):
            lines += [f"class {name}", f"confident {confident}"]
        (tmp_path / "model.txt").write_text("\n".join(lines) + "\n")
        words = (tmp_path / "model.engine", tmp_path / "model.txt")
        (answer,) = answers(_pipe(program, frame, *words).stdout.decode())
        assert {name: answer[name] for name in case["decision"]} == case["decision"], case["name"]


def test_what_the_cpp_program_refuses(program: Path, whole: Path, tmp_path: Path) -> None:
    path, model = tmp_path / "model.engine", whole / "model.txt"
    _engine(path, [[0.25] * 4])
    other = tmp_path / "model.txt"
    other.write_text("title x\nclass a\nconfident 1\nclass b\nconfident 1\n")
    (tmp_path / "damaged.engine").write_text("none")
    cases = [
        ((tmp_path / "gone.engine", model), b"", b"run ./build_engine.sh on this board"),
        ((tmp_path / "damaged.engine", model), b"", b"TensorRT cannot read"),
        ((path, tmp_path / "gone.txt"), b"", b"missing or damaged"),
        ((path, other), b"", b"the engine is of another model"),
        ((path, model), b"short", b"frame 0 ends too early: 1024 bytes are a frame"),
    ]
    for words, frames, line in cases:
        result = _pipe(program, frames, *words)
        assert result.returncode == 2
        assert line in result.stderr
        assert result.stderr.count(b"\n") == 1
    assert b"usage" in _pipe(program, b"").stderr
