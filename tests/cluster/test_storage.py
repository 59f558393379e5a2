"""Files in stores: what does not answer, what is too large, what is written whole."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tumorscope.cluster import storage, worker
from tumorscope.cluster.storage import (
    Location,
    TooLargeError,
    read_lines,
    read_whole,
    write_whole,
)
from tumorscope.cluster.worker import Fetched, fetch
from tumorscope.errors import DataError


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store that takes connections and says nothing; patience with it is short."""
    monkeypatch.setattr(storage, "_ANSWER", 0.3)
    monkeypatch.setattr(worker, "_WAITS", (0.01,))
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            try:
                while True:
                    kept.append(server.accept()[0])
            except OSError:
                return

        threading.Thread(target=take, daemon=True).start()
        settings = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield
        server.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


def test_what_is_written_is_read_again_in_pieces(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.create_bucket(Bucket="pieces")
    monkeypatch.setattr(storage, "_PIECE", 1000)
    for content in (b"", b"x", os.urandom(1000), os.urandom(12_345)):
        place = Location.of("s3://pieces/a/b c.bin")
        write_whole(place, content)
        assert read_whole(place) == content
        assert read_whole(place, largest=len(content)) == content
    with pytest.raises(TooLargeError):
        read_whole(place, largest=12_344)
    with pytest.raises(FileNotFoundError):
        read_whole(place / "gone")


def test_a_large_object_is_refused(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.create_bucket(Bucket="large")
    s3.put_object(Bucket="large", Key="scan.nii", Body=b"12345")
    monkeypatch.setattr(worker, "LARGEST_OBJECT", 4)
    assert "in a store, refused" in fetch(Location.of("s3://large/scan.nii")).error


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_on_a_disk_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "scan.dcm"
    os.mkfifo(pipe)
    assert fetch(Location.of(str(pipe))) == Fetched(str(pipe), str(pipe), None)


@pytest.mark.usefixtures("silent")
def test_a_store_that_says_nothing_is_given_up() -> None:
    place = Location.of("s3://silent/scan.dcm")
    with pytest.raises(TimeoutError, match=r"no answer within 0.3 s"):
        read_whole(place)
    with pytest.raises(DataError, match=r"scan.dcm: the store does not answer \(no answer within"):
        fetch(place)
    with pytest.raises(OSError, match="no answer within"):
        write_whole(place, b"content")
    with pytest.raises(TimeoutError, match="no answer within"):
        next(read_lines(place))


def test_lines_are_the_same_however_they_are_read(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.create_bucket(Bucket="lines")
    place = Location.of("s3://lines/list.txt")
    lines = ["", "a.dcm", "b c.dcm", "ü" * 9, "last"]
    write_whole(place, "\r\n".join(lines).encode())
    for size in (1, 7, 1000):
        monkeypatch.setattr(storage, "_LINES", size)
        assert list(read_lines(place)) == lines
