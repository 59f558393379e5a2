"""A stand-in for TensorRT 11's Python package: as 10's, precision is the file's."""

import processor_engine
from processor_engine import DataType, Logger

__all__ = ["DataType", "Logger", "Runtime"]
__version__ = "11.0.0"


class Engine(processor_engine.Engine):
    @property
    def num_io_tensors(self):
        return len(self.ports)

    def get_tensor_name(self, number):
        return self.ports[number].name

    def get_tensor_shape(self, name):
        return self.shape(next(port for port in self.ports if port.name == name))

    def get_tensor_profile_shape(self, name, profile_index):
        assert (profile_index, -1) == (0, min(self.get_tensor_shape(name)))
        return self.profile

    def get_tensor_dtype(self, name):
        assert name in {port.name for port in self.ports}
        return self.type_of_ports

    def create_execution_context(self):
        return Context(self)


class Context(processor_engine.Context):
    def set_input_shape(self, name, shape):
        return self.set_shape(next(port for port in self.engine.ports if port.name == name), shape)

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        assert stream_handle
        addresses = [self.addresses[port.name] for port in self.engine.ports]
        return self.engine.run(addresses, self.shapes)


class Runtime(processor_engine.Runtime):
    engine = Engine
