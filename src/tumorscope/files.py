"""Writes files whole or not at all: under a temporary name first, then a rename."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_STEM: Final = 200
"""Bytes of a name that its temporary one has, too: file systems take 255 in all."""


@contextmanager
def whole_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` when all went well.

    The temporary file stands in the same folder (which is made when missing) and keeps the ending;
    whoever writes to it makes it. It is gone after an error, an interrupt or a full disk: `path` is
    then as it was before.

    Args:
        path: The file to be written.
        durable: Whether to wait until the disk holds it: then not even a power cut undoes it.

    Yields:
        The temporary path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not made here: Ctrl-C could come between the making and the line that takes care of it.
    stem = path.stem.encode("utf-8", "ignore")[:_STEM].decode("utf-8", "ignore")
    temporary = path.parent / f".{stem}.{secrets.token_hex(4)}{path.suffix}"
    try:
        yield temporary
        temporary.chmod(0o644)
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
    except OSError as error:
        # What writing says about a full disk does not name the file.
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all; names of files in it stay what they are."""
    write_bytes(path, text.encode(errors="surrogateescape"))


def sync(path: Path) -> None:
    """Wait until the disk holds a file, or the names in a folder."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # (Windows opens no folders, and needs none of this for them.)
        if path.is_dir():
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
