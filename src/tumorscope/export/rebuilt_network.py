"""Builds a trained network, and a run's folder, again from the ONNX file that was made of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from tumorscope.classes import ANY_TUMOUR
from tumorscope.datasets.locations import DataSource, noted
from tumorscope.datasets.sources import read_set
from tumorscope.errors import ModelError
from tumorscope.export.samples import draw_sample
from tumorscope.files import write_text
from tumorscope.inference.model_file import ModelFacts, open_model
from tumorscope.networks.factory import build_network
from tumorscope.networks.network import Network
from tumorscope.networks.network_recipe import NetworkRecipe
from tumorscope.training.recipe import Recipe
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import Description, TrainedNetwork, save_weights

_ALLOWED = 1e-4
"""How far a probability of the network may be from the file's."""

_PREFIX = "network."
"""What the network is called in an exported file's names."""


def rebuild(path: Path) -> TrainedNetwork:
    """Return the trained network that a model file in 32 bits was made of.

    Batch norms are folded into the convolutions before them there, and stay so: here they pass
    everything on. So the network predicts as it did, and is not to be trained further.

    Args:
        path: A file that `export` wrote, with prepared input.

    Raises:
        ModelError: It is no such file, or was made in another way: what is built answers otherwise.
    """
    return _rebuild(path)[0]


def _rebuild(path: Path) -> tuple[TrainedNetwork, ModelFacts]:
    """Return the network, and what its file says about it."""
    opened = open_model(path, providers=["cpu"])
    network, description = _plan(json.loads(opened.runtime.metadata or ""))
    model = onnx.load(path)
    values = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    # (Two weights with the same values are kept once.)
    values |= {
        node.output[0]: values[node.input[0]]
        for node in model.graph.node
        if node.op_type == "Identity" and node.input[0] in values
    }
    try:
        _fill(network, description.input_size, model.graph, values)
    except (RuntimeError, KeyError) as error:
        raise ModelError(f"{path}: not exported in 32 bits with prepared input ({error})") from None
    rebuilt = TrainedNetwork(network.eval(), description)
    grey = draw_sample(description).grey
    expected = opened.runtime.run(grey)["probabilities"]
    apart = float(np.abs(rebuilt.probabilities(grey) - expected).max())
    if not apart <= _ALLOWED:
        raise ModelError(f"{path}: what is built of it answers otherwise, by {apart:.2g}")
    return rebuilt, opened.facts


def unpack(path: Path, folder: Path, data: Sequence[Path] | None = None) -> RunFolder:
    """Write a model file as a run's folder, so that any format can be made of it.

    Args:
        path: As in `rebuild`.
        folder: A new folder.
        data: Data sets whose slices stand for the run's, which are not known: every other one
            as a slice that it learned from, the rest as those that it was validated on.

    Raises:
        ModelError: As in `rebuild`.
        DataError: A data set cannot be read.
    """
    trained, facts = _rebuild(path)
    sources = [DataSource.of(source) for source in data or ()]
    slices = [item for source in sources for item in read_set(source).slices]
    named = sorted(
        (item for item in slices if item.label != ANY_TUMOUR),
        key=lambda item: (item.label, item.source, item.name),
    )
    run = RunFolder(folder)
    folder.mkdir(parents=True)
    run.list_slices({"train": named[::2], "validation": named[1::2]})
    write_text(run.recipe_file, Recipe.model_validate(facts.recipe).to_toml())
    noted_facts = {
        **noted(tuple(sources)),
        **facts.data,
        "classes": list(facts.classes),
        "name": facts.name,
        "version": facts.version,
        "license": facts.license,
        "skipped": [],
        "left_out_for_doubted_labels": 0,
        "left_out_for_patients_in_test": 0,
        "test_slices_whose_group_was_learned": 0,
    }
    write_text(run.data_file, json.dumps(noted_facts, indent=2) + "\n")
    save_weights(run.weights_file, trained)
    return run


def _plan(metadata: Mapping[str, Any]) -> tuple[Network, Description]:
    """Return the network with any weights, and its description."""
    recipe = metadata["recipe"]
    description = Description(
        network=recipe["network"],
        classes=metadata["classes"],
        input_size=metadata["input_size"],
        preparation=metadata["preparation"],
        temperature=metadata["temperature"],
        false_negative_cost=recipe["decision"]["false_negative_cost"],
        **metadata["thresholds"],
    )
    return build_network(NetworkRecipe(**recipe["network"]), description.classes), description


@torch.no_grad()
def _fill(
    network: Network, side: int, graph: onnx.GraphProto, values: Mapping[str, NDArray[Any]]
) -> None:
    """Give a network the weights of a graph.

    Those of folded convolutions have lost their names there, but stand in the order in which the
    network computes. (What other convolutions a graph has come last.)
    """
    state = network.state_dict()
    named = {name: values[_PREFIX + name] for name in state if _PREFIX + name in values}
    network.load_state_dict(
        {name: torch.tensor(value) for name, value in named.items()}, strict=False
    )
    folded = [pair for pair in _convolutions(network, side) if f"{pair[0]}.weight" not in named]
    nodes = [
        node
        for node in graph.node
        if node.op_type == "Conv" and not node.input[1].startswith(_PREFIX)
    ]
    for (_, convolution, norm), node in zip(folded, nodes, strict=False):
        weight, bias = (torch.tensor(values[name]) for name in node.input[1:3])
        if weight.shape != convolution.weight.shape or weight.dtype != torch.float32:
            raise RuntimeError(f"{node.name} has other weights")
        convolution.weight.copy_(weight)
        same = torch.ones(len(bias))
        norm.load_state_dict(
            {
                "weight": same,
                "bias": bias,
                "running_mean": same - same,
                "running_var": same - norm.eps,
                "num_batches_tracked": norm.num_batches_tracked,
            }
        )
    if len(folded) > len(nodes):
        raise RuntimeError(f"it has {len(nodes)} convolutions, the network {len(folded)}")


def _convolutions(network: Network, side: int) -> list[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    """Return convolutions that a batch norm follows, in the order in which they are computed."""
    names = {module: name for name, module in network.named_modules()}
    found: list[tuple[str, nn.Conv2d, nn.BatchNorm2d]] = []
    before: list[tuple[nn.Conv2d, Tensor]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            before[:] = [(module, output)]
        elif isinstance(module, nn.BatchNorm2d) and before and inputs[0] is before[0][1]:
            found.append((names[before[0][0]], before[0][0], module))

    hooks = [module.register_forward_hook(note) for module in names]
    network.eval().outputs(torch.zeros(1, 1, side, side))
    for hook in hooks:
        hook.remove()
    return found
