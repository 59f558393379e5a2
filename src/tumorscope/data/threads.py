"""A function and items come in, its answers in the same order go out, made in a few threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from tumorscope.progress import Progress

T = TypeVar("T")
R = TypeVar("R")

_THREADS: Final = 2
"""Decoding and array work leave Python's lock now and then; more threads only wait for it."""


def in_threads(
    function: Callable[[T], R], items: Iterable[T], *, total: int, progress: Progress, label: str
) -> Iterator[R]:
    """Apply a function to all items; after an error or Ctrl-C nothing more is begun.

    Args:
        function: Must be safe to call from several threads at once.
        items: They are taken at once, so they should be small.
        total: How many there are.
        progress: Shows how far the work is.
        label: What the work is called.

    Yields:
        The answers, in the order of the items.
    """
    pool = ThreadPoolExecutor(_THREADS)
    try:
        yield from progress(pool.map(function, items), total=total, label=label)
    finally:
        pool.shutdown(cancel_futures=True)
