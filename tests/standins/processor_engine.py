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

    def __init__(self, blob):
        self.session = onnxruntime.InferenceSession(blob, providers=["CPUExecutionProvider"])
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self.ports = [*outputs, *inputs]
        self.inputs = {port.name for port in inputs}

    def run(self, addresses):
        """Run from and to the addresses, one a port."""
        assert len(addresses) == len(self.ports)
        views = {}
        for port, address in zip(self.ports, addresses, strict=True):
            count = int(np.prod(port.shape))
            floats = (ctypes.c_float * count).from_address(address)
            views[port.name] = np.frombuffer(floats, np.float32).reshape(port.shape)
        feeds = {name: views[name] for name in self.inputs}
        names = [port.name for port in self.ports if port.name not in self.inputs]
        for name, values in zip(names, self.session.run(names, feeds), strict=True):
            views[name][...] = values
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
