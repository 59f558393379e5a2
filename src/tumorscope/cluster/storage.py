"""Opens, lists and writes files wherever PyArrow's file systems reach: disks, S3, GCS, HDFS."""

import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from pyarrow import NativeFile
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

from tumorscope.errors import DataError

_REMOTE: Final = re.compile(r"(?P<root>(?P<scheme>s3|gs|gcs|hdfs|viewfs)://[^/]+)(?P<path>.*)")

_HADOOP: Final = ("hdfs", "viewfs")

_ANSWER: Final = 30.0
"""Seconds within which a store must answer."""

_PIECE: Final = 16 * 1024**2
"""So many bytes are asked for at once."""

_LINES: Final = 1024**2
"""The same of a file that is read line by line."""

_T = TypeVar("_T")

_WHOLE_WHEN_CLOSED: Final = ("s3", "gcs")
"""Stores whose objects appear when they are written to their end, and not before."""


class TooLargeError(Exception):
    """A file has more bytes than asked for."""


@dataclass(frozen=True)
class Location:
    """A file or folder on a disk or in a store.

    Attributes:
        root: The store: `s3://BUCKET`, `gs://BUCKET`, `hdfs://HOST:PORT`; empty for a disk.
        path: The absolute path on the disk, or in the store as PyArrow's file systems take it.
    """

    root: str
    path: str

    @classmethod
    def of(cls, text: "str | os.PathLike[str]") -> "Location":
        """Read a path, or a URI of a store.

        Raises:
            DataError: The URI holds a secret key, which would stand in every file that is written.
        """
        match = _REMOTE.fullmatch(os.fspath(text))
        if match is None:
            return cls("", os.path.abspath(text))  # noqa: PTH100  (names of any bytes)
        path = match["path"].rstrip("/")
        user, _, host = match["root"].partition("://")[2].rpartition("@")
        if ":" in user:
            raise DataError(f"a key in the address of {host}: give it in the environment instead")
        if match["scheme"] not in _HADOOP:  # (A bucket is the first part of its objects' paths.)
            path = host + path
        return cls(match["root"], path)

    def __str__(self) -> str:
        """Return what people call it: without the keys that may stand before a bucket's name."""
        if not self.root:
            return self.path
        scheme, _, host = self.root.partition("://")
        return f"{scheme}://{host if scheme in _HADOOP else ''}{self.path}"

    def __truediv__(self, name: str) -> "Location":
        """Return a file or folder in this folder."""
        return Location(self.root, f"{self.path.rstrip('/')}/{name}")

    def holds(self, other: "Location") -> bool:
        """Tell whether another place is this one or lies in it."""
        inside = f"{other.path}/".startswith(f"{self.path.rstrip('/')}/")
        return self.root == other.root and inside


@lru_cache(maxsize=64)
def open_filesystem(root: str) -> FileSystem:
    """Return the file system of a `Location.root`.

    Raises:
        DataError: It cannot be reached.
    """
    if not root:
        return LocalFileSystem()
    try:
        return FileSystem.from_uri(root)[0]
    except (OSError, ValueError) as error:
        raise DataError(f"{root}: cannot be reached ({in_one_line(error)})") from error


def answered(root: str, task: Callable[[], _T]) -> _T:
    """Return what a task finds in a store, if that answers in time.

    A store that takes a connection and then says nothing would hold its reader for ever: on Linux
    PyArrow's clients have no limit for it.

    Args:
        root: The store; of a disk the task is just done.
        task: Asks it once: for some megabytes at most.

    Raises:
        TimeoutError: It did not answer within half a minute.
    """
    if not root:
        return task()
    answer: Future[_T] = Future()

    def ask() -> None:
        try:
            answer.set_result(task())
        except BaseException as error:  # noqa: BLE001  (told to who waits)
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.result(_ANSWER)
    except TimeoutError:
        if answer.done():  # (The task's own.)
            raise
        raise TimeoutError(f"no answer within {_ANSWER:g} s") from None


def is_folder(place: Location) -> bool:
    """Tell whether a place is a folder."""
    return bool(_type_of(place) == FileType.Directory)


def exists(place: Location) -> bool:
    """Tell whether there is a file or folder."""
    return bool(_type_of(place) != FileType.NotFound)


def _type_of(place: Location) -> FileType:
    filesystem = open_filesystem(place.root)
    return answered(place.root, lambda: filesystem.get_file_info(place.path)).type


def entries(folder: Location) -> list[FileInfo]:
    """Return the files and folders in a folder; none where there is no folder.

    However long that takes: a store lists a thousand at a time, PyArrow gives all of them at once.
    """
    selector = FileSelector(folder.path, allow_not_found=True)
    return list(open_filesystem(folder.root).get_file_info(selector))


def read_whole(place: Location, largest: int | None = None) -> bytes:
    """Return a file's content.

    Raises:
        TooLargeError: It has more bytes than `largest`; nothing was read.
        OSError: It cannot be read.
    """
    filesystem = open_filesystem(place.root)

    def open_file() -> tuple[NativeFile, int]:
        file = filesystem.open_input_file(place.path)
        return file, file.size()

    file, size = answered(place.root, open_file)
    if largest is not None and size > largest:
        raise TooLargeError(str(place))
    pieces = range(0, size, _PIECE)
    parts = [answered(place.root, lambda: file.read(_PIECE)) for _ in pieces]
    file.close()  # (Not where it did not answer: that would wait, too.)
    return b"".join(parts)


def read_lines(place: Location) -> Iterator[str]:
    """Yield a text file's lines, however many there are.

    Raises:
        OSError: It cannot be read.
    """
    rest = b""
    filesystem = open_filesystem(place.root)
    file = answered(place.root, lambda: filesystem.open_input_stream(place.path))
    while part := answered(place.root, lambda: file.read(_LINES)):
        *lines, rest = (rest + part).split(b"\n")
        yield from (os.fsdecode(line.rstrip(b"\r")) for line in lines)
    file.close()
    yield os.fsdecode(rest.rstrip(b"\r"))


def write_whole(place: Location, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made when missing.

    Raises:
        OSError: It cannot be written; the file's name is in the error.
    """
    filesystem = open_filesystem(place.root)
    folder, _, name = place.path.rpartition("/")
    direct = filesystem.type_name in _WHOLE_WHEN_CLOSED
    written = place.path if direct else f"{folder}/.{name}.{secrets.token_hex(4)}"
    try:
        if not direct:
            answered(place.root, lambda: filesystem.create_dir(folder))
        try:
            answered(place.root, lambda: _write(filesystem, written, content))
            if not direct:
                answered(place.root, lambda: filesystem.move(written, place.path))
        except BaseException:
            if not direct and exists(Location(place.root, written)):
                answered(place.root, lambda: filesystem.delete_file(written))
            raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else in_one_line(error)
        raise OSError(error.errno, reason, str(place)) from error


def _write(filesystem: FileSystem, path: str, content: bytes) -> None:
    with filesystem.open_output_stream(path) as file:
        file.write(content)


def in_one_line(error: BaseException) -> str:
    """Return what PyArrow says went wrong, without its ornaments."""
    words = str(error).partition(" Detail: ")[0]
    return " ".join(words.split())[:300]
