"""CUDA's runtime library through ctypes: memory, copies and a stream, as JetPack has no pycuda."""

import ctypes
import ctypes.util
from typing import TYPE_CHECKING, Any

import numpy as np

from tumorscope.jetson.board.folder import BoardError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMES = (
    "libcudart.so",
    "/usr/local/cuda/lib64/libcudart.so",
    "libcudart.so.10.2",
    "libcudart.so.11.0",
    "libcudart.so.12",
)
"""Where JetPack 4 to 6 keep the library."""

_TO_BOARD, _FROM_BOARD = 1, 2
"""Numbers of `cudaMemcpyKind`."""


class Cuda:
    """The runtime library and one stream.

    Raises:
        BoardError: The library is missing, or there is no GPU that works.
    """

    def __init__(self) -> None:
        self._library = _open_library()
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        stream = ctypes.c_void_p()
        self._call("cudaStreamCreate", ctypes.byref(stream))
        self.stream = stream.value or 0

    def allocate(self, size: int) -> int:
        """Return the address of so many bytes on the GPU; they are free when the process ends."""
        address = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value or 0

    def send(self, array: "NDArray[np.float32]", address: int) -> None:
        """Copy an array to the GPU, in the stream's order."""
        self._copy(address, array.ctypes.data, array.nbytes, _TO_BOARD)

    def fetch(self, address: int, array: "NDArray[np.float32]") -> None:
        """Copy from the GPU into an array, in the stream's order."""
        self._copy(array.ctypes.data, address, array.nbytes, _FROM_BOARD)

    def wait(self) -> None:
        """Wait until all is done."""
        self._call("cudaStreamSynchronize", ctypes.c_void_p(self.stream))

    def _copy(self, to: int, source: int, size: int, kind: int) -> None:
        addresses = ctypes.c_void_p(to), ctypes.c_void_p(source)
        stream = ctypes.c_void_p(self.stream)
        self._call("cudaMemcpyAsync", *addresses, ctypes.c_size_t(size), kind, stream)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            reason = self._library.cudaGetErrorString(status).decode()
            raise BoardError(f"CUDA failed in {name}: {reason}")


def _open_library() -> Any:
    for name in (*_NAMES, ctypes.util.find_library("cudart")):
        try:
            if name:
                return ctypes.CDLL(name)
        except OSError:
            continue
    raise BoardError("no CUDA runtime (libcudart.so): on a Jetson it comes with JetPack")
