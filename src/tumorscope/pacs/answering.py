"""Answers the series of a spool, and delivers the objects to a folder, to a peer, or both."""

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tumorscope.errors import DataError
from tumorscope.files import sync, whole_file
from tumorscope.images.listing import list_files
from tumorscope.inference.classifier import Classifier
from tumorscope.inference.results import Failure, Prediction
from tumorscope.inference.series_prediction import predict_series
from tumorscope.pacs.deidentification import Pseudonyms
from tumorscope.pacs.objects import build_objects, save_objects
from tumorscope.pacs.sending import Peer, SendError, send
from tumorscope.pacs.spool import Spool

_LOG: Final = logging.getLogger(__name__)

_LONGEST_PAUSE: Final = 600.0
"""Seconds after which a delivery that failed is tried again, at the latest."""


class _StoppedError(Exception):
    """The process is to end; the spool holds all that is left to do."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Where objects go.

    Attributes:
        folder: A folder, or None.
        peer: A receiver on the network, or None.
        title: The AE title under which they are sent.
    """

    folder: Path | None = None
    peer: Peer | None = None
    title: str = "TUMORSCOPE"

    def deliver(self, answers: Path) -> None:
        """Deliver all objects in a folder.

        Raises:
            OSError: A file could not be written.
            SendError: The peer did not take all of them.
        """
        paths = sorted(answers.rglob("*.dcm"))
        if self.folder:
            for path in paths:
                place = self.folder / path.relative_to(answers)
                with whole_file(place, durable=True) as temporary:
                    shutil.copyfile(path, temporary)
        if self.peer:
            send(paths, self.peer, title=self.title)


@dataclass
class _Pause:
    """When a job is tried again."""

    seconds: float
    until: float = 0.0


class Answering(threading.Thread):
    """Answers the series of a spool until it is stopped.

    Args:
        spool: Where the series are.
        classifier: The model.
        delivery: Where the answers go.
        quiet: Seconds without a new object after which a series is whole.
        pseudonyms: Hides the patients.
        pause: Seconds after which a delivery that failed is tried again, then twice as many.
    """

    def __init__(
        self,
        spool: Spool,
        classifier: Classifier,
        delivery: Delivery,
        *,
        quiet: float,
        pseudonyms: Pseudonyms | None = None,
        pause: float = 5.0,
    ) -> None:
        super().__init__(name="answering")
        self._spool, self._classifier, self._delivery = spool, classifier, delivery
        self._quiet, self._pseudonyms, self._first_pause = quiet, pseudonyms, pause
        self._stop_asked = threading.Event()
        self._pauses: dict[Path, _Pause] = {}

    def stop(self) -> None:
        """Stop at the next slice and wait for it; what is left waits in the spool."""
        self._stop_asked.set()
        self.join()

    def run(self) -> None:
        """Answer series as they come to rest."""
        while not self._stop_asked.wait(min(1.0, max(0.05, self._quiet / 4))):
            try:
                self._spool.take_quiet(self._quiet)
                for job in self._spool.jobs():
                    pause = self._pauses.get(job)
                    if pause is None or pause.until <= time.monotonic():
                        self._work(job)
            except OSError as error:
                _LOG.warning("the spool cannot be used (%s)", error.strerror)

    def _work(self, job: Path) -> None:
        try:
            answers = job / "answers"
            if not answers.is_dir():
                self._answer(job, answers)
            self._delivery.deliver(answers)
        except _StoppedError:
            return
        except (OSError, SendError) as error:
            words = error.strerror if isinstance(error, OSError) else str(error)
            pause = self._pauses.setdefault(job, _Pause(self._first_pause))
            pause.until = time.monotonic() + pause.seconds
            _LOG.warning("%s: not delivered (%s); again in %.0f s", job.name, words, pause.seconds)
            pause.seconds = min(2 * pause.seconds, _LONGEST_PAUSE)
            return
        except Exception as error:  # noqa: BLE001  (one odd series must not stop the others)
            place = self._spool.set_aside(job, f"{type(error).__name__}: {error}")
            _LOG.warning("%s: cannot be answered; see %s", job.name, place / "reason.txt")
        else:
            self._spool.finish(job)
            _LOG.info("%s: answered and delivered", job.name)
        self._pauses.pop(job, None)

    def _answer(self, job: Path, answers: Path) -> None:
        """Classify a series and write the objects about it, all or none.

        Raises:
            DataError: There is nothing to be said about it.
        """
        start = time.monotonic()
        partial = job / "answers.partial"
        shutil.rmtree(partial, ignore_errors=True)
        found = predict_series(
            self._answers(job),
            confident=self._classifier.confident,
            rule=self._classifier.series_rule,
        )
        unreadable = {item.path: item.error for item in found if isinstance(item, Failure)}
        written: list[Path] = []
        for answer in found:
            if isinstance(answer, Failure):
                continue
            objects = build_objects(answer, self._classifier, pseudonyms=self._pseudonyms)
            written += save_objects(objects, partial) if objects else []
        if not written:
            reasons = "; ".join(f"{Path(path).name}: {why}" for path, why in unreadable.items())
            raise DataError(f"no image that could be classified. {reasons}")
        if unreadable:
            place = self._spool.set_aside_files(job, unreadable)
            _LOG.warning("%s: %d unreadable; see %s", job.name, len(unreadable), place)
        for path in written:
            sync(path)
        partial.rename(answers)
        sync(job)
        _LOG.info("%s: classified in %.1f s", job.name, time.monotonic() - start)

    def _answers(self, job: Path) -> Iterator[Prediction | Failure]:
        for answer in self._classifier.stream(list_files(job / "images").files):
            if self._stop_asked.is_set():
                raise _StoppedError
            yield answer
