"""Computes for the stand-in of TensorRT's C++ header, which sends an ONNX file, then inputs.

Numbers are 32-bit integers and floats of this machine; the file's length has 64 bits.
"""

import os
import sys

import numpy as np
import onnxruntime

SOURCE, ANSWERS = sys.stdin.buffer, sys.stdout.buffer
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))


def _numbers(*values):
    ANSWERS.write(np.array(values, np.int32).tobytes())


def _tell_ports(ports, inputs):
    _numbers(len(ports))
    for port in ports:
        name = port.name.encode()
        sides = [side if isinstance(side, int) else -1 for side in port.shape]
        _numbers(len(name))
        ANSWERS.write(name)
        _numbers(port in inputs, len(sides), *sides)
    ANSWERS.flush()


def main():
    (length,) = np.frombuffer(SOURCE.read(8), np.int64)
    blob = SOURCE.read(int(length))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001  (no file of ONNX Runtime: no ports)
        _numbers(0)
        return
    (entry,), outputs = session.get_inputs(), session.get_outputs()
    # Outputs first, so that nobody relies on an order.
    _tell_ports([*outputs, entry], [entry])
    while sides := SOURCE.read(4 * len(entry.shape)):
        shape = np.frombuffer(sides, np.int32)
        values = np.frombuffer(SOURCE.read(4 * int(shape.prod())), np.float32).reshape(shape)
        _numbers(1)
        for answer in session.run(None, {entry.name: values}):
            ANSWERS.write(answer.astype(np.float32).tobytes())
        ANSWERS.flush()


if __name__ == "__main__":
    main()
