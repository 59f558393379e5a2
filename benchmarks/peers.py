"""Measures our model file beside three well-known networks, in the same run.

    python benchmarks/peers.py --model FILE [--int8 FILE]

ResNet-18, EfficientNet-B0 and MobileNetV2 at 224 pixels, with random weights, and our own files
answer one image at a time, in turn, so that noise hits all alike: first all of them
in ONNX Runtime, then all of them in OpenVINO.
"""

import argparse
import hashlib
import math
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from monai.networks.nets import EfficientNetBN, resnet18
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference
from torch import Tensor, nn

from record import write_record
from tumorscope.classes import CLASSES
from tumorscope.cli.show import console, progress, table
from tumorscope.inference.model_file import open_model
from tumorscope.inference.runtimes import ONNX, OPENVINO, open_runtime, runtime_version
from tumorscope.latency.timing import take_turns
from tumorscope.networks.litenet import _bands, _cubic, _mirrored_bands

_SIDE = 224
_OPSET = 13
_LEAD = 3
"""Calls before each timed one: in use a network finds the caches as it left them."""

MEASURE = "ResNet-18"
"""The network that the others are compared with."""

_PUBLISHED = {"ResNet-18": 1.82e9, "EfficientNet-B0": 0.39e9, "MobileNetV2": 0.30e9}
"""Multiply-adds of one image of 224 pixels, as their authors and readers count them."""


@dataclass(frozen=True)
class Entrant:
    """A network that takes part.

    Attributes:
        name: What it is called.
        path: Its ONNX file, made for one image a call.
        shape: Of its input.
        multiply_adds: Of one image, in convolutions and linear layers.
    """

    name: str
    path: Path
    shape: tuple[int, ...]
    multiply_adds: int


