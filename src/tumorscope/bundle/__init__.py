"""A model file comes in, a folder that runs on a Jetson by itself goes out (no torch)."""

from tumorscope.bundle.cost import Estimate, estimate
from tumorscope.bundle.operators import unsupported_operators
from tumorscope.bundle.targets import TARGETS, Target, find_target
from tumorscope.bundle.writing import Bundle, write_bundle

__all__ = [
    "TARGETS",
    "Bundle",
    "Estimate",
    "Target",
    "estimate",
    "find_target",
    "unsupported_operators",
    "write_bundle",
]
