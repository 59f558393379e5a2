"""What stands inside an exported file: names, shapes, operators, metadata, and the same answers."""

import json
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tumorscope import __version__
from tumorscope.errors import ModelError
from tumorscope.export import (
    export_onnx,
    export_torchscript,
    newest_opset,
    unsupported_operators,
)
from tumorscope.export.onnx_file import build_onnx
from tumorscope.export.quantization import quantize
from tumorscope.inference.model_file import open_model, read_facts
from tumorscope.jetson.operators import TENSORRT_8_2_OPERATORS
from tumorscope.networks.factory import build_network
from tumorscope.networks.litenet import LiteNet
from tumorscope.networks.network import Network, Outputs
from tumorscope.networks.network_recipe import NetworkRecipe
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import (
    Description,
    TrainedNetwork,
    load_weights,
    save_weights,
)

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")


@pytest.fixture(scope="module")
def network(trained: Path) -> TrainedNetwork:
    return load_weights(RunFolder(trained).weights_file)


@pytest.fixture(scope="module")
def file(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(RunFolder(trained), tmp_path_factory.mktemp("onnx") / "model.onnx")


def pictures(count: int, side: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, side, side), dtype=np.uint8)


def fresh(recipe: NetworkRecipe, *, temperature: float = 0.7, side: int = 64) -> TrainedNetwork:
    """A network with random weights, and norms that are not the identity."""
    torch.manual_seed(3)
    network = build_network(recipe, CLASSES)
    network.train()
    with torch.inference_mode():
        for _ in range(3):
            network(torch.rand(4, 1, side, side) * 255)
    description = Description(
        network=recipe.model_dump(), classes=CLASSES, input_size=side, temperature=temperature
    )
    return TrainedNetwork(network.eval(), description)


def ask(path: Path, grey: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answers: list[NDArray[np.float32]] = session.run(
        None, {"grey": grey[:, None].astype(np.float32)}
    )
    return answers


def test_the_file_keeps_its_contract(file: Path) -> None:
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 13)]
    assert model.ir_version <= 8
    ports = [*model.graph.input, *model.graph.output]
    assert [port.name for port in ports] == ["grey", "probabilities", "logits", "heatmap"]
    shapes = {
        port.name: [side.dim_value or "any" for side in port.type.tensor_type.shape.dim]
        for port in ports
    }
    assert shapes["grey"] == ["any", 1, 32, 32]
    assert shapes["probabilities"] == shapes["logits"] == ["any", 4]
    assert shapes["heatmap"][:2] == ["any", 4]
    assert {port.type.tensor_type.elem_type for port in ports} == {TensorProto.FLOAT}


def test_only_plain_float_operators_are_left(file: Path) -> None:
    model = onnx.load(file)
    operators = Counter(node.op_type for node in model.graph.node)
    assert "BatchNormalization" not in operators
    assert not {"Cast", "Shape", "Gather", "Identity"} & operators.keys()
    assert operators["Softmax"] == 1
    assert {item.data_type for item in model.graph.initializer} == {TensorProto.FLOAT}
    assert unsupported_operators(model) == []


def test_the_file_says_what_it_is(file: Path, trained: Path, network: TrainedNetwork) -> None:
    entries = {item.key: item.value for item in onnx.load(file).metadata_props}
    assert entries.keys() == {"tumorscope"}
    facts = json.loads(entries["tumorscope"])
    run = RunFolder(trained)
    assert list(facts["classes"]) == list(CLASSES)
    assert (facts["format"], facts["version"], facts["preparation"]) == (
        1,
        __version__,
        network.description.preparation,
    )
    assert facts["name"] == f"tumorscope-{run.recipe().name}"
    assert facts["temperature"] == network.description.temperature
    assert facts["thresholds"] == {"confident": [0.9] * 4}
    assert facts["data"] == {
        name: run.data()[name] for name in ("fingerprint", "split", "fold", "counts")
    }
    assert facts["recipe"] == run.recipe().model_dump()
    assert facts["license"] == "Apache-2.0"
    assert facts["intended_use"].startswith("Research use only")
    assert read_facts(entries["tumorscope"], file).input_size == 32
    assert "heatmap" in {port.name for port in open_model(file).runtime.outputs}


