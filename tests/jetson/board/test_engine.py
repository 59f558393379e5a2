"""The way over TensorRT, with stand-ins for it: there is no GPU here.

The stand-ins in `tests/standins` have the names, signatures and options of TensorRT 8.2, 10 and 11,
and let ONNX Runtime compute. So what is tested is that the board's files keep to these interfaces:
that ports are found, memory is copied, engines belong to their board. Nothing is said about
arithmetic.
"""

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bundles import STANDINS, answers, make_bundle, run_bytes_in, run_in
from standins.engine_server import engine_server
from tumorscope.classes import CLASSES
from tumorscope.images import find_head, prepare, read_slice
from tumorscope.inference import Classifier
from tumorscope.jetson.board import classify, cuda, engine, verify
from tumorscope.jetson.board import golden as golden_answers
from tumorscope.jetson.board.engines import open_preparation, open_runtime
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
    log, preparation = (bundle / "build_engine.log").read_text().splitlines()
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
    assert "--maxShapes=pixels:1x2048x2048 --noTF32" in preparation
    assert not {"--fp16", "--int8", "--stronglyTyped"} & set(preparation.split())
    assert (bundle / "preparation.engine.json").is_file()
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
    for name in ("model", "preparation"):
        shutil.copyfile(f"{name}.onnx", f"{name}.engine")
        assert engine.main(["describe", f"{name}.onnx"], bundle) == 0
    yield bundle
    sys.modules.pop("tensorrt", None)


def test_the_engine_answers_by_either_interface(board: Path) -> None:
    facts = read_facts(board)
    runtime = open_runtime("tensorrt", board, facts)
    golden = golden_answers.read_golden(board)
    assert golden_answers.check_answers(facts, golden, runtime, 1e-6) == []
    first = runtime.ask(golden["inputs"][0][None, None])
    kept = first["logits"].copy()
    runtime.ask(golden["inputs"][-1][None, None])
    np.testing.assert_array_equal(first["logits"], kept)  # The memory is used again, not shared.
    assert first.keys() == facts.outputs.keys()


def test_the_preparations_engine_takes_slices_of_many_sizes(board: Path) -> None:
    runtime = open_preparation("tensorrt", board, 32)
    random = np.random.default_rng(0)
    for shape in ((90, 60), (40, 200), (200, 40)):
        grey = random.integers(0, 256, shape, np.uint8)
        said = runtime.ask(grey[None])
        assert np.abs(said["grey"][0] - prepare(grey, 32)).max() <= 1
        np.testing.assert_allclose(said["box"], find_head(grey), atol=1e-3)
    with pytest.raises(
        BoardError, match=r"preparation\.engine takes no picture of 3000 x 40 pixels"
    ):
        runtime.ask(np.zeros((1, 40, 3000), np.uint8))


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
    engine.describe(board, "model.onnx")
    with pytest.raises(BoardError, match=r"TensorRT cannot read model\.engine"):
        open_runtime("tensorrt", board, facts)
    other = make_bundle(tmp_path / "other", heatmap=False)
    shutil.copyfile(other / "model.onnx", board / "model.engine")
    engine.describe(board, "model.onnx")
    with pytest.raises(BoardError, match="has other inputs and outputs"):
        open_runtime("tensorrt", board, facts)
    shutil.copyfile(board / "model.onnx", board / "model.engine")
    engine.describe(board, "model.onnx")
    runtime = open_runtime("tensorrt", board, facts)
    monkeypatch.setattr(runtime, "_execute", lambda: False)
    with pytest.raises(BoardError, match="could not run the engine"):
        runtime.ask(np.zeros((32, 32), np.uint8))
    tensorrt = sys.modules["tensorrt"]
    monkeypatch.setattr(tensorrt.Engine, "type_of_ports", tensorrt.DataType.HALF)
    with pytest.raises(BoardError, match="not of 32-bit floats"):
        open_runtime("tensorrt", board, facts)


