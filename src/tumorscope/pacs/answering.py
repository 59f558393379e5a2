"""Answers the series of a spool, and delivers the objects to a folder, to a peer, or both."""

import logging
import shutil
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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

    def deliver(self, answers: Path, done: set[str]) -> None:
        """Deliver all objects in a folder, whose files are named after what they are.

        One receiver that fails keeps nothing from the others.

        Args:
            answers: The folder.
            done: Who has them already; those who take them now are added.

        Raises:
            SendError: Not all have taken all of them.
        """
        paths = sorted(answers.glob("*.dcm"))
        receivers: dict[str, Callable[[], None]] = {}
        if folder := self.folder:
            receivers["folder"] = lambda: _copy(paths, folder)
        if peer := self.peer:
            receivers["peer"] = lambda: send(paths, peer, title=self.title, tls=self.tls)
        if web := self.web:
            receivers["web"] = lambda: store(paths, web)
        failed = []
        for name, deliver in receivers.items():
            if name in done:
                continue
            try:
                deliver()
            except (OSError, SendError) as error:
                failed.append(_in_words(error))
            else:
                done.add(name)
        if failed:
            raise SendError("; ".join(failed))


def _copy(paths: Sequence[Path], folder: Path) -> None:
    for path in paths:
        header = dcmread(path, stop_before_pixels=True)
        with whole_file(folder / name_in_study(header, path.stem), durable=True) as temporary:
            shutil.copyfile(path, temporary)


def _in_words(error: OSError | SendError) -> str:
    """Return what went wrong, without the names of files."""
    return str(error) if isinstance(error, SendError) else error.strerror or type(error).__name__


@dataclass
class _Attempts:
    """How the delivery of a job stands.

    Attributes:
        pause: Seconds until it is tried again.
        until: When that is.
        done: Who has the objects.
    """

    pause: float
    until: float = 0.0
    done: set[str] = field(default_factory=set)


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
        self._attempts: dict[str, _Attempts] = {}

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
            attempts = self._attempts.setdefault(job.name, _Attempts(self._first_pause))
            if attempts.until <= time.monotonic():
                self._work(job, attempts)

    def _work(self, job: Job, attempts: _Attempts) -> None:
        try:
            if not job.answers.is_dir():
                self._answer(job)
            self._delivery.deliver(job.answers, attempts.done)
        except _StoppedError:
            return
        except (OSError, SendError) as error:
            words, pause = _in_words(error), attempts.pause
            attempts.until = time.monotonic() + pause
            attempts.pause = min(2 * pause, _LONGEST_PAUSE)
            _LOG.warning("%s: not delivered (%s); again in %.0f s", job.name, words, pause)
            self._metrics.not_delivered()
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
        del self._attempts[job.name]

    def _answer(self, job: Job) -> None:
        """Classify a series and write the objects about it, all or none.

        Raises:
            DataError: There is nothing to be said about it.
        """
        start = time.monotonic()
        partial = job.folder / "answers.partial"
        shutil.rmtree(partial, ignore_errors=True)
        unreadable: dict[str, str] = {}
        if job.is_known:  # (The same images once more.)
            shutil.copytree(job.before / "answers", partial)
        else:
            unreadable = self._classify(job, partial)
        for path in partial.glob("*.dcm"):
            sync(path)
        partial.rename(job.answers)
        sync(job.folder)
        if (
            unreadable
        ):  # (Now: after a crash before this the answer, which tells of them, is made anew.)
            place = self._spool.set_aside_files(job, unreadable)
            _LOG.warning("%s: %d unreadable; see %s", job.name, len(unreadable), place)
        state = f" (incomplete: {job.incomplete})" if job.incomplete else ""
        _LOG.info("%s%s: classified in %.1f s", job.name, state, time.monotonic() - start)

    def _classify(self, job: Job, folder: Path) -> dict[str, str]:
        """Write the objects about a series; return why files of it cannot be read, by path.

        Raises:
            DataError: There is nothing to be said about it.
        """
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
        return unreadable

    def _answers(self, job: Job) -> Iterator[Prediction | Failure]:
        for answer in self._classifier.stream(job.images):
            if self._stop_asked.is_set():
                raise _StoppedError
            yield answer
