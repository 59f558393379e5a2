"""Keeps received objects on disk, and hands out series that have come to rest as jobs.

A spool is a folder that outlives the process::

    arriving/SERIES/   objects of a series that is still coming
    unfinished/SERIES  a series whose transfer has not ended as it should
    ready/JOB/images/  a series that has come to rest; beside it why it is incomplete, if it is
    ready/JOB/answers/ what is to be delivered about it, once that is whole
    answered/SERIES/   images and answers of a job that was delivered: more images may come
    failed/JOB/        what could not be answered, with reason.txt: for a person to look at
    key                what the pseudonyms depend on

Nothing in a name says who a patient is.
"""

import hashlib
import secrets
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from tumorscope.errors import DataError
from tumorscope.files import sync, whole_file, write_text

_FOLDERS: Final = ("arriving", "unfinished", "ready", "answered", "failed")

_KEY_LENGTH: Final = 32


@dataclass(frozen=True)
class Job:
    """A series that has come to rest.

    Attributes:
        folder: Where it is.
        before: Where the images and answers of an earlier job of the same series are, if anywhere.
    """

    folder: Path
    before: Path

    @property
    def name(self) -> str:
        """What the log calls it."""
        return self.folder.name

    @property
    def answers(self) -> Path:
        """Where the answers to be delivered are, once they are whole."""
        return self.folder / "answers"

    @property
    def images(self) -> list[Path]:
        """All images of the series; of one that came twice, the later."""
        found = {path.name: path for place in self._places for path in place.glob("*.dcm")}
        return [found[name] for name in sorted(found)]

    @property
    def incomplete(self) -> str:
        """Why the series is incomplete; empty when it seems whole."""
        return _text(self.folder)

    @property
    def is_known(self) -> bool:
        """Whether it says nothing that the earlier job did not."""
        old, new = ({path.name for path in place.glob("*.dcm")} for place in self._places)
        answered = (self.before / "answers").is_dir()
        return answered and new <= old and _text(self.before) == self.incomplete

    @property
    def _places(self) -> tuple[Path, Path]:
        return self.before / "images", self.folder / "images"


