"""Answers the series of a spool, and delivers the objects to a folder, to a peer, or both."""

import logging
import shutil
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import dcmread

from tumorscope.errors import DataError
from tumorscope.files import sync, whole_file
from tumorscope.inference.classifier import Classifier
from tumorscope.inference.results import Failure, Prediction
from tumorscope.inference.series_prediction import SeriesPrediction
from tumorscope.pacs.deidentification import Pseudonyms
from tumorscope.pacs.listener_metrics import ListenerMetrics
from tumorscope.pacs.objects import build_objects, name_in_study, save_object
from tumorscope.pacs.sending import Peer, SendError, send
from tumorscope.pacs.spool import Job, Spool
from tumorscope.pacs.stow import DicomWebServer, store

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
        tls: The TLS context in which the peer is called; None for plain TCP.
        web: A DICOMweb server, or None.
    """

    folder: Path | None = None
    peer: Peer | None = None
    title: str = "TUMORSCOPE"
    tls: ssl.SSLContext | None = None
    web: DicomWebServer | None = None

    def deliver(self, answers: Path) -> None:
        """Deliver all objects in a folder, whose files are named after what they are.

        Raises:
            OSError: A file could not be written.
            SendError: The peer or the server did not take all of them.
        """
        paths = sorted(answers.glob("*.dcm"))
        if self.folder:
            for path in paths:
                header = dcmread(path, stop_before_pixels=True)
                place = self.folder / name_in_study(header, path.stem)
                with whole_file(place, durable=True) as temporary:
                    shutil.copyfile(path, temporary)
        if self.peer:
            send(paths, self.peer, title=self.title, tls=self.tls)
        if self.web:
            store(paths, self.web)


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
        metrics: Told of each series.
        quiet: Seconds without a new object after which a series that seems whole is answered.
        patience: The same for one that is incomplete.
        keep: Seconds that the images and answers of a series are kept once it was answered.
        pseudonyms: Hides the patients.
        pause: Seconds after which a delivery that failed is tried again, then twice as many.
    """

    def __init__(
        self,
        spool: Spool,
        classifier: Classifier,
        delivery: Delivery,
        metrics: ListenerMetrics,
        *,
        quiet: float,
        patience: float = 300.0,
        keep: float = 86_400.0,
        pseudonyms: Pseudonyms | None = None,
        pause: float = 5.0,
    ) -> None:
        super().__init__(name="answering")
        self._spool, self._classifier, self._delivery = spool, classifier, delivery
        self._metrics = metrics
        self._quiet, self._patience, self._keep = quiet, max(quiet, patience), keep
        self._pseudonyms, self._first_pause = pseudonyms, pause
        self._stop_asked = threading.Event()
        self._pauses: dict[str, _Pause] = {}

    def stop(self) -> None:
        """Stop at the next slice and wait for it; what is left waits in the spool."""
        self._stop_asked.set()
        self.join()

    def run(self) -> None:
        """Answer series as they come to rest."""
        while not self._stop_asked.wait(min(1.0, max(0.05, self._quiet / 4))):
            try:
                self.answer_quiet()
            except OSError as error:
                _LOG.warning("the spool cannot be used (%s)", error.strerror)

    def answer_quiet(self) -> None:
        """Answer and deliver what has come to rest, and what was not delivered before.

        Raises:
            OSError: The spool cannot be used.
        """
        self._spool.take_quiet(self._quiet, self._patience)
        self._spool.forget(self._keep)
        for job in self._spool.jobs():
            pause = self._pauses.get(job.name)
            if pause is None or pause.until <= time.monotonic():
                self._work(job)

    def _work(self, job: Job) -> None:
        try:
            if not job.answers.is_dir():
                self._answer(job)
            self._delivery.deliver(job.answers)
        except _StoppedError:
            return
        except (OSError, SendError) as error:
            words = error.strerror if isinstance(error, OSError) else str(error)
            pause = self._pauses.setdefault(job.name, _Pause(self._first_pause))
            pause.until = time.monotonic() + pause.seconds
            _LOG.warning("%s: not delivered (%s); again in %.0f s", job.name, words, pause.seconds)
            self._metrics.not_delivered()
            pause.seconds = min(2 * pause.seconds, _LONGEST_PAUSE)
            return
        except Exception as error:  # noqa: BLE001  (one odd series must not stop the others)
            place = self._spool.set_aside(job, f"{type(error).__name__}: {error}")
            _LOG.warning("%s: cannot be answered; see %s", job.name, place / "reason.txt")
            self._metrics.series("failed")
        else:
            report = dcmread(job.answers / "report.dcm", specific_tags=["CompletionFlag"])
            self._metrics.series("whole" if report.CompletionFlag == "COMPLETE" else "incomplete")
            self._spool.finish(job)
            _LOG.info("%s: answered and delivered", job.name)
        self._pauses.pop(job.name, None)

    def _answer(self, job: Job) -> None:
        """Classify a series and write the objects about it, all or none.

        Raises:
            DataError: There is nothing to be said about it.
        """
        start = time.monotonic()
        partial = job.folder / "answers.partial"
        shutil.rmtree(partial, ignore_errors=True)
        if job.is_known:  # (The same images once more.)
            shutil.copytree(job.before / "answers", partial)
        else:
            self._classify(job, partial)
        for path in partial.glob("*.dcm"):
            sync(path)
        partial.rename(job.answers)
        sync(job.folder)
        state = f" (incomplete: {job.incomplete})" if job.incomplete else ""
        _LOG.info("%s%s: classified in %.1f s", job.name, state, time.monotonic() - start)

    def _classify(self, job: Job, folder: Path) -> None:
        found = self._classifier.join_series(self._answers(job))
        unreadable = {item.path: item.error for item in found if isinstance(item, Failure)}
        whole = [item for item in found if isinstance(item, SeriesPrediction)]
        before = job.before / "answers" / "report.dcm"
        objects = None
        if whole:  # (What the spool holds as a series, everybody else does, too.)
            objects = build_objects(
                whole[0].lacking(*job.incomplete.split("; ")),
                self._classifier,
                pseudonyms=self._pseudonyms,
                before=dcmread(before) if before.exists() else None,
            )
        if not objects:
            reasons = "; ".join(f"{Path(path).name}: {why}" for path, why in unreadable.items())
            raise DataError(f"no image that could be classified. {reasons}")
        for kind, dataset in objects.by_kind.items():
            save_object(dataset, folder / f"{kind}.dcm")
        if unreadable:
            place = self._spool.set_aside_files(job, unreadable)
            _LOG.warning("%s: %d unreadable; see %s", job.name, len(unreadable), place)

    def _answers(self, job: Job) -> Iterator[Prediction | Failure]:
        for answer in self._classifier.stream(job.images):
            if self._stop_asked.is_set():
                raise _StoppedError
            yield answer
