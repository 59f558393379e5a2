"""Keeps received objects on disk, and hands out series that have come to rest as jobs.

A spool is a folder that outlives the process::

    arriving/SERIES/   objects of a series that is still coming
    ready/JOB/images/  a series that has come to rest
    ready/JOB/answers/ what is to be delivered about it, once that is whole
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
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from tumorscope.errors import DataError
from tumorscope.files import sync, whole_file

_FOLDERS: Final = ("arriving", "ready", "failed")

_KEY_LENGTH: Final = 32


class Spool:
    """A folder of received objects; safe to use from several threads.

    Args:
        folder: Where it is; made when missing, and readable by its owner only.

    Raises:
        DataError: Another process uses the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._arriving, self._ready, self._failed = (folder / name for name in _FOLDERS)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._process_lock = FileLock(folder / "lock")
        try:
            self._process_lock.acquire(timeout=0)
        except Timeout:
            raise DataError(
                f"{folder}: another tumorscope listen uses this spool; give each its own"
            ) from None
        for part in (self._arriving, self._ready, self._failed):
            part.mkdir(exist_ok=True)
        sync(folder)
        self._clear()
        self._folder = folder
        self._lock = threading.Lock()
        self._opened = time.monotonic()
        self._last: dict[str, float] = {}

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

    def keep(self, content: bytes, *, series: str, instance: str) -> None:
        """Write an object; when this returns the disk holds it, and no crash undoes that.

        Args:
            content: The object as a DICOM file.
            series: What names its series.
            instance: What names it; the same object sent again takes the place of the first.

        Raises:
            OSError: The object could not be written.
        """
        name = _name(series)
        with self._lock:
            folder = self._arriving / name
            known = folder.is_dir()
            with whole_file(folder / f"{_name(instance)}.dcm", durable=True) as temporary:
                temporary.write_bytes(content)
            if not known:
                sync(self._arriving)
            self._last[name] = time.monotonic()

    def take_quiet(self, seconds: float) -> None:
        """Make a job of every series to which nothing has come for so long."""
        with self._lock:
            for folder in sorted(self._arriving.iterdir()):
                last = self._last.get(folder.name, self._opened)
                if time.monotonic() - last < seconds:
                    continue
                job = self._ready / f"{folder.name[:12]}-{uuid.uuid4().hex[:8]}"
                job.mkdir()
                folder.rename(job / "images")
                sync(job)
                sync(self._ready)
                self._last.pop(folder.name, None)

    def jobs(self) -> list[Path]:
        """Return the jobs that are not finished, the oldest first."""
        jobs = [path for path in self._ready.iterdir() if (path / "images").is_dir()]
        return sorted(jobs, key=lambda path: (path.stat().st_mtime, path.name))

    def finish(self, job: Path) -> None:
        """Take a job away whose answers were delivered."""
        # Renamed first: a job that is half gone must not look like one that waits.
        (job / "images").rename(job / "done")
        shutil.rmtree(job)

    def set_aside(self, job: Path, reason: str) -> Path:
        """Keep a job that cannot be answered for a person to look at.

        Returns:
            Where it is now.
        """
        (job / "reason.txt").write_text(f"{reason}\n", encoding="utf-8")
        place = self._failed / job.name
        if place.exists():  # (Some of its files were set aside before.)
            place /= "rest"
        job.rename(place)
        sync(self._failed)
        return place

    def set_aside_files(self, job: Path, reasons: dict[str, str]) -> Path:
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

    def _clear(self) -> None:
        """Remove what a process that was killed left half done: nothing that was acknowledged."""
        for folder in self._arriving.iterdir():
            for path in folder.glob(".*"):
                path.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()
        for job in self._ready.iterdir():
            if not (job / "images").is_dir():
                shutil.rmtree(job)


def _name(uid: str) -> str:
    """Return a name for what a UID names: peers choose UIDs, and may choose ill."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]
