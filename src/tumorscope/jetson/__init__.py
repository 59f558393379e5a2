"""Writes a folder that runs on a Jetson by itself (no torch)."""

from tumorscope.jetson.bundle import Bundle, write_bundle
from tumorscope.jetson.cost import Estimate, estimate
from tumorscope.jetson.operators import unsupported_operators
from tumorscope.jetson.targets import TARGETS, Target, find_target

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
