"""What a bundle holds: a model that the board takes, the package's own sources, checksums."""

import ast
import filecmp
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import tumorscope
from bundles import make_bundle, reseal
from small_model import metadata, write_model
from tumorscope.cli import export as command
from tumorscope.cli.main import main
from tumorscope.errors import ModelError
from tumorscope.export import FORMATS, export_run, onnx_file
from tumorscope.export.fp16 import convert_file, to_fp16
from tumorscope.inference.onnx_messages import read_model
from tumorscope.jetson import TARGETS, estimate, find_target, unsupported_operators, write_bundle
from tumorscope.jetson.board_graph import board_graph
from tumorscope.jetson.operators import TENSORRT_8_2, TENSORRT_10, wide_integers
from tumorscope.training.run_folder import RunFolder

NANO = TARGETS["jetson-nano"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("set"))


def test_the_sources_are_the_packages_own(bundle: Path) -> None:
    package = Path(tumorscope.__file__).parent
    copied = sorted(path.relative_to(bundle) for path in bundle.rglob("*.py"))
    assert Path("tumorscope/images/preparation.py") in copied
    for path in copied:
        source = package.parent if path.parts[0] == "tumorscope" else package / "jetson" / "board"
        assert filecmp.cmp(bundle / path, source / path, shallow=False), path


def test_everything_is_python_3_6(bundle: Path) -> None:
    sources = sorted(bundle.rglob("*.py"))
    for path in sources:
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 6))
    command_line = [sys.executable, "-c", "import vermin; vermin.main()", "--no-tips", "-t=3.6-"]
    command_line += map(str, sources)
    result = subprocess.run(command_line, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_model_takes_one_slice_and_answers_as_before(bundle: Path) -> None:
    before = onnx.load(bundle.parent / "model.onnx")
    after = onnx.load(bundle / "model.onnx")
    onnx.checker.check_model(after, full_check=True)
    ports = [*after.graph.input, *after.graph.output]
    shapes = {
        port.name: [side.dim_value for side in port.type.tensor_type.shape.dim] for port in ports
    }
    assert shapes == {
        "grey": [1, 1, 32, 32],
        "probabilities": [1, 4],
        "logits": [1, 4],
        "heatmap": [1, 4, 7, 7],
    }
    assert after.ir_version <= 8
    assert [item.version for item in after.opset_import] == [13]
    assert unsupported_operators(after) == wide_integers(after) == []
    preparation = read_model((bundle / "preparation.onnx").read_bytes())
    assert unsupported_operators(preparation) == wide_integers(preparation) == []
    grey = np.random.default_rng(0).uniform(0, 255, (1, 1, 32, 32)).astype(np.float32)
    for first, second in zip(_ask(before, grey), _ask(after, grey), strict=True):
        np.testing.assert_array_equal(first, second)


def _ask(model: onnx.ModelProto, grey: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"grey": grey})


def test_what_is_said_about_the_model_is_what_the_model_says(bundle: Path) -> None:
    said = json.loads((bundle / "model.json").read_text())
    assert said["model"] == metadata()
    assert said["target"]["name"] == "jetson-nano"
    assert said["target"]["tensorrt"] == "8.2"
    assert said["opset"] == 13
    assert said["inputs"] == {"grey": [1, 1, 32, 32]}
    content = (bundle / "model.onnx").read_bytes()
    assert said["model_sha256"] == hashlib.sha256(content).hexdigest()
    assert (bundle / "model.txt").read_text().splitlines() == [
        "title small 0.1",
        *(line for name in metadata()["classes"] for line in (f"class {name}", "confident 0.9")),
    ]


