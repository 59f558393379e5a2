"""Tells whether a series lacks slices, by what those that are there say."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np

from tumorscope.images.slice_header import SliceHeader
from tumorscope.series.grouping import Stack, group_series

_FEWEST: Final = 4
"""Slices from which on the steps between them say something."""

_NEARLY: Final = 0.15
"""A gap is one of missing slices when it is so nearly a multiple of the spacing."""


def missing_slices(headers: Sequence[SliceHeader]) -> str:
    """Return which slices a series seems to lack, in words; empty when it seems whole.

    Instance numbers that are left out tell it, and places: a gap that is a multiple of the usual
    spacing. What lacks at the end nothing can tell.

    Args:
        headers: What the files of one series say.

    >>> missing_slices([SliceHeader(file=str(n), instance=n) for n in (1, 2, 5, 6)])
    'instance numbers 3 to 4 are missing'
    """
    if not any(_says_place(header) for header in headers):
        return ""
    # (Without a digest nothing is a copy, so every slice is looked at.)
    plain = [replace(header, digest="") for header in headers]
    gaps = sum(_gaps(stack) for series in group_series(plain) for stack in series.stacks)
    said = [_missing_numbers({header.instance for header in headers if header.frame is None})]
    if gaps:
        said.append(
            f"between the others {'a place is' if gaps == 1 else f'{gaps} places are'} empty"
        )
    return " and ".join(filter(None, said))


def _says_place(header: SliceHeader) -> bool:
    return (header.instance, header.position, header.location) != (None, None, None)


def _missing_numbers(given: set[int | None]) -> str:
    """Say which instance numbers are left out."""
    numbers = sorted(number for number in given if number is not None)
    if not numbers:
        return ""
    few = len(numbers) < _FEWEST
    step = 1 if few else math.gcd(*(after - before for before, after in pairwise(numbers)))
    # (Some series begin at a number far from 1: then nothing is known of their beginning.)
    begins_late = step == 1 and 1 < numbers[0] <= len(numbers) + 1
    starts = [1 - step] if begins_late else []
    ranges = [
        (before + step, after - step)
        for before, after in pairwise([*starts, *numbers])
        if after - before > step
    ]
    if not ranges:
        return ""
    words = [str(first) if first == last else f"{first} to {last}" for first, last in ranges]
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return f"instance number {words[0]} is missing"
    return f"instance numbers {', '.join(words)} are missing"


def _gaps(stack: Stack) -> int:
    """Count the places along the body where a stack lacks slices."""
    if stack.positions is None or len(stack.positions) < _FEWEST:
        return 0
    steps = np.abs(np.diff(stack.positions))
    ratios = steps / max(float(np.median(steps)), 1e-3)
    whole = np.round(ratios)
    return int(np.sum(((whole >= 2) & (np.abs(ratios - whole) <= _NEARLY * whole)) * (whole - 1)))