@pytest.mark.parametrize("count", [1, 3])
def test_the_file_answers_as_the_network(file: Path, network: TrainedNetwork, count: int) -> None:
    grey = pictures(count)
    probabilities, logits, heatmap = ask(file, grey)
    np.testing.assert_allclose(probabilities, network.probabilities(grey), atol=1e-5)
    temperature = network.description.temperature
    np.testing.assert_allclose(logits * temperature, network.logits(grey), atol=1e-3)
    # The class map says what the logit is made of: its mean is the logit without the bias.
    bias = network.network.linear.bias.detach().numpy()
    np.testing.assert_allclose(heatmap.mean(axis=(2, 3)) + bias, network.logits(grey), atol=1e-3)


@pytest.mark.parametrize("recipe", [NetworkRecipe(), NetworkRecipe(name="litenet")])
def test_a_missed_tumour_has_its_price(tmp_path: Path, recipe: NetworkRecipe) -> None:
    plain = fresh(recipe)
    priced = replace(plain, description=replace(plain.description, false_negative_cost=4.0))
    save_weights(tmp_path / "priced.safetensors", priced)
    priced = load_weights(tmp_path / "priced.safetensors")
    grey = pictures(6, side=64)
    before, after = plain.probabilities(grey), priced.probabilities(grey)
    np.testing.assert_allclose(after.sum(axis=1), 1)
    # Against every tumour "no tumour" is a quarter as likely as it was; tumours keep their ratios.
    np.testing.assert_allclose(
        after[:, [2]] / after, before[:, [2]] / before * [1 / 4, 1 / 4, 1, 1 / 4]
    )
    onnx.save(build_onnx(priced), tmp_path / "priced.onnx")
    probabilities, logits = ask(tmp_path / "priced.onnx", grey)[:2]
    np.testing.assert_allclose(probabilities, after, atol=1e-5)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), after, atol=1e-5)


def test_the_price_of_a_missed_tumour_is_exact_in_8_bits(tmp_path: Path) -> None:
    plain, grey = fresh(NetworkRecipe(name="litenet")), pictures(8, side=64)
    with torch.no_grad():  # A fresh network's map hardly differs from picture to picture.
        plain.network.get_submodule("outline").weight.normal_(std=30.0)
    priced = replace(plain, description=replace(plain.description, false_negative_cost=4.0))
    logits = []
    for name, trained in (("plain", plain), ("priced", priced)):
        model = quantize(build_onnx(trained), grey, keep_fp32=LiteNet.keep_fp32[8])
        onnx.save(model, tmp_path / f"{name}.onnx")
        logits.append(ask(tmp_path / f"{name}.onnx", grey)[1])
    penalty = [[0, 0, np.log(4), 0]] * len(grey)
    np.testing.assert_allclose(logits[0] - logits[1], penalty, atol=1e-5)


def test_a_price_changes_nothing_where_every_picture_has_a_tumour() -> None:
    description = Description(
        network={},
        classes=("glioma", "meningioma", "pituitary"),
        input_size=32,
        false_negative_cost=4.0,
    )
    assert description.offsets == (0, 0, 0)


def test_a_fixed_batch_stands_in_the_file(trained: Path, tmp_path: Path, file: Path) -> None:
    fixed = export_onnx(RunFolder(trained), tmp_path / "fixed.onnx", batch=2)
    shape = onnx.load(fixed).graph.input[0].type.tensor_type.shape
    assert [side.dim_value for side in shape.dim] == [2, 1, 32, 32]
    grey = pictures(2)
    np.testing.assert_allclose(ask(fixed, grey)[0], ask(file, grey)[0], atol=1e-6)


def test_the_newest_operators_answer_the_same(trained: Path, tmp_path: Path, file: Path) -> None:
    newest = newest_opset()
    assert newest > 13
    path = export_onnx(RunFolder(trained), tmp_path / "new.onnx", opset=newest)
    model = onnx.load(path)
    assert model.opset_import[0].version == newest
    assert unsupported_operators(model) == [f"operator set {newest}"]
    grey = pictures(2)
    np.testing.assert_allclose(ask(path, grey)[0], ask(file, grey)[0], atol=1e-6)


@pytest.mark.parametrize(("opset", "batch"), [(12, None), (999, None), (13, 0)])
def test_what_is_not_on_offer_is_refused(
    trained: Path, tmp_path: Path, opset: int, batch: int | None
) -> None:
    with pytest.raises(ModelError, match="not on offer"):
        export_onnx(RunFolder(trained), tmp_path / "model.onnx", opset=opset, batch=batch)
    assert list(tmp_path.iterdir()) == []


