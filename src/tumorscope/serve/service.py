"""The work behind the API: classifies files in memory for many requests at once."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, TypeAlias, TypeVar

from tumorscope.images.dicom import is_dicom
from tumorscope.images.listing import is_litter, parts_of
from tumorscope.images.reading import FileInMemory
from tumorscope.images.slices import SliceChoice
from tumorscope.images.zip_archives import unpacked
from tumorscope.inference import Classifier, Failure, Prediction
from tumorscope.inference.classifier import Prepared
from tumorscope.inference.series_prediction import SeriesPrediction
from tumorscope.parallel import usable_cores
from tumorscope.series.grouping import is_grouped_by_folder
from tumorscope.serve.batching import Batcher
from tumorscope.serve.limits import RefusedRequestError
from tumorscope.serve.schema import FileError, Progress, SliceAnswer, VolumeAnswer
from tumorscope.serve.service_metrics import ServiceMetrics
from tumorscope.serve.views import View, Wanted, describe, take_view

R = TypeVar("R")

BATCH_SIZE = 32

_MOST_UNPACKED = 500_000_000
"""Bytes that an archive may unpack to: all of them are in memory at once."""

_PICTURES: Final = (b"\xff\xd8\xff", b"\x89PNG")
"""What JPEG and PNG files begin with."""

_NUMBER_OF_FRAMES: Final = b"\x28\x00\x08\x00"
"""The tag (0028,0008) of DICOM files that hold several frames."""

_HEAD: Final = 65_536
"""Bytes in which a DICOM file's elements before its pixels are looked for."""

PROGRESS_SECONDS: Final = 1.0
"""So often a stream tells how far the work on volumes is."""


class _Answered(NamedTuple):
    """The answer to a slice, as a value and as it is sent."""

    answer: Prediction | Failure
    item: SliceAnswer | FileError


_Coming: TypeAlias = "asyncio.Future[_Answered] | asyncio.Future[None]"
"""An answer that will come; None after a file's last one."""


