"""Classifies the blocks of a batch run, one after the other: what each Ray actor does."""

import hashlib
import json
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tumorscope.cluster.batch_run import BatchRun
from tumorscope.cluster.storage import (
    Location,
    TooLargeError,
    exists,
    in_one_line,
    read_whole,
    write_whole,
)
from tumorscope.errors import DataError
from tumorscope.images.opening import quieten_libraries
from tumorscope.images.reading import FileInMemory
from tumorscope.images.slice_header import SliceHeader
from tumorscope.images.slices import File, SliceChoice
from tumorscope.inference import Classifier, Failure, Prediction
from tumorscope.inference.table_rows import row
from tumorscope.parallel import work_ahead

LARGEST_OBJECT: Final = 2_000_000_000
"""Larger objects in a store are refused: they are held in memory."""

_FETCHERS: Final = 8
"""So many files are fetched at once: a store answers late, but many at a time."""

_FETCHED_AHEAD: Final = 16

_WAITS: Final = (1.0, 5.0, 20.0)
"""Seconds before a store that failed is asked again."""

_DENIED: Final = re.compile("ACCESS_DENIED|[Pp]ermission|Forbidden")

_DEADLY: Final = 2
"""A file at which so many workers have died is not read again."""


@dataclass(frozen=True)
class Done:
    """What came of a block.

    Attributes:
        block: Its number.
        files: How many files it has.
        errors: How many of its rows are errors.
    """

    block: int
    files: int
    errors: int


@dataclass(frozen=True)
class Fetched:
    """A file of a block.

    Attributes:
        name: What it is called in answers.
        file: What `Classifier.stream` takes; None where an object cannot be fetched.
        sha256: Its content's hash; None where it cannot be read.
        error: Why an object cannot be fetched; else empty.
    """

    name: str
    file: "File | None"
    sha256: str | None
    error: str = ""


class Worker:
    """Classifies with one model.

    Args:
        run: The run whose blocks it classifies.
        model: The content of the model's file, whatever this machine has.
        threads: Threads that read, and of the network.
        providers: Execution providers, as `Classifier.load` takes them.
        batch_size: Slices that the network classifies at once.
    """

    def __init__(
        self,
        run: BatchRun,
        model: bytes,
        *,
        threads: int,
        providers: Sequence[str] | None,
        batch_size: int,
    ) -> None:
        quieten_libraries()
        self._run = run
        self._model = model
        self._threads = threads
        self._providers = providers
        self._batch_size = batch_size

    def open(self) -> None:
        """Open the model; to be called first.

        Raises:
            ModelError: The model or the provider cannot be used.
        """
        options = self._run.options
        self._choice = SliceChoice.parse(options.axis, options.slices, options.volume)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            file.write_bytes(self._model)
            self._classifier = Classifier.load(
                file,
                threads=self._threads,
                providers=self._providers,
                confident=options.confident,
                tta=options.tta,
            )

    def classify(self, number: int, *, one_by_one: bool = False) -> Done:
        """Classify a block and write its part.

        Args:
            number: The block.
            one_by_one: Whether to note before each file that it is its turn: for blocks in which
                workers have died. A file at which two have died gets an error for an answer.

        Raises:
            OSError: The part cannot be written.
            DataError: The block cannot be read, or a store does not answer.
        """
        try:
            block = self._run.block(number)
        except OSError as error:
            raise DataError(f"block {number} cannot be read ({in_one_line(error)})") from error
        hashes: dict[str, str | None] = {}
        if one_by_one:
            answers = list(self._one_by_one(block, Turns(self._run.folder, number), hashes))
        else:
            fetched = work_ahead(
                lambda place: [fetch(place)], block, threads=_FETCHERS, ahead=_FETCHED_AHEAD
            )
            answers = list(self._answers(fetched, hashes))
        rows = list(self._rows(answers, hashes))
        self._run.write_part(number, rows)
        return Done(number, len(block), sum("error" in cells for cells in rows))

    def _answers(
        self, fetched: Iterable[Fetched], hashes: dict[str, str | None]
    ) -> Iterator[Prediction | Failure]:
        """Answer files as they come; those that could not be fetched are named at the end."""
        failures: list[Failure] = []

        def files() -> Iterator[File]:
            for item in fetched:
                hashes[item.name] = item.sha256
                if item.file is None:
                    failures.append(Failure(item.name, item.error, SliceHeader(file=item.name)))
                else:
                    yield item.file

        yield from self._classifier.stream(
            files(), batch_size=self._batch_size, choice=self._choice
        )
        yield from failures

    def _one_by_one(
        self, block: Sequence[Location], turns: "Turns", hashes: dict[str, str | None]
    ) -> Iterator[Prediction | Failure]:
        for number, place in enumerate(block):
            if turns.begin(number):
                yield from self._answers([fetch(place)], hashes)
            else:
                name = str(place)
                hashes[name] = None
                why = "crashes the program that reads it"
                yield Failure(name, why, SliceHeader(file=name))

    def _rows(
        self, answers: Iterable[Prediction | Failure], hashes: Mapping[str, str | None]
    ) -> Iterator[dict[str, object]]:
        """Return the rows of a block's answers, or of the series in each of its folders."""
        if not self._run.options.series:
            for answer in answers:
                yield {**row(answer), "sha256": hashes[_file_of(answer.path, hashes)]}
            return
        folders: dict[str, list[Prediction | Failure]] = {}
        for answer in answers:
            folder = _file_of(answer.path, hashes).rpartition("/")[0]
            folders.setdefault(folder, []).append(answer)
        for inside in folders.values():
            volume = self._run.options.volume
            for found in self._classifier.join_series(inside, volume=volume):
                yield row(found)


