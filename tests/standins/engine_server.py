"""Computes for the stand-in of TensorRT's C++ header, which sends an ONNX file, then inputs.

Numbers are 32-bit integers and floats of this machine; the file's length has 64 bits.

    python engine_server.py PROGRAM …     # runs a program that was built with that header
"""

import os
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class _Engine(socketserver.StreamRequestHandler):
    """One engine of one program, for as long as it is connected."""

    wbufsize = -1

    def handle(self) -> None:
        (length,) = np.frombuffer(self.rfile.read(8), np.int64)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        blob = self.rfile.read(int(length))
        try:
            session = onnxruntime.InferenceSession(
                blob, options, providers=["CPUExecutionProvider"]
            )
        except Exception:  # noqa: BLE001  (no file of ONNX Runtime: no ports)
            self._tell_numbers(0)
            return
        (entry,), outputs = session.get_inputs(), session.get_outputs()
        # Outputs first, so that nobody relies on an order.
        self._tell_ports([*outputs, entry], [entry])
        while sides := self.rfile.read(4 * len(entry.shape)):
            shape = np.frombuffer(sides, np.int32)
            values = self.rfile.read(4 * int(shape.prod()))
            inputs = {entry.name: np.frombuffer(values, np.float32).reshape(shape)}
            self._tell_numbers(1)
            for answer in session.run(None, inputs):
                self.wfile.write(answer.astype(np.float32).tobytes())
            self.wfile.flush()

    def _tell_numbers(self, *values: int) -> None:
        self.wfile.write(np.array(values, np.int32).tobytes())

    def _tell_ports(self, ports: list[Any], inputs: list[Any]) -> None:
        self._tell_numbers(len(ports))
        for port in ports:
            name = port.name.encode()
            sides = [side if isinstance(side, int) else -1 for side in port.shape]
            self._tell_numbers(len(name))
            self.wfile.write(name)
            self._tell_numbers(port in inputs, len(sides), *sides)
        self.wfile.flush()


@contextmanager
def engine_server(socket: Path) -> Iterator[Path]:
    """Compute for all who connect to the socket."""
    with socketserver.ThreadingUnixStreamServer(str(socket), _Engine) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        yield socket
        server.shutdown()


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, engine_server(Path(folder) / "socket") as socket:
        environment = os.environ | {"STANDIN_ENGINE": str(socket)}
        return subprocess.run(sys.argv[1:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
