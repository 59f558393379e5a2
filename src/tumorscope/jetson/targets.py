"""The boards that bundles are made for: what their software reads and what they can do."""

from dataclasses import dataclass
from typing import Final

from tumorscope.errors import ModelError
from tumorscope.jetson.operators import (
    TENSORRT_8_2,
    TENSORRT_10,
    TENSORRT_11,
    Precision,
    TensorRT,
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A family of boards.

    Attributes:
        name: What `--target` says.
        board: Its name for people.
        words: Words that the board's own name (`/proc/device-tree/model`) holds, all of them.
        jetpack: NVIDIA's software for it.
        tensorrt: The oldest TensorRT that this software has.
        precisions: What a model file for it may compute in, the usual one first. TensorRT 8.2 takes
            32 bits and is told to use 16; from 11 on the file's own types are all that it knows.
        workspace: Memory that building an engine may take, in MiB.
        gigaflops: Peak of 16-bit floating point, in 10^9 operations a second.
        bandwidth: Peak of the memory, in 10^9 bytes a second.
        launch: Assumed time between two layers' kernels, in microseconds.
        source: Where the peaks are from.
    """

    name: str
    board: str
    words: tuple[str, ...]
    jetpack: str
    tensorrt: TensorRT
    precisions: tuple[Precision, ...]
    workspace: int
    gigaflops: float
    bandwidth: float
    launch: float
    source: str


def _orin(name: str, *, jetpack: str, tensorrt: TensorRT) -> Target:
    return Target(
        name=name,
        board="Jetson Orin Nano 8GB",
        words=("Orin",),
        jetpack=jetpack,
        tensorrt=tensorrt,
        precisions=("fp16", "int8"),
        workspace=1024,
        gigaflops=10_000,
        bandwidth=68,
        launch=15,
        source=(
            "NVIDIA Jetson Orin Nano series data sheet (DS-11105): 20 dense INT8 TOPS at "
            "625 MHz, of which FP16 is half; 68 GB/s LPDDR5"
        ),
    )


TARGETS: Final = {
    item.name: item
    for item in (
        Target(
            name="jetson-nano",
            board="Jetson Nano",
            words=("Jetson Nano",),
            jetpack="4.6",
            tensorrt=TENSORRT_8_2,
            precisions=("fp32",),
            workspace=512,
            gigaflops=472,
            bandwidth=25.6,
            launch=30,
            source="NVIDIA Jetson Nano data sheet: 472 GFLOPS in FP16, 25.6 GB/s LPDDR4",
        ),
        _orin("orin-jp6", jetpack="6", tensorrt=TENSORRT_10),
        _orin("orin-jp7", jetpack="7.2", tensorrt=TENSORRT_11),
        Target(
            name="thor",
            board="Jetson AGX Thor",
            words=("Thor",),
            jetpack="7.2",
            tensorrt=TENSORRT_11,
            precisions=("fp16", "int8"),
            workspace=4096,
            gigaflops=125_000,
            bandwidth=273,
            launch=10,
            source=(
                "NVIDIA Jetson T5000 data sheet: 2,070 sparse FP4 TFLOPS, taken as 16 times the "
                "dense FP16; 273 GB/s LPDDR5X"
            ),
        ),
    )
}
"""The targets by name."""


def find_target(name: str) -> Target:
    """Return the target of that name.

    Raises:
        ModelError: There is none.
    """
    if name not in TARGETS:
        raise ModelError(f"no target '{name}': it is one of {', '.join(TARGETS)}")
    return TARGETS[name]