def test_torchscript_carries_the_same(trained: Path, tmp_path: Path, file: Path) -> None:
    path = export_torchscript(RunFolder(trained), tmp_path / "model.torchscript")
    extra = {"tumorscope.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.load(path, _extra_files=extra)
    (entry,) = onnx.load(file).metadata_props
    assert json.loads(extra["tumorscope.json"]) == json.loads(entry.value)
    grey = pictures(3)
    with torch.inference_mode():
        answers = script(torch.from_numpy(grey)[:, None].float())
    for answer, expected in zip(answers, ask(file, grey), strict=True):
        np.testing.assert_allclose(answer.numpy(), expected, atol=1e-4)


def test_an_unfinished_run_leaves_no_file(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with pytest.raises(ModelError, match="finished"):
        export_onnx(run, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


class _Flat(Network):
    """A network whose head looks at places, not at means, so that there is no class map."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(32 * 32, 4)

    def outputs(self, grey: Tensor) -> Outputs:
        return Outputs(self.linear(grey.flatten(1) / 255.0))


class _Scored(_Flat):
    """The same with an OOD score."""

    def outputs(self, grey: Tensor) -> Outputs:
        return Outputs(super().outputs(grey).logits, ood_score=grey.mean(dim=(1, 2, 3)))


@pytest.mark.parametrize(
    ("network", "others"), [(_Flat(), []), (_Scored(), ["ood_score"])], ids=["flat", "scored"]
)
def test_a_file_has_the_outputs_that_the_network_has(network: Network, others: list[str]) -> None:
    description = Description(network={}, classes=CLASSES, input_size=32)
    trained = TrainedNetwork(network.eval(), description)
    model = build_onnx(trained)
    assert [port.name for port in model.graph.output] == ["probabilities", "logits", *others]
    grey = pictures(2)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    probabilities, _, *scores = session.run(None, {"grey": grey[:, None].astype(np.float32)})
    np.testing.assert_allclose(probabilities, trained.probabilities(grey), atol=1e-5)
    for score in scores:
        np.testing.assert_allclose(score, grey.mean(axis=(1, 2)), rtol=1e-5)
        np.testing.assert_allclose(score, trained.ood_score(grey), rtol=1e-5)
    assert trained.heatmaps(grey, np.array([0, 1])) is None


def test_exporting_leaves_the_network_alone() -> None:
    trained = fresh(NetworkRecipe(name="slicenet", size="nano"))
    before = {name: value.clone() for name, value in trained.network.state_dict().items()}
    build_onnx(replace(trained))
    after = trained.network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not trained.network.training


def _model(*nodes: onnx.NodeProto, opset: int = 13, values: tuple[object, ...] = ()) -> object:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph(list(nodes), "graph", [x], [y], initializer=list(values))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def test_operators_are_named_for_tensorrt() -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    assert unsupported_operators(_model(relu)) == []
    assert unsupported_operators(_model(relu, opset=17)) == ["operator set 17"]
    swish = helper.make_node("HardSwish", ["x"], ["y"])
    shrink = helper.make_node("Shrink", ["x"], ["y"])
    own = helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft")
    assert unsupported_operators(_model(swish, shrink, own, swish)) == [
        "HardSwish",
        "Shrink",
        "com.microsoft.FusedConv",
    ]


@pytest.mark.parametrize("zero", [np.int8(3), np.uint8(0), np.int8(0), None])
def test_quantisation_must_be_symmetric_for_tensorrt(zero: np.generic | None) -> None:
    values = [numpy_helper.from_array(np.array(0.1, np.float32), "scale")]
    if zero is not None:
        values.append(numpy_helper.from_array(np.array(zero), "zero"))
    names = ["x", *(value.name for value in values)]
    node = helper.make_node("QuantizeLinear", names, ["y"])
    symmetric = zero is None or (zero.dtype == np.int8 and zero == 0)
    expected = [] if symmetric else ["QuantizeLinear of unsigned or shifted values"]
    assert unsupported_operators(_model(node, values=tuple(values))) == expected


def test_the_list_of_operators_is_one_of_onnx() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    legacy = {"ImageScaler", "ParametricSoftplus", "ScaledTanh"}  # TensorRT's own old ones
    assert known >= TENSORRT_8_2_OPERATORS - legacy
    assert len(TENSORRT_8_2_OPERATORS) > 100
