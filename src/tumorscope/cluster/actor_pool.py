"""Hands the blocks of a batch run to Ray actors; one that dies costs the block that it was at."""

import os
import socket
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tumorscope.cluster.batch_run import BatchRun
from tumorscope.cluster.worker import Done, Worker
from tumorscope.errors import DataError
from tumorscope.parallel import usable_cores

_PATIENCE: Final = 2
"""After so many deaths in a block its files are read one by one."""

_MOST_DEATHS: Final = 20
"""So many workers may die one after the other without a block done between."""

_STARTS: Final = 3
"""So often it is tried to start Ray, which gives up after 30 s: too soon on a busy machine."""

_KNOCK: Final = 20.0
"""Seconds that a cluster's first machine may take to be reached."""

_OBJECT_STORE: Final = 128 * 1024**2
"""Bytes of Ray's object store where it runs embedded: it holds the model's file only."""

_SURROUNDINGS: Final = {"MALLOC_ARENA_MAX": "2"}
"""Of workers: glibc's malloc gives each thread an arena of its own, and where threads come and go
files of all sizes pass through all of them until each is as large as it ever needs to be."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who works.

    Attributes:
        workers: How many; None for all that the processors have room for.
        threads: Threads of each.
        gpus: Graphics cards of each; may be a part of one.
        providers: Execution providers, as `Classifier.load` takes them.
        batch_size: Slices that the network classifies at once.
        address: Address of a Ray cluster (`auto`, `ray://…`, `HOST:PORT`); None starts Ray on this
            machine, for as long as the run takes.
    """

    workers: int | None = None
    threads: int = 1
    gpus: float = 0.0
    providers: Sequence[str] | None = None
    batch_size: int = 32
    address: str | None = None


@contextmanager
def ray_started(crew: Crew) -> Iterator[None]:
    """Start Ray on this machine for as long as it is needed, or join a cluster.

    A program that has started Ray itself goes on with what it has.

    Raises:
        DataError: The cluster cannot be reached.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # (Nothing is told to anybody.)
    if crew.address and _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray  # noqa: PLC0415  (after the environment is set)

    if ray.is_initialized():
        yield
        return
    if crew.address:
        _knock(crew.address)
    usual: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if crew.address is None:
        os.environ.update(_SURROUNDINGS)  # Handed down: Ray starts workers sooner than by asking.
        workers = crew.workers or max(1, usable_cores() // crew.threads)
        usual |= {
            "num_cpus": workers * crew.threads,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
        }
    for attempt in range(_STARTS):
        try:
            ray.init(address=crew.address or "local", **usual)
            break
        except Exception as error:  # (Ray raises nearly anything, and Exception itself.)
            ray.shutdown()
            if crew.address or attempt == _STARTS - 1:
                where = f"the Ray cluster {crew.address}" if crew.address else "Ray"
                reason = " ".join(str(error).split())[:200]
                hint = ": is it there, and is its token here?" if crew.address else ""
                raise DataError(f"{where} cannot be reached or started ({reason}){hint}") from error
    try:
        here = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if crew.address is None and crew.gpus > here.get("GPU", 0):
            raise DataError("--gpus-per-worker: Ray finds no such graphics card here")
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Find out at once whether anybody listens at an address: Ray tries for many minutes."""
    place = urlsplit(address if "//" in address else f"//{address}")
    try:
        if place.port:  # (`auto` has none.)
            socket.create_connection((place.hostname, place.port), _KNOCK).close()
    except (OSError, ValueError) as error:
        raise DataError(f"the Ray cluster {address} cannot be reached: {error}") from error


def _has_token() -> bool:
    """Tell whether Ray has a token for clusters that ask for one; it shows it only if told to."""
    given = os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    return bool(given) or Path("~/.ray/auth_token").expanduser().exists()


