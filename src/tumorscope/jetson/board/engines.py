"""Opens the graphs of a bundle, the model and the preparation: in TensorRT or ONNX Runtime."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tumorscope.jetson.board.cuda import Cuda
from tumorscope.jetson.board.engine import BUILD, engine_of, import_tensorrt, read_engine
from tumorscope.jetson.board.folder import MODEL, PREPARATION, BoardError

if TYPE_CHECKING:
    from typing import Callable, Dict, List, Tuple, Union

    from numpy.typing import NDArray

    from tumorscope.jetson.board.folder import Facts

RUNTIMES = ("tensorrt", "onnx")


class OnnxRuntime:
    """A graph in ONNX Runtime, on the processor: any PC.

    Args:
        folder: The bundle.
        model: The graph's file.

    Raises:
        BoardError: ONNX Runtime is missing, or cannot open the file.
    """

    def __init__(self, folder: Path, model: str) -> None:
        try:
            import onnxruntime  # noqa: PLC0415  (a board has none)
        except ImportError:
            raise BoardError("no ONNX Runtime for this Python: pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no base class of their own.
            words = " ".join(str(error).split())[:120]
            raise BoardError(f"{model}: ONNX Runtime cannot open it ({words})") from error
        self._names = [port.name for port in self._session.get_outputs()]
        self.title = f"ONNX Runtime {onnxruntime.__version__}"

    def ask(self, grey: "NDArray[np.uint8]") -> "Dict[str, NDArray[np.float32]]":
        """Return the outputs by name, each without its batch of one.

        Args:
            grey: A slice in the shape that the graph takes.
        """
        name = self._session.get_inputs()[0].name
        answers = self._session.run(None, {name: grey.astype(np.float32)})
        return {name: answer[0] for name, answer in zip(self._names, answers)}

    def metadata(self) -> "Dict[str, str]":
        """Return what the model file says about itself."""
        return dict(self._session.get_modelmeta().custom_metadata_map)


class Port(NamedTuple):
    """An input or output of an engine.

    Attributes:
        name: Its name.
        array: Its values in the processor's memory; as many as there may be where sides are open.
        address: Where they are in the GPU's.
    """

    name: str
    array: "NDArray[np.float32]"
    address: int


class TensorRT:
    """A graph's engine in TensorRT.

    TensorRT 8.5 and newer find inputs and outputs by name; older ones, and so the Jetson Nano's
    8.2, by number.

    Args:
        folder: The bundle.
        model: The graph's file.
        entry: Its input's name.
        shapes: Of its input and outputs; -1 for an open side.

    Raises:
        BoardError: TensorRT or the engine is missing, or they do not fit each other.
    """

    def __init__(
        self, folder: Path, model: str, entry: str, shapes: "Dict[str, List[int]]"
    ) -> None:
        tensorrt = import_tensorrt()
        blob = read_engine(folder, model, tensorrt.__version__)
        self._file, self._entry = engine_of(model), entry
        self.title = f"TensorRT {tensorrt.__version__}"
        self._cuda = Cuda()
        self._logger = tensorrt.Logger(tensorrt.Logger.ERROR)
        self._runtime = tensorrt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(blob)
        if self._engine is None:
            raise BoardError(f"TensorRT cannot read {self._file}: {BUILD}")
        self._context = self._engine.create_execution_context()
        self._by_name = hasattr(self._context, "execute_async_v3")
        found = {name: list(self._shape(number)) for number, name in enumerate(self._names())}
        if found != shapes:
            raise BoardError(f"{self._file} has other inputs and outputs than {model}: {BUILD}")
        floats = tensorrt.DataType.FLOAT
        self._ports = [self._port(*item, floats) for item in enumerate(self._names())]
        self._execute = self._run_by_name() if self._by_name else self._run_by_number()

    def ask(self, grey: "NDArray[np.uint8]") -> "Dict[str, NDArray[np.float32]]":
        """Return the outputs by name, each without its batch of one.

        Args:
            grey: A slice in the shape that the graph takes.
        """
        for number, port in enumerate(self._ports):
            if port.name == self._entry:
                if -1 in self._shape(number):
                    self._set_shape(number, port, grey.shape)
                values = port.array.ravel()[: grey.size]
                values[:] = grey.ravel()
                self._cuda.send(values, port.address)
        if not self._execute():
            raise BoardError("TensorRT could not run the engine; its messages stand above")
        answers = [port for port in self._ports if port.name != self._entry]
        for port in answers:
            self._cuda.fetch(port.address, port.array)
        self._cuda.wait()
        return {port.name: port.array[0].copy() for port in answers}

    def _names(self) -> "List[str]":
        engine = self._engine
        if self._by_name:
            return [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        return [engine.get_binding_name(number) for number in range(engine.num_bindings)]

    def _shape(self, number: int) -> "Tuple[int, ...]":
        engine = self._engine
        if self._by_name:
            return tuple(engine.get_tensor_shape(self._names()[number]))
        return tuple(engine.get_binding_shape(number))

    def _port(self, number: int, name: str, floats: Any) -> Port:
        engine, shape = self._engine, self._shape(number)
        kind = engine.get_tensor_dtype(name) if self._by_name else engine.get_binding_dtype(number)
        if kind != floats:
            raise BoardError(f"{self._file}: {name} is not of 32-bit floats: {BUILD}")
        if -1 in shape:
            # The least, the usual and the largest that the engine was built for.
            profile = (
                engine.get_tensor_profile_shape(name, 0)
                if self._by_name
                else engine.get_profile_shape(0, number)
            )
            shape = profile[2]
        array = np.zeros(tuple(shape), dtype=np.float32)
        return Port(name, array, self._cuda.allocate(array.nbytes))

    def _set_shape(self, number: int, port: Port, shape: "Tuple[int, ...]") -> None:
        context = self._context
        fits = (
            context.set_input_shape(port.name, shape)
            if self._by_name
            else context.set_binding_shape(number, shape)
        )
        if not fits:
            raise BoardError(f"{self._file} takes no picture of {shape[-1]} x {shape[-2]} pixels")

    def _run_by_name(self) -> "Callable[[], bool]":
        for port in self._ports:
            self._context.set_tensor_address(port.name, port.address)
        return lambda: self._context.execute_async_v3(self._cuda.stream)

    def _run_by_number(self) -> "Callable[[], bool]":
        addresses = [port.address for port in self._ports]
        return lambda: self._context.execute_async_v2(addresses, self._cuda.stream)


def open_runtime(name: str, folder: Path, facts: "Facts") -> "Union[OnnxRuntime, TensorRT]":
    """Open the bundle's model, which takes a prepared slice, `[1, 1, S, S]`.

    Args:
        name: One of `RUNTIMES`.
        folder: The bundle.
        facts: What it says about its model.

    Raises:
        BoardError: It cannot be opened here.
    """
    if name == "onnx":
        return OnnxRuntime(folder, MODEL)
    shapes = dict(facts.outputs, grey=[1, 1, facts.side, facts.side])
    return TensorRT(folder, MODEL, "grey", shapes)


def open_preparation(name: str, folder: Path, side: int) -> "Union[OnnxRuntime, TensorRT]":
    """Open the bundle's preparation, which takes a slice of any size, `[1, H, W]`.

    Args:
        name: One of `RUNTIMES`.
        folder: The bundle.
        side: Side of the model's input in pixels.

    Raises:
        BoardError: It cannot be opened here.
    """
    if name == "onnx":
        return OnnxRuntime(folder, PREPARATION)
    shapes = {"pixels": [1, -1, -1], "grey": [1, 1, side, side], "box": [1, 4]}
    return TensorRT(folder, PREPARATION, "pixels", shapes)