def test_cuda_that_fails_or_is_missing(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = read_facts(board)
    monkeypatch.setenv("STANDIN_MEMORY_FULL", "1")
    with pytest.raises(BoardError, match="CUDA failed in cudaMalloc: out of memory"):
        open_runtime("tensorrt", board, facts)
    monkeypatch.setattr(cuda, "_NAMES", ("libcudart-missing.so",))
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    with pytest.raises(BoardError, match="no CUDA runtime"):
        open_runtime("tensorrt", board, facts)


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
) -> Iterator[Path]:
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
    with engine_server(folder / "socket") as socket, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STANDIN_ENGINE", str(socket))
        yield folder / "build" / "classify"


def _pipe(program: Path, frames: bytes, *words: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [program, *map(str, words)], input=frames, capture_output=True, check=False
    )


def _pgm(grey: NDArray[np.uint8]) -> bytes:
    height, width = grey.shape
    return f"P5\n{width} {height}\n255\n".encode() + grey.tobytes()


def _save(
    path: Path, entry: str, open_sides: list[Any], *nodes: onnx.NodeProto, **made: Any
) -> Path:
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in ({entry: open_sides} | made).items()
    ]
    graph = onnx.helper.make_graph(list(nodes), "g", ports[:1], ports[1:])
    opset = onnx.helper.make_opsetid("", 13)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def _constant(name: str, values: Any) -> onnx.NodeProto:
    tensor = onnx.numpy_helper.from_array(np.asarray(values))
    return onnx.helper.make_node("Constant", [], [name], value=tensor)


def _engines(folder: Path, rows: list[list[float]]) -> tuple[Path, Path]:
    """Write engines that answer with the row that a frame's first pixel names.

    Args:
        folder: It holds `preparation.engine` and `model.engine` after that.
        rows: Probabilities, and an OOD score where there are five numbers.
    """
    node = onnx.helper.make_node
    before = _save(
        folder / "preparation.engine",
        "pixels",
        [1, "H", "W"],
        _constant("zero", [0, 0, 0]),
        _constant("one", [1, 1, 1]),
        _constant("square", [1, 1, 4, 4]),
        _constant("box", np.zeros((1, 4), np.float32)),
        node("Slice", ["pixels", "zero", "one"], ["first"]),
        node("Expand", ["first", "square"], ["grey"]),
        grey=[1, 1, 4, 4],
        box=[1, 4],
    )
    table = np.array(rows, np.float32)
    nodes = [
        node("ReduceMax", ["grey"], ["number"], axes=[1, 2, 3], keepdims=0),
        node("Cast", ["number"], ["row"], to=onnx.TensorProto.INT64),
        _constant("table", table[:, :4]),
        node("Gather", ["table", "row"], ["probabilities"]),
    ]
    outputs: dict[str, list[int]] = {"probabilities": [1, 4]}
    if table.shape[1] > 4:
        nodes += [
            _constant("scores", table[:, 4]),
            node("Gather", ["scores", "row"], ["ood_score"]),
        ]
        outputs["ood_score"] = [1]
    return before, _save(folder / "model.engine", "grey", [1, 1, 4, 4], *nodes, **outputs)


def _frame(number: int) -> bytes:
    """A frame with enough grey values, whose first pixel is the number."""
    grey = np.arange(1600, dtype=np.uint16).reshape(40, 40).astype(np.uint8)
    grey[0, 0] = number
    return _pgm(grey)


def test_the_cpp_program_answers_as_predict_does(program: Path, whole: Path) -> None:
    raw = run_bytes_in(whole, "classify.py", "golden", "--raw")
    assert raw.returncode == 0
    blank, mask = np.full((40, 60), 9, np.uint8), np.zeros((60, 40), np.uint8)
    mask[10:20] = 200
    words = (whole / "preparation.onnx", whole / "model.onnx", whole / "model.txt")
    result = _pipe(program, raw.stdout + _pgm(blank) + _pgm(mask), *words)
    assert result.returncode == 0, result.stderr
    assert b"Research use only" in result.stderr
    given = answers(result.stdout.decode())
    inputs = [*map(read_slice, sorted((whole / "golden").glob("*g"))), blank, mask]
    classifier = Classifier.load(whole.parent / "model.onnx")
    assert [answer["slice"] for answer in given] == list(range(len(inputs)))
    for answer, prediction in zip(given, classifier.predict(inputs), strict=True):
        expected = prediction.to_json()
        assert list(answer) == list(expected)
        same = ("label", "verdict", "model")
        assert [answer[name] for name in same] == [expected[name] for name in same]
        if answer["label"] is None:
            assert answer["reason"] == expected["reason"]
        else:
            assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-3)
    assert given[-1]["label"] is given[-2]["label"] is None


