"""Work is done ahead in threads, and nobody notices but by the clock."""

import threading
from collections.abc import Iterator

import pytest

from tumorscope.parallel import usable_cores, work_ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_order_is_that_of_the_items(threads: int) -> None:
    results = work_ahead(lambda n: [n] * (n % 3), range(50), threads=threads, ahead=8)
    assert list(results) == [n for n in range(50) for _ in range(n % 3)]
    assert list(work_ahead(lambda n: [n], [], threads=threads, ahead=8)) == []


def test_only_so_much_is_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    small = work_ahead(lambda n: [n], items(), threads=2, ahead=10)
    for _ in range(5):
        next(small)
    assert len(taken) <= 5 + 10
    taken.clear()
    large = work_ahead(lambda n: [n] * 100, items(), threads=2, ahead=10)
    for _ in range(500):
        next(large)
    assert len(taken) <= 5 + 2


def test_threads_work_at_the_same_time() -> None:
    barrier = threading.Barrier(2, timeout=20)

    def meet(number: int) -> list[int]:
        barrier.wait()
        return [number]

    assert list(work_ahead(meet, range(4), threads=2, ahead=2)) == [0, 1, 2, 3]


def test_errors_come_out_and_threads_end() -> None:
    def fail(number: int) -> list[int]:
        if number == 3:
            raise KeyError(number)
        return [number]

    before = threading.active_count()
    with pytest.raises(KeyError):
        list(work_ahead(fail, range(100), threads=2, ahead=4))
    assert threading.active_count() == before


def test_what_was_done_before_an_error_of_the_items_comes_first() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise KeyError

    results = work_ahead(lambda n: [n], items(), threads=3, ahead=8)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyError):
        next(results)


def test_there_is_a_core() -> None:
    assert usable_cores() >= 1
