"""DICOM by TLS: known callers only, and receivers that are who they say they are."""

import socket
import ssl
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from certificates import write_certificate
from dicom_files import write_series
from dicom_network import archive, receiver
from tumorscope.errors import DataError
from tumorscope.pacs.sending import Peer, SendError, send
from tumorscope.pacs.tls import TlsFiles


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    certificate, key, authority = write_certificate(tmp_path)
    return TlsFiles(certificate=certificate, key=key, authority=authority)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener that is stopped waits for nobody who never said what he wanted."""
    monkeypatch.setattr("tumorscope.pacs.listener._PATIENCE", 0.5)


def echo(port: int, context: ssl.SSLContext | None) -> bool:
    caller = AE(ae_title="SCANNER")
    caller.acse_timeout = caller.connection_timeout = 5
    caller.add_requested_context(Verification)
    tls = (context, "127.0.0.1") if context else None
    association = caller.associate("127.0.0.1", port, ae_title="TUMORSCOPE", tls_args=tls)
    try:
        return association.is_established and association.send_c_echo().get("Status") == 0
    finally:
        association.release()


def test_only_known_callers_are_answered(tmp_path: Path, files: TlsFiles) -> None:
    stranger = ssl.create_default_context(cafile=str(files.authority))
    with receiver(tmp_path / "spool", tls=files.for_listening()) as (_, port):
        assert echo(port, files.for_sending())
        assert not echo(port, stranger)
        assert not echo(port, None)


def test_callers_that_say_nothing_keep_nobody_waiting(tmp_path: Path, files: TlsFiles) -> None:
    with (
        receiver(tmp_path / "spool", tls=files.for_listening()) as (_, port),
        socket.create_connection(("127.0.0.1", port)),
        socket.create_connection(("127.0.0.1", port)) as half,
    ):
        half.sendall(b"\x16\x03\x01")
        assert echo(port, files.for_sending())


def test_objects_are_sent_only_to_the_right_receiver(tmp_path: Path, files: TlsFiles) -> None:
    (tmp_path / "other").mkdir()
    certificate, key, authority = write_certificate(tmp_path / "other")
    other = TlsFiles(certificate=certificate, key=key, authority=authority)
    (image,) = write_series(tmp_path / "in", count=1)
    with archive(tls=files.for_listening()) as (port, _):
        peer = Peer("PACS", "127.0.0.1", port)
        with pytest.raises(SendError, match="of this kind"):  # (It is reached; it takes no MR.)
            send([image], peer, title="X", tls=files.for_sending())
        with pytest.raises(SendError, match="cannot be reached"):
            send([image], peer, title="X", tls=other.for_sending())


def test_files_that_do_not_belong_together_are_named(files: TlsFiles) -> None:
    wrong = TlsFiles(certificate=files.certificate, key=files.certificate, authority=None)
    with pytest.raises(DataError, match="no certificate with its key"):
        wrong.for_listening()
