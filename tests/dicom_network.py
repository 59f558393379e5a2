"""Senders, listeners and archives of DICOM objects on this machine, for the tests."""

import json
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import ComprehensiveSRStorage, SegmentationStorage

from dicom_files import write_series
from processes import free_port
from tumorscope.pacs.commitment import Commitment
from tumorscope.pacs.intake import Intake
from tumorscope.pacs.listener import Listener
from tumorscope.pacs.listener_metrics import ListenerMetrics
from tumorscope.pacs.sending import Peer
from tumorscope.pacs.series_gaps import missing_images
from tumorscope.pacs.spool import Spool


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """What the condition gives once it holds."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return result


def store(
    port: int,
    datasets: list[Dataset],
    *,
    calling: str = "SCANNER",
    called: str = "TUMORSCOPE",
    after_sending: Callable[[int, int], None] = lambda *_: None,
) -> list[int | None]:
    """Send objects; the status of each, None where there was none.

    After each message `after_sending` gets the object's number and how many were sent of it.
    """
    sender = AE(ae_title=calling)
    sender.acse_timeout = 2
    sender.add_requested_context(MRImageStorage, datasets[0].file_meta.TransferSyntaxUID)
    statuses: list[int | None] = []
    sent: list[int] = []

    def count(_: evt.Event) -> None:
        sent.append(len(statuses))
        after_sending(len(statuses), sent.count(len(statuses)))

    association = sender.associate(
        "127.0.0.1", port, ae_title=called, evt_handlers=[(evt.EVT_DATA_SENT, count)]
    )
    assert association.is_established
    for dataset in datasets:
        status = association.send_c_store(dataset).get("Status")
        if status is None:  # (The association is gone.)
            return statuses + [None] * (len(datasets) - len(statuses))
        statuses.append(status)
    association.release()
    return statuses


@dataclass
class Running:
    """A `tumorscope listen` process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextmanager
def listening(folder: Path, model: Path, *words: str, quiet: float = 0.3) -> Iterator[Running]:
    """Start `tumorscope listen` with a spool in the folder; answers go to `out` in it."""
    log = folder / f"log{len(list(folder.glob('log*')))}.txt"
    command = [sys.executable, "-m", "tumorscope.cli.main", "listen", "--port", "0"]
    command += ["--spool", str(folder / "spool"), "--out", str(folder / "out")]
    command += ["--quiet", str(quiet), "--model", str(model), "--threads", "1", *words]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stderr=stream)
    try:
        found = wait_for(
            lambda: (
                process.poll() is not None
                or re.search(r"listens at 127\.0\.0\.1:(\d+)", log.read_text())
            )
        )
        assert isinstance(found, re.Match), log.read_text()
        yield Running(process, int(found[1]), log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def receiver(
    spool: Path,
    *,
    allowed: list[str] | None = None,
    told: list[Peer] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[tuple[Spool, int]]:
    """A listener in this process, whose spool nobody answers."""
    kept = Spool(spool, missing_images)
    listener = Listener(
        Intake(kept, ListenerMetrics()),
        title="TUMORSCOPE",
        allowed=allowed or [],
        commitment=Commitment("TUMORSCOPE", {peer.title: peer for peer in told or []}),
    )
    try:
        yield kept, listener.start("127.0.0.1", 0, tls=tls)
    finally:
        listener.stop()
        kept.close()


@contextmanager
def archive(
    port: int = 0, *, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[int, list[Dataset]]]:
    """A receiver of reports and overlays, as a PACS is one."""
    got: list[Dataset] = []

    def keep(event: evt.Event) -> int:
        got.append(event.dataset)
        return 0x0000

    entity = AE(ae_title="PACS")
    for kind in (ComprehensiveSRStorage, SegmentationStorage, SecondaryCaptureImageStorage):
        entity.add_supported_context(kind)
    server = entity.start_server(
        ("127.0.0.1", port),
        block=False,
        ssl_context=tls,
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )
    assert server is not None
    try:
        yield server.server_address[1], got
    finally:
        entity.shutdown()


def written(folder: Path) -> list[Dataset]:
    """The objects in a folder, reports first."""
    paths = sorted(folder.rglob("*.dcm"), key=lambda path: path.name, reverse=True)
    return [dcmread(path) for path in paths if path.name[0] != "."]


def referred(folder: Path) -> set[str]:
    """The images that the reports in a folder are about."""
    return {
        str(item.ReferencedSOPInstanceUID)
        for report in written(folder)
        if report.Modality == "SR"
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def series(folder: Path, **how: Any) -> list[Dataset]:
    return [dcmread(path) for path in write_series(folder, **how)]


def ask(port: int, path: str, body: bytes | None = None) -> bytes:
    """What Orthanc's own web service answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=20) as answer:
        content: bytes = answer.read()
    return content


def _reached(port: int) -> bool:
    try:
        return bool(ask(port, "/system"))
    except OSError:
        return False


@contextmanager
def orthanc(folder: Path, **settings: Any) -> Iterator[int]:
    """A real archive; gives the port of its web service."""
    command = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if not command:
        pytest.skip("Orthanc is not installed (Debian: orthanc)")
    web = free_port()
    facts = {
        "Name": "test",
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "HttpPort": web,
        "DicomAet": "ORTHANC",
        "AuthenticationEnabled": False,
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(facts))
    with (folder / "orthanc.txt").open("wb") as log:
        process = subprocess.Popen([command, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        wait_for(lambda: _reached(web))
        yield web
    finally:
        process.terminate()
        process.wait(20)
