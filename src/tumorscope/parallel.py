"""Maps a function over items in threads, in order, a bounded way ahead."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD: Final = 64
"""So many results wait to be used: enough that no thread waits for a slow one."""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_ordered(
    function: Callable[[T], R], items: Iterable[T], *, threads: int | None = None
) -> Iterator[R]:
    """Map a function over items in threads; after an error or Ctrl-C nothing more is begun.

    Args:
        function: Must be safe to call from several threads at once.
        items: What comes in; taken only a bounded way ahead of the results.
        threads: How many threads work; None for one a core.

    Yields:
        The results, in the order of the items.
    """
    return work_ahead(
        lambda item: [function(item)], items, threads=threads or usable_cores(), ahead=_AHEAD
    )


def work_ahead(
    function: Callable[[T], list[R]], items: Iterable[T], *, threads: int, ahead: int
) -> Iterator[R]:
    """Apply a function to items in threads and give the results one by one, in order.

    Args:
        function: Makes any number of results of an item.
        items: What comes in; taken only as fast as results are used.
        threads: How many threads work.
        ahead: About how many results may be ready before they are used; after an item that made
            many (a volume), fewer items are taken ahead.

    Yields:
        The results of the first item, then those of the second, and so on. An error of the items'
        own comes out behind the results of those before it.
    """
    failure: list[Exception] = []
    rest = _until_failure(items, failure)
    waiting: deque[Future[list[R]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        room = threads
        while True:
            waiting.extend(
                pool.submit(function, item) for item in islice(rest, max(0, room - len(waiting)))
            )
            if not waiting and failure:
                raise failure[0]
            if not waiting:
                return
            results = waiting.popleft().result()
            room = max(threads, ahead // max(1, len(results)))
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)


def _until_failure(items: Iterable[T], failure: list[Exception]) -> Iterator[T]:
    """Yield items; keep the error that ends them."""
    try:
        yield from items
    except Exception as error:  # noqa: BLE001  (raised again when its turn comes)
        failure.append(error)
