"""A stand-in for TensorRT 8.2's Python package: inputs and outputs go by number."""

import processor_engine
from processor_engine import DataType, Logger

__all__ = ["DataType", "Logger", "Runtime"]
__version__ = "8.2.1.9"


class Engine(processor_engine.Engine):
    @property
    def num_bindings(self):
        return len(self.ports)

    def get_binding_name(self, number):
        return self.ports[number].name

    def get_binding_shape(self, number):
        return self.shape(self.ports[number])

    def get_profile_shape(self, profile_index, binding):
        assert (profile_index, -1) == (0, min(self.get_binding_shape(binding)))
        return self.profile

    def get_binding_dtype(self, number):
        assert 0 <= number < self.num_bindings
        return self.type_of_ports

    def create_execution_context(self):
        return Context(self)


class Context(processor_engine.Context):
    def set_binding_shape(self, binding, shape):
        return self.set_shape(self.engine.ports[binding], shape)

    def execute_async_v2(self, bindings, stream_handle):
        assert stream_handle
        return self.engine.run(bindings, self.shapes)


class Runtime(processor_engine.Runtime):
    engine = Engine
