"""Gathers the slices of many requests into batches for a model, a fair share for each."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from tumorscope.inference import Classifier, Prediction
from tumorscope.inference.classifier import Prepared

_Waiting: TypeAlias = "tuple[Prepared, asyncio.Future[Prediction]]"


LINGER: Final = 0.02
"""Seconds that a slice waits for others that are being read."""


class Batcher:
    """A model's queue.

    The network classifies many slices together faster than one by one. So while it works on a
    batch, the next one gathers; and while further files are being read, a batch that is not full
    waits for them a little. A slice that comes alone is classified at once. A batch takes a slice
    of each request in turn, so a picture does not wait for all of another request's volume.

    Args:
        classifier: The model.
        batch_size: Slices that the network classifies at once, at most.
        counted: Told the size of each batch.
    """

    def __init__(
        self, classifier: Classifier, *, batch_size: int, counted: Callable[[int], None]
    ) -> None:
        self._classifier = classifier
        self._batch_size = batch_size
        self._counted = counted
        self._waiting: OrderedDict[object, deque[_Waiting]] = OrderedDict()
        self._worker: asyncio.Task[None] | None = None
        self.being_read = 0
        """Files whose slices will come soon; the service counts them."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")

    async def classify(self, slice_: Prepared, request: object) -> Prediction:
        """Return the model's answer to a slice of a request."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Prediction] = loop.create_future()
        self._waiting.setdefault(request, deque()).append((slice_, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    def close(self) -> None:
        """Let go of the thread, once nobody waits any more."""
        self._thread.shutdown()

    async def _work(self) -> None:
        """Classify what waits, until nothing does."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            if self.being_read and sum(map(len, self._waiting.values())) < self._batch_size:
                await asyncio.sleep(LINGER)
            batch = self._next_batch()
            if not batch:
                continue
            self._counted(len(batch))
            slices = [slice_ for slice_, _ in batch]
            try:
                answers = await loop.run_in_executor(self._thread, self._run, slices)
            except Exception as error:  # noqa: BLE001  (each request reports it)
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    def _next_batch(self) -> list[_Waiting]:
        """Take a slice of each request in turn; those that were given up count for nothing."""
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._batch_size:
            request, slices = self._waiting.popitem(last=False)
            slice_, future = slices.popleft()
            if slices:
                self._waiting[request] = slices
            if not future.done():
                batch.append((slice_, future))
        return batch

    def _run(self, slices: Sequence[Prepared]) -> list[Prediction]:
        answers = self._classifier.classify(slices)
        return [answer for answer in answers if isinstance(answer, Prediction)]