class Turns:
    """Notes whose turn it is, outside the process that may die of it.

    Args:
        folder: The run's folder.
        block: The block's number.
    """

    def __init__(self, folder: Location, block: int) -> None:
        self._file = folder / "_crashes" / f"block-{block:08}.json"
        self._deaths: Counter[str] = Counter()
        if exists(self._file):
            noted = json.loads(read_whole(self._file))
            self._deaths.update(noted["deaths"])
            self._deaths[str(noted["turn"])] += 1

    def begin(self, number: int) -> bool:
        """Note a file's turn; False where it has been the last one twice."""
        if self._deaths[str(number)] >= _DEADLY:
            return False
        note = {"turn": number, "deaths": +self._deaths}
        write_whole(self._file, json.dumps(note).encode())
        return True


def fetch(place: Location) -> Fetched:
    """Return a file and its hash: the path of one on a disk, the content of one in a store.

    Raises:
        DataError: The store does not answer.
    """
    name = str(place)
    if not place.root:
        with suppress(OSError, ValueError):  # (Reading it says why.)
            if os.path.isfile(place.path):  # noqa: PTH113  (names of any bytes; a pipe is no such)
                with open(place.path, "rb") as file:  # noqa: PTH123
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                return Fetched(name, place.path, digest)
        return Fetched(name, place.path, None)
    for wait in (*_WAITS, None):
        try:
            content = read_whole(place, LARGEST_OBJECT)
            return Fetched(name, FileInMemory(name, content), hashlib.sha256(content).hexdigest())
        except TooLargeError:
            gigabytes = LARGEST_OBJECT // 1_000_000_000
            return Fetched(name, None, None, f"more than {gigabytes} GB in a store, refused")
        except FileNotFoundError:
            return Fetched(name, None, None, "no such file")
        except OSError as error:
            if _DENIED.search(str(error)):
                return Fetched(name, None, None, f"cannot be fetched ({in_one_line(error)})")
            if wait is None:
                raise DataError(
                    f"{name}: the store does not answer ({in_one_line(error)})"
                ) from error
            time.sleep(wait)
    raise AssertionError


def _file_of(path: str, files: Mapping[str, object]) -> str:
    """Return the file of a block that an answer is about: for one in an archive that archive."""
    while path not in files and "/" in path:
        path = path.rpartition("/")[0]
    return path