def main() -> None:
    """Measure and write `results/peers.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="our ONNX file")
    parser.add_argument("--int8", type=Path, help="the same in 8 bits")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--calls", type=int, default=300)
    options = parser.parse_args()
    title = open_model(options.model).facts.title
    own = {title: options.model} | ({f"{title} INT8": options.int8} if options.int8 else {})
    with tempfile.TemporaryDirectory() as name:
        entrants = [*write_peers(Path(name)), *_own(own, Path(name))]
        asks = {
            ONNX: {each.name: in_onnx(each, options.threads) for each in entrants},
            OPENVINO: {each.name: _in_openvino(each, options.threads) for each in entrants},
        }
        seconds = {
            runtime: take_turns(
                calls, rounds=options.calls, lead=_LEAD, progress=progress, label=runtime
            )
            for runtime, calls in asks.items()
        }
    networks = {
        each.name: {
            "input": list(each.shape),
            "multiply_adds": each.multiply_adds,
            **{
                runtime: latency_figures(times[each.name], times[MEASURE])
                for runtime, times in seconds.items()
            },
        }
        for each in entrants
    }
    _show(entrants, seconds)
    write_record(
        "peers",
        command="python benchmarks/peers.py --model FILE" + " --int8 FILE" * bool(options.int8),
        figures={
            "threads": options.threads,
            "versions": {runtime: runtime_version(runtime) for runtime in asks},
            "networks": networks,
        },
        seeds=[0],
        n=options.calls,
        data_fingerprint=hashlib.sha256(
            b"".join(path.read_bytes() for path in own.values())
        ).hexdigest(),
    )


class MobileNetV2(nn.Sequential):
    """The network of Sandler et al. 2018 (https://arxiv.org/abs/1801.04381), table 2, at width 1.

    Args:
        classes: How many.
    """

    def __init__(self, classes: int) -> None:
        rows = (  # Expansion, channels, blocks, stride of the first block.
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        )
        layers, channels = _convolution(3, 32, 3, stride=2), 32
        for expansion, wanted, blocks, stride in rows:
            for number in range(blocks):
                step = stride if number == 0 else 1
                layers.append(_InvertedResidual(channels, wanted, expansion, step))
                channels = wanted
        layers += _convolution(channels, 1280, 1)
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, classes))


class _InvertedResidual(nn.Module):
    """Widens by a 1x1 convolution, filters each channel by itself, narrows without activation."""

    def __init__(self, channels: int, wanted: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.layers = nn.Sequential(
            *(_convolution(channels, hidden, 1) if expansion > 1 else []),
            *_convolution(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, wanted, 1, bias=False),
            nn.BatchNorm2d(wanted),
        )
        self.is_residual = stride == 1 and channels == wanted

    def forward(self, inputs: Tensor) -> Tensor:
        """Return feature maps `[N, wanted, h, w]`."""
        outputs: Tensor = self.layers(inputs)
        return inputs + outputs if self.is_residual else outputs


def _convolution(
    channels: int, wanted: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    convolution = nn.Conv2d(
        channels, wanted, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    return [convolution, nn.BatchNorm2d(wanted), nn.ReLU6()]


def write_peers(
    folder: Path, *, names: Collection[str] = tuple(_PUBLISHED), side: int = _SIDE
) -> Iterator[Entrant]:
    """Build networks as published, for our classes, and write them as ONNX files.

    Args:
        folder: Where the files go.
        names: Which of the three.
        side: Of their input in pixels.
    """
    torch.manual_seed(0)
    efficient = EfficientNetBN("efficientnet-b0", pretrained=False, num_classes=len(CLASSES))
    efficient.set_swish(memory_efficient=False)
    networks = {
        # MONAI's own default is another stem, made for volumes.
        "ResNet-18": resnet18(
            spatial_dims=2,
            n_input_channels=3,
            conv1_t_size=7,
            conv1_t_stride=2,
            no_max_pool=False,
            num_classes=len(CLASSES),
            bias_downsample=False,
        ),
        "EfficientNet-B0": efficient,
        "MobileNetV2": MobileNetV2(len(CLASSES)),
    }
    for name in names:
        path, network = folder / f"{name}.onnx", networks[name]
        _settle(network, side)
        with warnings.catch_warnings():
            # This exporter is deprecated, and the one that our files are made by.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            # Shapes that are constants of a network at one input size (EfficientNet's padding).
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
            warnings.filterwarnings("ignore", message="Constant folding")
            example = torch.rand(1, 3, side, side)
            torch.onnx.export(network, (example,), path, opset_version=_OPSET, dynamo=False)
        peer = entrant(name, path)
        published = _PUBLISHED[name] * (side / _SIDE) ** 2
        if abs(peer.multiply_adds / published - 1) > 0.03:
            raise SystemExit(
                f"{name}: {peer.multiply_adds:,} multiply-adds, not the published network"
            )
        yield peer


def _settle(network: nn.Module, side: int) -> None:
    """Give the batch norms the statistics of what comes in, and leave training mode.

    Without it values shrink from layer to layer, and tiny ones slow a processor down.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(8, 3, side, side))
    network.eval()


def _own(files: dict[str, Path], folder: Path) -> Iterator[Entrant]:
    """Write our files for one image a call, at their own input size and at the peers'."""
    for name, path in files.items():
        side = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[2].dim_value
        for wanted in sorted({side, _SIDE}):
            model = onnx.load(path)
            label = name if wanted == side else f"{name} at {wanted}"
            _make_input(model, (1, 1, wanted, wanted))
            _refit_matrices(model, side, wanted)
            file = folder / f"{label}.onnx".replace("/", "-")
            onnx.save(model, file)
            yield entrant(label, file)