class Spool:
    """A folder of received objects; safe to use from several threads.

    Args:
        folder: Where it is; made when missing, and readable by its owner only.
        lacking: Says what a series of these files lacks; empty when it seems whole.

    Raises:
        DataError: Another process uses the folder.
    """

    def __init__(
        self, folder: Path, lacking: Callable[[Sequence[Path]], str] = lambda _: ""
    ) -> None:
        places = (folder / name for name in _FOLDERS)
        self._arriving, self._unfinished, self._ready, self._answered, self._failed = places
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._process_lock = FileLock(folder / "lock")
        try:
            self._process_lock.acquire(timeout=0)
        except Timeout:
            raise DataError(
                f"{folder}: another tumorscope listen uses this spool; give each its own"
            ) from None
        for name in _FOLDERS:
            (folder / name).mkdir(exist_ok=True)
        sync(folder)
        self._clear()
        self._folder = folder
        self._lacking = lacking
        self._lock = threading.Lock()
        self._opened = time.monotonic()
        self._last: dict[str, float] = {}
        self._senders: dict[str, set[int]] = {}
        self._refused: dict[str, set[str]] = {}
        self._gaps: dict[str, tuple[float, str]] = {}

    def close(self) -> None:
        """Let other processes use the folder."""
        self._process_lock.release()

    def key(self) -> bytes:
        """Return the secret of this spool; made at the first call."""
        path = self._folder / "key"
        if not path.exists():
            with whole_file(path, durable=True) as temporary:
                temporary.write_bytes(secrets.token_bytes(_KEY_LENGTH))
        return path.read_bytes()

    def keep(self, content: bytes, *, series: str, instance: str, sender: int = 0) -> None:
        """Write an object; when this returns the disk holds it, and no crash undoes that.

        Args:
            content: The object as a DICOM file.
            series: What names its series.
            instance: What names it; the same object sent again takes the place of the first.
            sender: Who sends it and will call `end`; 0 for nobody.

        Raises:
            OSError: The object could not be written.
        """
        name = _name(series)
        with self._lock:
            folder = self._arriving / name
            known = folder.is_dir()
            self._last[name] = time.monotonic()
            try:
                if sender and sender not in self._senders.setdefault(name, set()):
                    (self._unfinished / name).touch()
                    self._senders[name].add(sender)
                with whole_file(folder / f"{_name(instance)}.dcm", durable=True) as temporary:
                    temporary.write_bytes(content)
                if not known:
                    sync(self._arriving)
            except OSError:
                self._refused.setdefault(name, set()).add(instance)
                raise
            self._refused.get(name, set()).discard(instance)

    def end(self, sender: int, series: Sequence[str], *, well: bool) -> None:
        """Note that a sender has ended.

        Args:
            sender: Who.
            series: What names the series that it sent.
            well: Whether it ended in order; else they are unfinished until a later one does.
        """
        with self._lock:
            for name in map(_name, series):
                senders = self._senders.get(name, set())
                sent, unfinished = sender in senders, self._unfinished / name
                senders.discard(sender)
                if not well and sent:
                    unfinished.touch()  # (Another sender may have ended in order meanwhile.)
                elif well and not self._refused.get(name):
                    unfinished.unlink(missing_ok=True)

    def take_quiet(self, seconds: float, patience: float = 0.0) -> None:
        """Make a job of every series to which nothing has come for so long.

        A series waits while there is a job of it already.

        Args:
            seconds: How long, where a series seems whole.
            patience: How long, where it is incomplete; not less than `seconds`.
        """
        with self._lock:
            for folder in sorted(self._arriving.iterdir()):
                last = self._last.get(folder.name, self._opened)
                quiet = time.monotonic() - last
                busy = any(self._ready.glob(f"{folder.name}-*"))
                if quiet < seconds or busy or not any(folder.glob("*.dcm")):
                    continue
                why = self._why_incomplete(folder, last)
                if why and quiet < patience:
                    continue
                job = self._ready / f"{folder.name}-{uuid.uuid4().hex[:8]}"
                job.mkdir()
                if why:
                    write_text(job / "incomplete.txt", why)
                folder.rename(job / "images")
                sync(job)
                sync(self._ready)
                self._last.pop(folder.name, None)
                self._gaps.pop(folder.name, None)
                self._refused.pop(folder.name, None)

    def jobs(self) -> list[Job]:
        """Return the jobs that are not finished, the oldest first."""
        folders = [path for path in self._ready.iterdir() if (path / "images").is_dir()]
        folders.sort(key=lambda path: (path.stat().st_mtime, path.name))
        return [Job(folder, self._before(folder)) for folder in folders]

    def waiting(self) -> dict[str, int]:
        """Return how many series there are, by state."""
        states = {"arriving": self._arriving, "ready": self._ready, "failed": self._failed}
        return {state: len(list(place.iterdir())) for state, place in states.items()}

    def problem(self) -> str:
        """Return why nothing can be kept; empty when all is well."""
        probe = self._folder / "probe"
        try:
            probe.write_bytes(bytes(4096))
            probe.unlink()
        except OSError as error:
            return f"the spool cannot be written ({error.strerror})"
        return ""

    def finish(self, job: Job) -> None:
        """Put a job away whose answers were delivered; more images of its series may come."""
        # Renamed first: a job that is half put away must not look like one that waits.
        (job.folder / "images").rename(job.folder / "done")
        self._put_away(job.folder)

    def forget(self, seconds: float) -> None:
        """Remove the images and answers of series that were answered so long ago."""
        for place in (*self._answered.iterdir(), *self._unfinished.iterdir()):
            waits = (self._arriving / place.name).exists() or any(
                self._ready.glob(f"{place.name}-*")
            )
            if waits or time.time() - place.stat().st_mtime < seconds:
                continue
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink()

    def set_aside(self, job: Job, reason: str) -> Path:
        """Keep a job that cannot be answered for a person to look at.

        Returns:
            Where it is now.
        """
        (job.folder / "reason.txt").write_text(f"{reason}\n", encoding="utf-8")
        place = self._failed / job.name
        if place.exists():  # (Some of its files were set aside before.)
            place /= "rest"
        job.folder.rename(place)
        sync(self._failed)
        return place

    def set_aside_files(self, job: Job, reasons: dict[str, str]) -> Path:
        """Keep the files of a job that cannot be read for a person to look at.

        Args:
            job: The job.
            reasons: Why, by path.

        Returns:
            Where they are now.
        """
        place = self._failed / job.name
        place.mkdir(exist_ok=True)
        lines = [f"{Path(path).name}: {reason}\n" for path, reason in reasons.items()]
        (place / "reason.txt").write_text("".join(lines), encoding="utf-8")
        for path in reasons:
            Path(path).replace(place / Path(path).name)
        sync(place)
        return place

    def _why_incomplete(self, folder: Path, last: float) -> str:
        """Say why a series is incomplete; empty when it seems whole."""
        name = folder.name
        if self._gaps.get(name, (0.0, ""))[0] != last:
            places = (self._answered / name / "images", folder)
            found = {path.name: path for place in places for path in place.glob("*.dcm")}
            self._gaps[name] = (last, self._lacking(list(found.values())))
        refused = len(self._refused.get(name, ()))
        broken = (self._unfinished / name).exists() and not self._senders.get(name)
        said = [self._gaps[name][1]]
        if refused:
            said.append(f"{refused} image{' was' if refused == 1 else 's were'} refused")
        elif broken:
            said.append("the transfer was broken off")
        return "; ".join(filter(None, said))

    def _before(self, job: Path) -> Path:
        return self._answered / job.name.rpartition("-")[0]

    def _put_away(self, job: Path) -> None:
        """Move what a finished job holds to where its series' next job looks for it."""
        place = self._before(job)
        (place / "images").mkdir(parents=True, exist_ok=True)
        for path in (job / "done").glob("*.dcm"):
            path.replace(place / "images" / path.name)
        if (job / "answers").is_dir():
            shutil.rmtree(place / "answers", ignore_errors=True)
            write_text(place / "incomplete.txt", _text(job))
            (job / "answers").rename(place / "answers")
        place.touch()
        shutil.rmtree(job)

    def _clear(self) -> None:
        """Remove what a process that was killed left half done: nothing that was acknowledged."""
        for folder in self._arriving.iterdir():
            for path in folder.glob(".*"):
                path.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()
        for job in self._ready.iterdir():
            if (job / "done").is_dir():
                self._put_away(job)
            elif not (job / "images").is_dir():
                shutil.rmtree(job)


def _text(folder: Path) -> str:
    """Return what is written about a job's gaps."""
    path = folder / "incomplete.txt"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _name(uid: str) -> str:
    """Return a name for what a UID names: peers choose UIDs, and may choose ill."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]
