"""Estimates what a slice costs on a board: a roofline.

A layer takes the longer of two times (Williams et al. 2009, https://doi.org/10.1145/1498765.1498785):
that of its operations at the processor's peak and that of its bytes at the memory's. To each kernel
a fixed time is added for starting it, which is assumed, not known. No kernel reaches a peak, and
convolutions by channel (MobileNet's) stay far below, so this is what a board could do at best, not
what it will do; nothing here was measured on one.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

from tumorscope.inference.onnx_messages import Model
from tumorscope.jetson.board_graph import find_shapes
from tumorscope.jetson.targets import Target

_BYTES: Final = 2
"""Of a number in 16-bit floating point."""

_FUSED: Final = frozenset(
    """
    Abs Add BatchNormalization Cast Clip Constant DequantizeLinear Div Dropout Flatten Floor Greater
    GreaterOrEqual HardSigmoid HardSwish Identity LeakyRelu Less Max Min Mul Neg Pad PRelu Pow
    QuantizeLinear Relu Reshape Sigmoid Sqrt Squeeze Sub Tanh Unsqueeze
    """.split()  # noqa: SIM905  (a list would be 33 lines long)
)
"""What TensorRT does within the layer before, or without moving a number."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What a layer costs.

    Attributes:
        name: Of what it makes.
        operator: Its operator.
        operations: Additions and multiplications.
        bytes: Read and written, in 16-bit floating point.
        kernels: 1, or 0 where it is fused with the layer before.
    """

    name: str
    operator: str
    operations: float
    bytes: float
    kernels: int

    def milliseconds(self, target: Target) -> float:
        """Return the time that the board needs at its peaks, and for starting the kernel."""
        longest = max(
            self.operations / (1e9 * target.gigaflops), self.bytes / (1e9 * target.bandwidth)
        )
        return 1e3 * longest + 1e-3 * target.launch * self.kernels


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a slice costs on a board, estimated.

    Attributes:
        target: The board.
        layers: Its layers.
    """

    target: Target
    layers: tuple[Layer, ...]

    @property
    def milliseconds(self) -> float:
        """The estimated time for a slice."""
        return sum(layer.milliseconds(self.target) for layer in self.layers)

    @property
    def gigaflop(self) -> float:
        """Operations for a slice, in 10^9."""
        return sum(layer.operations for layer in self.layers) / 1e9

    @property
    def kernels(self) -> int:
        """How many kernels are started."""
        return sum(layer.kernels for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Return the sums by name."""
        starting = 1e-3 * self.target.launch * self.kernels
        return {
            "kind": "estimate (roofline), not measured",
            "milliseconds": round(self.milliseconds, 2),
            "of_which_starting_kernels": round(starting, 2),
            "assumed_microseconds_a_kernel": self.target.launch,
            "kernels": self.kernels,
            "gigaflop": round(self.gigaflop, 3),
            "megabytes_moved": round(sum(layer.bytes for layer in self.layers) / 1e6, 2),
            "peak_gigaflops": self.target.gigaflops,
            "peak_gigabytes_a_second": self.target.bandwidth,
            "source": self.target.source,
        }


def estimate(model: Model, target: Target) -> Estimate:
    """Estimate what a slice costs.

    Args:
        model: A model whose input has a fixed shape.
        target: The board.
    """
    graph = model.graph
    made = find_shapes(model, [name for node in graph.node for name in node.output if name])
    # (A side that ONNX Runtime leaves open is the batch, which is one.)
    shapes = {
        name: [side if isinstance(side, int) else 1 for side in shape]
        for name, shape in made.items()
    }
    for port in graph.input:
        shapes[port.name] = [side.dim_value for side in port.type.tensor_type.shape.dim]
    weights = {item.name: list(item.dims) for item in graph.initializer}
    # (8-bit weights come through an operator that turns them into numbers.)
    weights |= {
        node.output[0]: weights[node.input[0]]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in weights
    }
    layers = tuple(_layer(node, shapes, weights) for node in graph.node)
    return Estimate(target=target, layers=layers)


def _layer(node: Any, shapes: dict[str, list[int]], weights: dict[str, list[int]]) -> Layer:
    made = sum(math.prod(shapes.get(name, [0])) for name in node.output)
    flowing = [math.prod(shapes[name]) for name in node.input if name in shapes]
    constant = sum(math.prod(weights[name]) for name in node.input if name in weights)
    fused = node.op_type in _FUSED
    # Within the layer before, the first input is at hand and the output is that layer's.
    moved = sum(sorted(flowing)[:-1]) if fused else sum(flowing) + made + constant
    return Layer(
        name=node.output[0],
        operator=node.op_type,
        operations=float(_operations(node, made, max(flowing, default=0), weights)),
        bytes=float(_BYTES * moved),
        kernels=0 if fused else 1,
    )


def _operations(node: Any, made: int, largest: int, weights: dict[str, list[int]]) -> int:
    """Return how many additions and multiplications an operator takes."""
    kernel = next((weights[name] for name in node.input if name in weights), [])
    if node.op_type == "Conv":
        return 2 * made * math.prod(kernel[1:])
    if node.op_type in ("Gemm", "MatMul") and kernel:
        transposed = any(item.name == "transB" and item.i for item in node.attribute)
        return 2 * made * (kernel[-1] if transposed else kernel[-2])
    return max(made, largest)
