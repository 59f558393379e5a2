"""Opens the model of a bundle: in TensorRT or ONNX Runtime.

Both take a prepared slice and give the model's outputs; nothing else differs between them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tumorscope.jetson.board.cuda import Cuda
from tumorscope.jetson.board.engine import BUILD, ENGINE, import_tensorrt, read_engine
from tumorscope.jetson.board.folder import MODEL, BoardError

if TYPE_CHECKING:
    from typing import Callable, Dict, List, Union

    from numpy.typing import NDArray

    from tumorscope.jetson.board.folder import Facts

INPUT = "grey"
RUNTIMES = ("tensorrt", "onnx")


class OnnxRuntime:
    """The model in ONNX Runtime, on the processor: any PC.

    Args:
        folder: The bundle.

    Raises:
        BoardError: ONNX Runtime is missing, or cannot open the model.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import onnxruntime  # noqa: PLC0415  (a board has none)
        except ImportError:
            raise BoardError("no ONNX Runtime for this Python: pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / MODEL), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no base class of their own.
            words = " ".join(str(error).split())[:120]
            raise BoardError(f"{MODEL}: ONNX Runtime cannot open it ({words})") from error
        self._names = [port.name for port in self._session.get_outputs()]
        self.title = f"ONNX Runtime {onnxruntime.__version__}"

    def ask(self, grey: "NDArray[np.uint8]") -> "Dict[str, NDArray[np.float32]]":
        """Return the outputs for one prepared slice, uint8 `[S, S]`, by name."""
        answers = self._session.run(None, {INPUT: grey[None, None].astype(np.float32)})
        return {name: answer[0] for name, answer in zip(self._names, answers)}

    def metadata(self) -> "Dict[str, str]":
        """Return what the model file says about itself."""
        return dict(self._session.get_modelmeta().custom_metadata_map)


class Port(NamedTuple):
    """An input or output of an engine.

    Attributes:
        name: Its name.
        array: Its values in the processor's memory.
        address: Where they are in the GPU's.
    """

    name: str
    array: "NDArray[np.float32]"
    address: int


class TensorRT:
    """The engine in TensorRT.

    TensorRT 8.5 and newer find inputs and outputs by name; older ones, and so the Jetson Nano's
    8.2, by number.

    Args:
        folder: The bundle.
        facts: What it says about its model.

    Raises:
        BoardError: TensorRT or the engine is missing, or they do not fit each other.
    """

    def __init__(self, folder: Path, facts: "Facts") -> None:
        tensorrt = import_tensorrt()
        blob = read_engine(folder, facts, tensorrt.__version__)
        self.title = f"TensorRT {tensorrt.__version__}"
        self._cuda = Cuda()
        self._logger = tensorrt.Logger(tensorrt.Logger.ERROR)
        self._runtime = tensorrt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(blob)
        if self._engine is None:
            raise BoardError(f"TensorRT cannot read {ENGINE}: {BUILD}")
        self._context = self._engine.create_execution_context()
        if hasattr(self._context, "execute_async_v3"):
            self._ports = self._ports_by_name(tensorrt.DataType.FLOAT)
            self._execute = self._run_by_name()
        else:
            self._ports = self._ports_by_number(tensorrt.DataType.FLOAT)
            self._execute = self._run_by_number()
        shapes = {port.name: list(port.array.shape) for port in self._ports}
        if shapes != dict(facts.outputs, **{INPUT: [1, 1, facts.side, facts.side]}):
            raise BoardError(f"{ENGINE} has other inputs and outputs than the model: {BUILD}")

    def ask(self, grey: "NDArray[np.uint8]") -> "Dict[str, NDArray[np.float32]]":
        """Return the outputs for one prepared slice, uint8 `[S, S]`, by name."""
        for port in self._ports:
            if port.name == INPUT:
                port.array[0, 0] = grey
                self._cuda.send(port.array, port.address)
        if not self._execute():
            raise BoardError("TensorRT could not run the engine; its messages stand above")
        answers = [port for port in self._ports if port.name != INPUT]
        for port in answers:
            self._cuda.fetch(port.address, port.array)
        self._cuda.wait()
        return {port.name: port.array[0].copy() for port in answers}

    def _ports_by_name(self, floats: Any) -> "List[Port]":
        engine = self._engine
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        return [
            self._port(name, engine.get_tensor_shape(name), engine.get_tensor_dtype(name) == floats)
            for name in names
        ]

    def _ports_by_number(self, floats: Any) -> "List[Port]":
        engine = self._engine
        return [
            self._port(
                engine.get_binding_name(number),
                engine.get_binding_shape(number),
                engine.get_binding_dtype(number) == floats,
            )
            for number in range(engine.num_bindings)
        ]

    def _port(self, name: str, shape: Any, is_float: bool) -> Port:  # noqa: FBT001
        if not is_float:
            raise BoardError(f"{ENGINE}: {name} is not of 32-bit floats: {BUILD}")
        array = np.zeros(tuple(shape), dtype=np.float32)
        return Port(name, array, self._cuda.allocate(array.nbytes))

    def _run_by_name(self) -> "Callable[[], bool]":
        for port in self._ports:
            self._context.set_tensor_address(port.name, port.address)
        return lambda: self._context.execute_async_v3(self._cuda.stream)

    def _run_by_number(self) -> "Callable[[], bool]":
        addresses = [port.address for port in self._ports]
        return lambda: self._context.execute_async_v2(addresses, self._cuda.stream)


def open_runtime(name: str, folder: Path, facts: "Facts") -> "Union[OnnxRuntime, TensorRT]":
    """Open the bundle's model.

    Args:
        name: One of `RUNTIMES`.
        folder: The bundle.
        facts: What it says about its model.

    Raises:
        BoardError: It cannot be opened here.
    """
    return OnnxRuntime(folder) if name == "onnx" else TensorRT(folder, facts)