def _make_input(model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    """Give a model's only input another shape, and forget what followed from the old one."""
    for dimension, value in zip(
        model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True
    ):
        dimension.dim_value = value
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    model.graph.ClearField("value_info")


def _refit_matrices(model: onnx.ModelProto, side: int, wanted: int) -> None:
    """Replace the matrices that refine the map, and those of the OOD score, by another side's."""
    own, others = _matrices(side), _matrices(wanted)
    graph = model.graph
    constants = [node.attribute[0].t for node in graph.node if node.op_type == "Constant"]
    for tensor in (*graph.initializer, *constants):
        values = numpy_helper.to_array(tensor)
        for matrix, other in zip(own, others, strict=True):
            if values.shape == matrix.shape and np.allclose(values, matrix, atol=1e-6):
                tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))


def _matrices(side: int) -> list[NDArray[np.float32]]:
    """Return the matrices that a network for inputs of a side holds for its maps' sides."""
    found = [_cubic(side // 8)]
    for part in (8, 16, 32):
        found += [_bands(side // part), _mirrored_bands(side // part)]
    return [each for matrix in found for each in (matrix, np.ascontiguousarray(matrix.T))]


def entrant(name: str, path: Path) -> Entrant:
    """Take an ONNX file as it is; its multiply-adds are counted in its simplified form."""
    simple = path.with_suffix(".simple.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(simple)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return Entrant(name, path, tuple(given.shape), _multiply_adds(onnx.load(simple)))


def _multiply_adds(model: onnx.ModelProto) -> int:
    """Count the products of convolutions and linear layers, all shapes being known."""
    graph = shape_inference.infer_shapes(model).graph
    shapes = {item.name: tuple(item.dims) for item in graph.initializer} | {
        item.name: tuple(dimension.dim_value for dimension in item.type.tensor_type.shape.dim)
        for item in (*graph.value_info, *graph.output)
    }
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            products = math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            products = math.prod(shapes[node.input[1]])
        else:
            continue
        if not products:
            raise SystemExit(f"the shape of {node.name} is not known")
        total += products
    return total


def _image(entrant: Entrant) -> NDArray[np.float32]:
    """Return what a network is asked: grey values for ours, normalised colours for the peers."""
    random = np.random.default_rng(0)
    if entrant.shape[1] == 1:
        return random.integers(0, 256, entrant.shape).astype(np.float32)
    return random.normal(size=entrant.shape).astype(np.float32)


def in_onnx(entrant: Entrant, threads: int) -> Callable[[], object]:
    """Return a call that answers one image in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin after a call would take the cores from the next network's.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        entrant.path, options, providers=["CPUExecutionProvider"]
    )
    inputs = {session.get_inputs()[0].name: _image(entrant)}
    return lambda: session.run(None, inputs)


def _in_openvino(entrant: Entrant, threads: int) -> Callable[[], object]:
    opened = open_runtime(entrant.path, runtime=OPENVINO, threads=threads)
    return partial(opened.call, _image(entrant))


def latency_figures(times: NDArray[np.float64], measure: NDArray[np.float64]) -> dict[str, float]:
    """Return median and 95th percentile of seconds, and the ratio to those of `MEASURE`."""
    middle, slow = np.percentile(times, (50, 95)) * 1000
    ratio = float(np.median(times) / np.median(measure))
    return {
        "median_ms": round(middle, 3),
        "p95_ms": round(slow, 3),
        "of_resnet18": round(ratio, 4),
    }


def _show(entrants: list[Entrant], seconds: dict[str, dict[str, NDArray[np.float64]]]) -> None:
    columns = ["network", "pixels", "M multiply-adds"]
    columns += [f"{runtime} {what}" for runtime in seconds for what in ("ms", "ratio")]
    rows = []
    for each in entrants:
        row = [each.name, str(each.shape[-1]), f"{each.multiply_adds / 1e6:,.0f}"]
        for times in seconds.values():
            figures = latency_figures(times[each.name], times[MEASURE])
            row += [f"{figures['median_ms']:.2f}", f"{figures['of_resnet18']:.2f}"]
        rows.append(row)
    console().print(table(f"One image, ratio to {MEASURE}", columns, rows))


if __name__ == "__main__":
    main()
