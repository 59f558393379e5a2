"""What both stand-ins for TensorRT's Python package share: an engine that is the ONNX file itself.

They have the names, signatures and order of calls of TensorRT 8.2's and 10's Python interfaces
as NVIDIA documents them, as far as the board's files use them. They show that those files keep to
these interfaces, and nothing about TensorRT's arithmetic or speed.
"""

import ctypes
import enum

import numpy as np
import onnxruntime


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1


class Logger:
    ERROR = 1

    def __init__(self, severity):
        assert severity == self.ERROR


class Engine:
    """The ports are listed outputs first, so that nobody relies on an order."""

    type_of_ports = DataType.FLOAT
    profile = ((1, 32, 32), (1, 256, 256), (1, 2048, 2048))

    def __init__(self, blob):
        self.session = onnxruntime.InferenceSession(blob, providers=["CPUExecutionProvider"])
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self.ports = [*outputs, *inputs]
        self.inputs = {port.name for port in inputs}

    def shape(self, port):
        """An open side is -1, as TensorRT has it."""
        return tuple(side if isinstance(side, int) else -1 for side in port.shape)

    def run(self, addresses, shapes):
        """Run from and to the addresses, one a port, with the shapes of inputs by name."""
        assert len(addresses) == len(self.ports)
        views = {}
        for port, address in zip(self.ports, addresses, strict=True):
            shape = shapes.get(port.name, port.shape)
            floats = (ctypes.c_float * int(np.prod(shape))).from_address(address)
            views[port.name] = np.frombuffer(floats, np.float32).reshape(shape)
        feeds = {name: views[name] for name in self.inputs}
        names = [port.name for port in self.ports if port.name not in self.inputs]
        for name, values in zip(names, self.session.run(names, feeds), strict=True):
            views[name][...] = values
        return True


class Context:
    def __init__(self, engine):
        self.engine = engine
        self.addresses = {}
        self.shapes = {}

    def set_shape(self, port, shape):
        assert port.name in self.engine.inputs
        least, _, most = self.engine.profile
        open_sides = [place for place, side in enumerate(self.engine.shape(port)) if side < 0]
        if not all(least[place] <= shape[place] <= most[place] for place in open_sides):
            return False
        self.shapes[port.name] = shape
        return True


class Runtime:
    engine = Engine

    def __init__(self, logger):
        assert isinstance(logger, Logger)

    def deserialize_cuda_engine(self, blob):
        assert isinstance(blob, bytes)
        try:
            return self.engine(blob)
        except Exception:  # noqa: BLE001  (TensorRT writes to its log and returns None)
            return None
