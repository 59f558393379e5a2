"""Numbers on the command line, with a word about what is expected."""

import argparse
import sys

from tumorscope.arguments import MOST_THREADS


def count(text: str) -> int:
    """Return a whole number of 1 or more."""
    return _whole(text, least=1)


def threads(text: str) -> int:
    """Return a number of threads."""
    value = count(text)
    if value > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{value} are too many: at most {MOST_THREADS:,}")
    return value


def number_from_zero(text: str) -> int:
    """Return a whole number of 0 or more."""
    return _whole(text, least=0)


def amount(text: str) -> float:
    """Return a finite number of 0 or more."""
    return _number(text, most=sys.float_info.max, words="of 0 or more")


def share(text: str) -> float:
    """Return a number between 0 and 1."""
    return _number(text, most=1.0, words="between 0 and 1")


def _number(text: str, *, most: float, words: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number {words}")
    return value


def _whole(text: str, *, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of {least} or more")
    return value