def test_the_checksums_name_every_file(bundle: Path) -> None:
    listed = dict(
        reversed(line.split("  ")) for line in (bundle / "SHA256SUMS").read_text().splitlines()
    )
    there = {
        str(path.relative_to(bundle)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in bundle.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert listed == there


def test_the_archive_is_the_folder_and_always_the_same(bundle: Path, tmp_path: Path) -> None:
    archive = bundle.with_name("bundle.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    unpacked = tmp_path / "unpacked" / "bundle"
    compared = filecmp.dircmp(bundle, unpacked)
    assert not compared.left_only + compared.right_only + compared.diff_files
    assert (unpacked / "build_engine.sh").stat().st_mode & 0o111
    again = make_bundle(tmp_path / "again")
    assert again.with_name("bundle.tar.gz").read_bytes() == archive.read_bytes()


def test_a_bundle_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    out = tmp_path / "out"
    write_bundle(model, NANO, out)
    (out / "model.engine").write_bytes(b"old")
    convert_file(model, tmp_path / "m16.onnx")
    write_bundle(tmp_path / "m16.onnx", TARGETS["orin-jp6"], out)
    assert not (out / "model.engine").exists()
    assert "orin-jp6" in (out / "model.json").read_text()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(ModelError, match="no bundle that could be replaced"):
        write_bundle(model, NANO, other)
    with pytest.raises(ModelError, match="no bundle that could be replaced"):
        write_bundle(model, NANO, other / "thesis.txt")
    assert (other / "thesis.txt").read_text() == "mine"


def _graph(*nodes: onnx.NodeProto, opset: int = 13, values: tuple = (), **ports: list) -> Path:
    """A model from `grey` to `probabilities` with these nodes between."""
    ports = {"grey": [1, 1, 32, 32], "probabilities": [1, 4]} | ports
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in ports.items()
    ]
    graph = helper.make_graph(list(nodes), "g", infos[:1], infos[1:], list(values))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _pooled(*nodes: onnx.NodeProto, values: tuple = (), opset: int = 13) -> onnx.ModelProto:
    head = (
        helper.make_node("AveragePool", ["grey"], ["p"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["p"], ["flat"]),
    )
    return _graph(*head, *nodes, values=values, opset=opset)


def test_what_a_board_cannot_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    swish = _pooled(helper.make_node("HardSwish", ["flat"], ["probabilities"]), opset=14)
    onnx.save(swish, path)
    with pytest.raises(ModelError, match=r"TensorRT 8\.2 has no HardSwish, operator set 14"):
        board_graph(path, NANO)
    with pytest.raises(ModelError, match="computes in fp32, orin-jp6 takes fp16 or int8"):
        board_graph(path, TARGETS["orin-jp6"])
    onnx.save(to_fp16(onnx.load(write_model(path))), path)
    assert board_graph(path, TARGETS["orin-jp6"]).graph.node
    onnx.save(onnx.load(write_model(path, batch=4)), path)
    with pytest.raises(ModelError, match="takes 4 slices a call"):
        board_graph(path, NANO)


def test_the_newer_tensorrt_reads_what_the_older_does() -> None:
    assert TENSORRT_8_2.operators < TENSORRT_10.operators
    assert "LayerNormalization" not in TENSORRT_10.operators
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    assert TENSORRT_10.operators - TENSORRT_8_2.operators <= known


@pytest.mark.parametrize("number", [4, 2**40])
def test_numbers_beyond_32_bits_are_refused(tmp_path: Path, number: int) -> None:
    # A Slice's limit may be huge, an index elsewhere may not.
    ends = numpy_helper.from_array(np.array([2**62]), "ends")
    starts = numpy_helper.from_array(np.array([0]), "starts")
    shape = numpy_helper.from_array(np.array([1, number]), "shape")
    harmful = number > 2**31
    constant = helper.make_node("Constant", [], ["unused"], value=shape)
    cut = helper.make_node("Slice", ["flat", "starts", "ends"], ["probabilities"])
    model = _pooled(constant, cut, values=(starts, ends))
    assert wide_integers(model) == (["unused"] if harmful else [])
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    if harmful:
        with pytest.raises(ModelError, match="cuts the 64-bit integers of unused"):
            board_graph(path, NANO)
    else:
        board_graph(path, NANO)


def test_a_port_of_64_bit_integers_is_named() -> None:
    best = helper.make_node("ArgMax", ["flat"], ["probabilities"], axis=1)
    model = _pooled(best)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    assert wide_integers(model) == ["probabilities"]


def test_an_open_shape_is_refused(tmp_path: Path) -> None:
    bright = helper.make_node("NonZero", ["flat"], ["places"])
    floats = helper.make_node("Cast", ["places"], ["floats"], to=TensorProto.FLOAT)
    one_row = numpy_helper.from_array(np.array([1, -1]), "one_row")
    row = helper.make_node("Reshape", ["floats", "one_row"], ["probabilities"])
    model = _pooled(bright, floats, row, values=(one_row,), opset=17)
    model.graph.output[0].type.tensor_type.shape.dim[1].Clear()
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelError, match="the shape of probabilities is open"):
        board_graph(path, TARGETS["orin-jp6"])


def test_layers_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(_pooled(helper.make_node("MatMul", ["flat", "flat"], ["probabilities"])), path)
    with pytest.raises(ModelError, match="its layers do not fit each other"):
        board_graph(path, NANO)


def test_the_estimate_counts_what_the_layers_do() -> None:
    kernel = numpy_helper.from_array(np.zeros((8, 1, 3, 3), np.float32), "kernel")
    weight = numpy_helper.from_array(np.zeros((4, 8), np.float32), "weight")
    model = _graph(
        helper.make_node("Conv", ["grey", "kernel"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["lit"]),
        helper.make_node("GlobalAveragePool", ["lit"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["probabilities"], transB=1),
        values=(kernel, weight),
    )
    cost = estimate(model, NANO)
    conv, relu, pool, flatten, linear = cost.layers
    pixels = 32 * 32
    assert conv.operations == 2 * 8 * pixels * 9
    assert conv.bytes == 2 * (pixels + 8 * pixels + 72)
    assert (relu.kernels, relu.bytes, flatten.kernels) == (0, 0, 0)
    assert pool.operations == 8 * pixels
    assert linear.operations == 2 * 4 * 8
    assert linear.bytes == 2 * (8 + 4 + 32)
    by_hand = 1e3 * conv.bytes / 25.6e9 + 1e3 * pool.bytes / 25.6e9 + 1e3 * linear.bytes / 25.6e9
    by_hand += 1e3 * relu.operations / 472e9 + 1e3 * flatten.operations / 472e9
    assert cost.milliseconds == pytest.approx(by_hand + 3 * 0.030, rel=1e-6)
    assert cost.to_json()["kernels"] == cost.kernels == 3
    assert cost.milliseconds > estimate(model, TARGETS["orin-jp6"]).milliseconds


def test_the_command_bundles_a_name_and_says_that_it_estimates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, figures = tmp_path / "b", tmp_path / "f.json"
    words = ["export", "tumorscope-edge", "--target", "orin-jp6", "--out", str(out)]
    assert main([*words, "--json", str(figures)]) == 0
    said = capsys.readouterr().out
    assert "an estimate from its data sheet, not measured" in said
    assert "Research use only" in said
    content = json.loads(figures.read_text())
    assert content["bytes"] < 20e6
    assert 0 < content["estimate"]["milliseconds"] < 8
    assert (out / "model.onnx").is_file()
    assert (tmp_path / "b.tar.gz").stat().st_size == content["archive_bytes"]


def test_the_command_bundles_a_run(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(trained), "--target", "jetson-nano", "--name", "mine"]
    assert main([*words, "--out", str(tmp_path / "b"), "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"].startswith("mine ")
    assert json.loads((tmp_path / "b" / "model.json").read_text())["model"]["name"] == "mine"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["missing.onnx", "--target", "jetson-nano"], "missing.onnx: no such model file"),
        (["nothing", "--target", "jetson-nano"], "no model 'nothing' came with this package"),
        (
            ["tumorscope-edge", "--target", "jetson-nano", "--format", "onnx-int8"],
            "jetson-nano takes the format onnx, not onnx-int8",
        ),
    ],
)
def test_what_cannot_be_bundled_gives_one_line(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *words]) == 2
    complaint = capsys.readouterr().err
    assert line in complaint
    assert complaint.count("\n") == 1


def test_the_commands_names_are_the_packages() -> None:
    assert list(command.SUMMARIES) == list(FORMATS)
    assert tuple(TARGETS) == command.TARGETS
    assert command.OPSET == onnx_file.EDGE_OPSET == TENSORRT_8_2.opset
    with pytest.raises(ModelError, match="no target 'jetson-tx2'"):
        find_target("jetson-tx2")


def test_a_plain_install_bundles_a_name_and_refuses_a_run(tmp_path: Path, trained: Path) -> None:
    def plain(*words: str) -> subprocess.CompletedProcess[str]:
        program = (
            "import sys; sys.modules['torch'] = sys.modules['onnx'] = None; "
            "from tumorscope.cli.main import main; "
            "sys.exit(main(sys.argv[1:]))"
        )
        return subprocess.run(
            [sys.executable, "-c", program, "export", *words],
            capture_output=True,
            text=True,
            check=False,
        )

    target = ("--target", "jetson-nano", "--out", str(tmp_path / "b"))
    assert plain("tumorscope-edge", *target).returncode == 0
    result = plain(str(trained), *target)
    assert result.returncode == 2
    assert "pip install 'tumorscope[train]'" in result.stderr


def test_without_space_nothing_is_left(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); "
        "from tumorscope.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["export", str(model), "--target", "jetson-nano", "--out", str(tmp_path / "b")]
    # (Coverage would write a large file, too.)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    words = [sys.executable, "-B", "-c", program, *words]
    result = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "make room there" in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx"]


def test_resealing_changes_nothing_in_a_whole_bundle(bundle: Path) -> None:
    before = (bundle / "SHA256SUMS").read_text()
    reseal(bundle)
    assert (bundle / "SHA256SUMS").read_text() == before


def test_the_precision_stands_in_the_file_for_the_boards_of_today(
    trained: Path, tmp_path: Path
) -> None:
    words = ["export", str(trained), "--format", "onnx-int8-signed"]
    assert main([*words, "--target", "orin-jp7", "--out", str(tmp_path / "int8")]) == 0
    assert (
        main(["export", "tumorscope-edge", "--target", "thor", "--out", str(tmp_path / "b")]) == 0
    )
    for folder, precision in ((tmp_path / "int8", "int8"), (tmp_path / "b", "fp16")):
        assert json.loads((folder / "model.json").read_text())["precision"] == precision
        assert unsupported_operators(read_model((folder / "model.onnx").read_bytes())) == []
    whole = onnx.load(tmp_path / "b" / "model.onnx")
    kinds = {item.data_type for item in whole.graph.initializer if item.dims}
    assert TensorProto.FLOAT16 in kinds
    assert {port.type.tensor_type.elem_type for port in whole.graph.output} == {TensorProto.FLOAT}


def test_what_a_bundle_did_not_make_is_never_lost(tmp_path: Path) -> None:
    model, out = write_model(tmp_path / "m.onnx"), tmp_path / "out"
    write_bundle(model, NANO, out)
    for name in ("build_engine.log", "timing.cache", "preparation.engine.json"):
        (out / name).write_text("made there")
    write_bundle(model, NANO, out)
    (out / "scans").mkdir()
    (out / "scans" / "mine.png").write_text("mine")
    with pytest.raises(ModelError, match=r"no bundle that could be replaced \('scans/mine.png'\)"):
        write_bundle(model, NANO, out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "SHA256SUMS").write_text("abc  ubuntu.iso\n")
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"\('thesis.txt'\)"):
        write_bundle(model, NANO, other)
    assert (other / "thesis.txt").read_text() == "mine"


def test_the_estimate_knows_weights_of_8_bits(trained: Path, tmp_path: Path) -> None:
    costs = []
    for kind in ("onnx-fp16", "onnx-int8-signed"):
        path = tmp_path / f"{kind}.onnx"
        export_run(RunFolder(trained), kind, path, batch=1, check=False)
        costs.append(estimate(read_model(path.read_bytes()), TARGETS["orin-jp7"]))
    assert costs[0].gigaflop <= costs[1].gigaflop <= 1.25 * costs[0].gigaflop
    assert costs[1].kernels <= 1.2 * costs[0].kernels