class Service:
    """Models at work for many requests at once.

    Args:
        classifiers: The models by name; the first answers where none is named.
        metrics: Told of each answer.
        threads: How many threads read files and draw pictures; None for one a core.
    """

    def __init__(
        self,
        classifiers: Mapping[str, Classifier],
        metrics: ServiceMetrics,
        *,
        threads: int | None = None,
    ) -> None:
        self._classifiers = dict(classifiers)
        self._metrics = metrics
        # No more than these threads hold a decoded file at a time, however many wait. Volumes are
        # decoded one after the other: a small file may hold a large one, and pictures do not wait.
        self._readers = ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="reader")
        self._volume_reader = ThreadPoolExecutor(1, thread_name_prefix="volume-reader")
        self._batchers = {
            name: Batcher(
                classifier, batch_size=BATCH_SIZE, counted=partial(self._metrics.batch, name)
            )
            for name, classifier in self._classifiers.items()
        }

    def close(self) -> None:
        """Let go of the threads, once all requests are answered."""
        self._readers.shutdown()
        self._volume_reader.shutdown()
        for batcher in self._batchers.values():
            batcher.close()

    def slices(
        self,
        files: Sequence[FileInMemory],
        *,
        model: str | None = None,
        choice: SliceChoice | None = None,
        wanted: Wanted | None = None,
    ) -> AsyncGenerator[SliceAnswer | FileError]:
        """Classify files slice by slice.

        Args:
            files: The files.
            model: Which model; None for the first.
            choice: Which slices of volumes; by default those with enough head.
            wanted: What the answers shall hold beside what `tumorscope predict --json` prints.

        Returns:
            An answer a slice, in order, each once it is there; files that cannot be read have one
            with their error.

        Raises:
            RefusedRequestError: There is no such model.
        """
        return self._slices(files, _Request(self._name(model), choice, wanted or Wanted()))

    def volumes(
        self,
        files: Sequence[FileInMemory],
        *,
        model: str | None = None,
        choice: SliceChoice | None = None,
        wanted: Wanted | None = None,
    ) -> AsyncGenerator[VolumeAnswer | FileError | Progress]:
        """Classify volumes and series as wholes, and all their slices.

        Args:
            files: Volumes, or the files of one or several series in any order.
            model: Which model; None for the first.
            choice: Which slices of volumes; by default those with enough head.
            wanted: What the slices' answers shall hold.

        Returns:
            Now and then how far the work is; at last what `tumorscope predict --series --json`
            prints, an answer a volume or series, each with its slices' answers along the body.

        Raises:
            RefusedRequestError: There is no such model.
        """
        return self._volumes(files, _Request(self._name(model), choice, wanted or Wanted()))

    def _name(self, model: str | None) -> str:
        if model is None:
            return next(iter(self._classifiers))
        if model not in self._classifiers:
            known = ", ".join(f"'{name}'" for name in self._classifiers)
            raise RefusedRequestError(422, f"no such model here: choose from {known}")
        return model

    async def _slices(
        self, files: Sequence[FileInMemory], request: "_Request"
    ) -> AsyncGenerator[SliceAnswer | FileError]:
        async with aclosing(self._answered(files, request)) as answered:
            async for _, one in answered:
                yield one.item

    async def _volumes(
        self, files: Sequence[FileInMemory], request: "_Request"
    ) -> AsyncGenerator[VolumeAnswer | FileError | Progress]:
        classifier = self._classifiers[request.model]
        found: list[_Answered] = []
        told = time.monotonic()
        async with aclosing(self._answered(files, request)) as answered:
            async for done, one in answered:
                found.append(one)
                if time.monotonic() - told > PROGRESS_SECONDS:
                    told = time.monotonic()
                    yield Progress(files=request.files, files_done=done, slices_done=len(found))
        items = {id(one.answer): one.item for one in found if isinstance(one.item, SliceAnswer)}
        for whole in classifier.join_series(
            _told_apart([one.answer for one in found]),
            volume=request.choice.volume if request.choice else None,
        ):
            if isinstance(whole, SeriesPrediction):
                slices = [items[id(answer)] for answer in whole.answers]
                yield VolumeAnswer(**whole.to_json(), answers=slices)
            else:
                yield FileError(**whole.to_json())

    async def _answered(
        self, files: Sequence[FileInMemory], request: "_Request"
    ) -> AsyncGenerator[tuple[int, _Answered]]:
        """Yield the answers to all slices in order, and how many files were done before.

        All files are begun at once; when nobody asks for more, what is left is given up.
        """
        files = await self._run(_to_be_read, files)
        request.files = len(files)
        try:
            begun = [self._begin(file, request) for file in files]
            for number, coming in enumerate(begun):
                while (answered := await (future := await coming.get())) is not None:
                    request.futures.discard(future)
                    yield number, answered
        finally:
            await request.give_up()

    def _begin(self, file: FileInMemory, request: "_Request") -> "asyncio.Queue[_Coming]":
        """Begin to read a file; its slices' answers come through the queue, then None."""
        loop = asyncio.get_running_loop()
        coming: asyncio.Queue[_Coming] = asyncio.Queue()
        batcher = self._batchers[request.model]

        def expect(future: _Coming) -> None:
            request.futures.add(future)
            coming.put_nowait(future)

        def take(slice_: Prepared | Failure, view: View | None) -> None:
            if not request.given_up.is_set():
                expect(loop.create_task(self._classify_slice(slice_, view, request)))

        def end(reading: "asyncio.Future[None]") -> None:
            batcher.being_read -= 1
            coming.put_nowait(reading)

        batcher.being_read += 1
        reading = loop.run_in_executor(
            self._volume_reader if _may_be_volume(file) else self._readers,
            _read,
            self._classifiers[request.model],
            file,
            request,
            lambda *slice_: loop.call_soon_threadsafe(take, *slice_),
        )
        request.futures.add(reading)
        reading.add_done_callback(end)
        return coming

    async def _classify_slice(
        self, slice_: Prepared | Failure, view: View | None, request: "_Request"
    ) -> _Answered:
        model, wanted = request.model, request.wanted
        if isinstance(slice_, Failure):
            self._metrics.verdict(model, "unreadable")
            return _Answered(slice_, FileError(**slice_.to_json()))
        answer = await self._batchers[model].classify(slice_, request)
        self._metrics.verdict(model, answer.verdict)
        if view is None or not wanted.heatmap:
            return _Answered(answer, describe(answer, view, wanted))
        return _Answered(answer, await self._run(describe, answer, view, wanted))

    async def _run(self, function: Callable[..., R], *arguments: object) -> R:
        """Run a function in one of the readers' threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, function, *arguments)


@dataclass(eq=False)
class _Request:
    """A request at work.

    Attributes:
        model: Which model answers.
        choice: Which slices of volumes.
        wanted: What the answers shall hold.
        files: How many files it has, archives unpacked.
        futures: What is being done for it.
        given_up: Whether nobody waits for it any more.
    """

    model: str
    choice: SliceChoice | None
    wanted: Wanted
    files: int = 0
    futures: set[_Coming] = field(default_factory=set)
    given_up: threading.Event = field(default_factory=threading.Event)

    async def give_up(self) -> None:
        """Stop all that is being done for it; a thread that reads stops at its next slice."""
        self.given_up.set()
        for future in self.futures:
            future.cancel()
        await asyncio.gather(*self.futures, return_exceptions=True)


def _read(
    classifier: Classifier,
    file: FileInMemory,
    request: _Request,
    take: Callable[[Prepared | Failure, View | None], object],
) -> None:
    """Read a file slice by slice and hand on what the answers need; stop when it is given up."""
    for item in classifier.read(file, request.choice):
        if request.given_up.is_set():
            break
        take(*((item, None) if isinstance(item, Failure) else take_view(item, request.wanted)))


def _to_be_read(files: Sequence[FileInMemory]) -> list[FileInMemory]:
    """Return the files without what operating systems leave behind, those in archives unpacked."""
    kept = [file for file in files if not is_litter(file.name)]
    return list(unpacked(_with_parts(kept or files), most=_MOST_UNPACKED))


def _with_parts(files: Sequence[FileInMemory]) -> list[FileInMemory]:
    """Give the headers of volumes the files with their voxels; two of one name stay as they are."""
    parts = parts_of(file.name for file in files)
    if not parts or len({file.name for file in files}) < len(files):
        return list(files)
    return [
        file._replace(beside=tuple(part for part in files if parts.get(part.name) == file.name))
        for file in files
        if file.name not in parts
    ]


def _may_be_volume(file: FileInMemory) -> bool:
    """Tell whether a file may hold many slices, by what stands at its beginning."""
    head = bytes(file.content[:_HEAD])
    if head.startswith(_PICTURES):
        return False
    return not is_dicom(file) or _NUMBER_OF_FRAMES in head


def _told_apart(answers: list[Prediction | Failure]) -> list[Prediction | Failure]:
    """Refuse pictures of one name: their folders were lost, so whose they are nobody can tell."""
    uploads: dict[str, set[int]] = {}
    for answer in answers:
        if isinstance(answer, Prediction) and is_grouped_by_folder(answer.header):
            uploads.setdefault(answer.path, set()).add(answer.header.upload)
    why = "several files have this name: send them with their folders, or a patient at a time"
    return [
        Failure(answer.path, why) if len(uploads.get(answer.path, ())) > 1 else answer
        for answer in answers
    ]
