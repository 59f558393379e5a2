"""The work behind the API: classifies files in memory for many requests at once."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from tumorscope.images.dicom import is_dicom
from tumorscope.images.listing import is_litter
from tumorscope.images.reading import FileInMemory
from tumorscope.images.slices import SliceChoice
from tumorscope.images.zip_archives import unpacked
from tumorscope.inference import Classifier, Failure, Prediction
from tumorscope.inference.classifier import Prepared
from tumorscope.inference.series_prediction import SeriesPrediction, predict_series
from tumorscope.parallel import usable_cores
from tumorscope.series.grouping import is_grouped_by_folder
from tumorscope.serve.batching import Batcher
from tumorscope.serve.limits import RefusedRequestError
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

_Read: TypeAlias = "list[tuple[Prepared | Failure, View | None]]"
_Answered: TypeAlias = "tuple[Prediction | Failure, dict[str, Any]]"


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

    async def slices(
        self,
        files: Sequence[FileInMemory],
        *,
        model: str | None = None,
        choice: SliceChoice | None = None,
        wanted: Wanted | None = None,
    ) -> list[dict[str, Any]]:
        """Classify files slice by slice.

        Args:
            files: The files.
            model: Which model; None for the first.
            choice: Which slices of volumes; by default those with enough head.
            wanted: What the answers shall hold beside what `tumorscope predict --json` prints.

        Returns:
            An object a slice, in order; files that cannot be read have one with their error.

        Raises:
            RefusedRequestError: There is no such model.
        """
        name = self._name(model)
        answered = await self._classify(files, name, choice, wanted or Wanted())
        return [item for _, item in answered]

    async def volumes(
        self,
        files: Sequence[FileInMemory],
        *,
        model: str | None = None,
        choice: SliceChoice | None = None,
        wanted: Wanted | None = None,
    ) -> list[dict[str, Any]]:
        """Classify volumes and series as wholes, and all their slices.

        Args:
            files: Volumes, or the files of one or several series in any order.
            model: Which model; None for the first.
            choice: Which slices of volumes; by default those with enough head.
            wanted: What the slices' answers shall hold.

        Returns:
            What `tumorscope predict --series --json` prints, an object a volume or series, each
            with its slices' answers along the body under `answers`.

        Raises:
            RefusedRequestError: There is no such model.
        """
        name = self._name(model)
        answered = await self._classify(files, name, choice, wanted or Wanted())
        items = {id(answer): item for answer, item in answered}
        result = []
        for whole in predict_series(
            _told_apart([answer for answer, _ in answered]),
            confident=self._classifiers[name].confident,
            rule=self._classifiers[name].series_rule,
            volume=choice.volume if choice else None,
        ):
            item = whole.to_json()
            if isinstance(whole, SeriesPrediction):
                item["answers"] = [items[id(answer)] for answer in whole.answers]
            result.append(item)
        return result

    def _name(self, model: str | None) -> str:
        if model is None:
            return next(iter(self._classifiers))
        if model not in self._classifiers:
            known = ", ".join(f"'{name}'" for name in self._classifiers)
            raise RefusedRequestError(422, f"no such model here: choose from {known}")
        return model

    async def _classify(
        self,
        files: Sequence[FileInMemory],
        model: str,
        choice: SliceChoice | None,
        wanted: Wanted,
    ) -> list[_Answered]:
        """Return the answers to all slices, as values and as JSON, in order."""
        request = object()
        files = await self._run(_to_be_read, files)
        async with _first_error(), asyncio.TaskGroup() as group:
            parts = [
                group.create_task(self._classify_file(file, model, choice, wanted, request))
                for file in files
            ]
        return [answered for part in parts for answered in part.result()]

    async def _classify_file(
        self,
        file: FileInMemory,
        model: str,
        choice: SliceChoice | None,
        wanted: Wanted,
        request: object,
    ) -> list[_Answered]:
        batcher = self._batchers[model]
        batcher.being_read += 1
        reader = self._volume_reader if _may_be_volume(file) else self._readers
        given_up = threading.Event()
        try:
            read = await asyncio.get_running_loop().run_in_executor(
                reader, _read, self._classifiers[model], file, choice, wanted, given_up
            )
        finally:
            given_up.set()
            batcher.being_read -= 1
        async with _first_error(), asyncio.TaskGroup() as group:
            answers = [
                group.create_task(self._classify_slice(*item, model, wanted, request))
                for item in read
            ]
        return [answer.result() for answer in answers]

    async def _classify_slice(
        self,
        slice_: Prepared | Failure,
        view: View | None,
        model: str,
        wanted: Wanted,
        request: object,
    ) -> _Answered:
        if isinstance(slice_, Failure):
            self._metrics.verdict(model, "unreadable")
            return slice_, slice_.to_json()
        answer = await self._batchers[model].classify(slice_, request)
        self._metrics.verdict(model, answer.verdict)
        if view is None or not wanted.heatmap:
            return answer, describe(answer, view, wanted)
        return answer, await self._run(describe, answer, view, wanted)

    async def _run(self, function: Callable[..., R], *arguments: object) -> R:
        """Run a function in one of the readers' threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, function, *arguments)


def _read(
    classifier: Classifier,
    file: FileInMemory,
    choice: SliceChoice | None,
    wanted: Wanted,
    given_up: threading.Event,
) -> _Read:
    """Read a file and keep what the answers need; nothing more once the request is given up."""
    read: _Read = []
    for item in classifier.read(file, choice):
        if given_up.is_set():
            break
        read.append((item, None) if isinstance(item, Failure) else take_view(item, wanted))
    return read


def _to_be_read(files: Sequence[FileInMemory]) -> list[FileInMemory]:
    """Return the files without what operating systems leave behind, those in archives unpacked."""
    kept = [file for file in files if not is_litter(file.name)]
    return list(unpacked(kept or files, most=_MOST_UNPACKED))


def _may_be_volume(file: FileInMemory) -> bool:
    """Tell whether a file may hold many slices, by what stands at its beginning."""
    head = bytes(file.content[:_HEAD])
    if head.startswith(_PICTURES):
        return False
    return not is_dicom(file) or _NUMBER_OF_FRAMES in head


@asynccontextmanager
async def _first_error() -> AsyncIterator[None]:
    """Raise the first of the errors of a group of tasks by itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


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