def test_the_cpp_program_decides_as_python_does(program: Path, tmp_path: Path) -> None:
    groups: dict[Any, list[Any]] = {}
    for case in json.loads(DECISIONS.read_text()):
        kind = tuple(case["confident"]), case["ood_threshold"], case["ood_score"] is None
        groups.setdefault(kind, []).append(case)
    for (thresholds, limit, _), cases in groups.items():
        rows = [
            [
                float(value)
                for value in (*case["probabilities"], case["ood_score"])
                if value is not None
            ]
            for case in cases
        ]
        engines = _engines(tmp_path, rows)
        lines = ["title small 0.1"]
        lines += [] if limit is None else [f"ood_threshold {limit}"]
        for name, confident in zip(CLASSES, thresholds, strict=True):
            lines += [f"class {name}", f"confident {confident}"]
        (tmp_path / "model.txt").write_text("\n".join(lines) + "\n")
        frames = b"".join(map(_frame, range(len(cases))))
        given = answers(_pipe(program, frames, *engines, tmp_path / "model.txt").stdout.decode())
        for answer, case in zip(given, cases, strict=True):
            said = {name: answer[name] for name in case["decision"]}
            assert said == case["decision"], case["name"]


def test_what_the_cpp_program_refuses(program: Path, whole: Path, tmp_path: Path) -> None:
    model = whole / "model.txt"
    before, path = _engines(tmp_path, [[0.25] * 4])
    other = tmp_path / "model.txt"
    other.write_text("title x\nclass a\nconfident 1\nclass b\nconfident 1\n")
    words = tmp_path / "words.txt"
    words.write_text("title x\nclass a\nconfident high\nclass b\nconfident 1\n")
    damaged = tmp_path / "damaged.engine"
    damaged.write_text("none")
    gone = tmp_path / "gone.engine"
    large = _pgm(np.zeros((40, 2050), np.uint8) + np.arange(2050, dtype=np.uint16).astype(np.uint8))
    good = (before, path, model)
    cases = [
        ((gone, path, model), b"", b"run ./build_engine.sh on this board"),
        ((before, gone, model), b"", b"run ./build_engine.sh on this board"),
        ((before, damaged, model), b"", b"TensorRT cannot read"),
        ((before, path, tmp_path / "gone.txt"), b"", b"missing or damaged"),
        ((before, path, words), b"", b"words.txt: missing or damaged: copy the bundle again"),
        ((before, path, other), b"", b"the engines are of another model"),
        ((whole / "preparation.onnx", path, model), b"", b"is of another model"),
        (good, _frame(0) + b"P5\n40 40\n255\nshort", b"frame 1 ends too early: 1600 bytes"),
        (
            good,
            b"P6\n40 40\n255\n" + bytes(4800),
            b"frame 0 is no binary PGM picture of 8 bits (P5)",
        ),
        (good, b"P5\n# a remark\n40 40\n65535\n" + bytes(3200), b"no binary PGM picture of 8 bits"),
        (good, b"P5\n99999 99999\n255\n", b"frame 0 has too many pixels"),
        (
            good,
            b"P5\n31 40\n255\n" + bytes(1240),
            b"frame 0 has too few pixels (at least 32 a side)",
        ),
        (good, large, b"takes no picture of 2050 x 40 pixels: at most 2048 x 2048"),
    ]
    for words, frames, line in cases:
        result = _pipe(program, frames, *words)
        assert result.returncode == 2
        assert line in result.stderr
        assert result.stderr.count(b"\n") == 1
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [program, *good], input=_frame(0), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert result.returncode == 2
    assert b"answers cannot be written: " in result.stderr
    remark = _frame(0).replace(b"P5\n", b"P5\n# a remark\n# and one more\n")
    assert _pipe(program, remark, *good).returncode == 0
    assert b"usage" in _pipe(program, b"").stderr