def classify_blocks(
    run: BatchRun, blocks: Iterable[int], model: bytes, crew: Crew
) -> Iterator[Done]:
    """Have the blocks classified, each by whichever worker is free.

    Args:
        run: The run.
        blocks: The numbers of the blocks that are to be done.
        model: The content of the model's file.
        crew: Who works.

    Yields:
        What came of each block, when its part is written.

    Raises:
        OSError: A part cannot be written.
        TumorscopeError: A worker cannot open the model, a store does not answer, or the workers
            die one after the other.
    """
    pool = _Pool(run, model, crew)
    waiting = iter(blocks)
    try:
        while pool.fill(waiting) or pool.busy:
            yield from pool.wait()
    finally:
        pool.dismiss()


class _Pool:
    """The actors, what each is at, and the blocks that are to be done again.

    Args:
        run: The run.
        model: The content of the model's file.
        crew: Who works.
    """

    def __init__(self, run: BatchRun, model: bytes, crew: Crew) -> None:
        import ray  # noqa: PLC0415  (after `ray_started`)

        self._ray: Any = ray
        self._crew = crew
        surroundings = {"env_vars": _SURROUNDINGS} if crew.address else {}
        self._actor: Any = ray.remote(
            num_cpus=crew.threads, num_gpus=crew.gpus, runtime_env=surroundings
        )(Worker)
        self._run = run
        self._model = ray.put(model)
        self._tasks: dict[Any, tuple[Any, int | None]] = {}
        self._free: deque[Any] = deque()
        self._again: deque[int] = deque()
        self._deaths: Counter[int] = Counter()
        self._deaths_in_a_row = 0
        for _ in range(crew.workers or self._room()):
            self._hire()

    @property
    def busy(self) -> bool:
        """Whether a block is being classified or is to be done again."""
        return bool(self._again) or any(block is not None for _, block in self._tasks.values())

    def fill(self, blocks: Iterator[int]) -> bool:
        """Give each worker that is free a block; tell whether there may be more of them."""
        while self._free:
            number = self._again.popleft() if self._again else next(blocks, None)
            if number is None:
                return False
            worker = self._free.popleft()
            careful = self._deaths[number] >= _PATIENCE
            self._tasks[worker.classify.remote(number, one_by_one=careful)] = (worker, number)
        return True

    def wait(self) -> Iterator[Done]:
        """Wait until a worker has opened its model, done its block or died."""
        (finished, *_), _ = self._ray.wait(list(self._tasks), num_returns=1)
        worker, number = self._tasks.pop(finished)
        try:
            done = self._ray.get(finished)
        except self._ray.exceptions.RayTaskError as error:
            self._free.append(worker)
            raise error.cause from None  # (What our own code says, without Ray's words around it.)
        except self._ray.exceptions.RayError as error:
            self._replace(number, error)
            return
        self._free.append(worker)
        if done is not None:
            self._deaths_in_a_row = 0
            yield done

    def dismiss(self) -> None:
        """End the workers now: those of a run that failed would keep their room from the next."""
        for worker in [*self._free, *(worker for worker, _ in self._tasks.values())]:
            self._ray.kill(worker)

    def _hire(self) -> None:
        """Start a worker; where there is no room for it now, it starts when there is."""
        crew = self._crew
        worker = self._actor.remote(
            self._run,
            self._model,
            threads=crew.threads,
            providers=crew.providers,
            batch_size=crew.batch_size,
        )
        self._tasks[worker.open.remote()] = (worker, None)

    def _replace(self, number: int | None, error: Exception) -> None:
        """Hire another for a worker that died, and do its block again."""
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row > _MOST_DEATHS:
            reason = " ".join(str(error).split())[:300]
            raise DataError(
                f"one worker after the other dies ({reason}): does every node have "
                "tumorscope[cluster], and memory enough?"
            ) from error
        if number is not None:
            self._deaths[number] += 1
            self._again.append(number)
        self._hire()

    def _room(self) -> int:
        """Return how many workers the machines have room for."""
        has = self._ray.cluster_resources()
        rooms = [has.get("CPU", 1) / self._crew.threads]
        if self._crew.gpus:
            rooms.append(has.get("GPU", 0) / self._crew.gpus)
        return max(1, int(min(rooms)))
