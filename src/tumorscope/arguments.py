"""Checks numbers that programs give to the public functions."""

from numbers import Integral, Real
from typing import Final

from tumorscope.errors import ArgumentError

MOST_THREADS: Final = 1024
"""More than any machine has cores for; starting tens of thousands would take minutes."""


def check_count(name: str, value: object, *, least: int = 1) -> None:
    """Refuse what is no whole number, or too small.

    Args:
        name: What the argument is called.
        value: What was given.
        least: The smallest that is allowed.

    Raises:
        ArgumentError: It is none.
    """
    if not isinstance(value, Integral) or int(value) < least:
        raise ArgumentError(f"{name} is a whole number of {least} or more, not {value!r}")


def check_threads(value: int | None) -> None:
    """Refuse what is no number of threads; None leaves it open.

    Raises:
        ArgumentError: It is none.
    """
    if value is None:
        return
    check_count("threads", value)
    if value > MOST_THREADS:
        raise ArgumentError(f"threads is at most {MOST_THREADS:,}, not {value}")


def check_share(name: str, value: object) -> None:
    """Refuse what is no number between 0 and 1.

    Raises:
        ArgumentError: It is none.
    """
    if not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise ArgumentError(f"{name} is a number between 0 and 1, not {value!r}")
