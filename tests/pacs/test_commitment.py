"""Storage commitment is answered, and nothing is committed: the spool is no archive."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import MRImageStorage, generate_uid
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.sop_class import StorageCommitmentPushModel

from dicom_network import receiver
from processes import free_port
from tumorscope.pacs.sending import Peer

WELL_KNOWN = "1.2.840.10008.1.20.1.1"


def request() -> Dataset:
    asked = Dataset()
    asked.TransactionUID = generate_uid()
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MRImageStorage, "1.2.3"
    asked.ReferencedSOPSequence = [item]
    return asked


class Told:
    """What a scanner hears of its request."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.kinds: list[int] = []
        self.results: list[Dataset] = []

    def hear(self, event: evt.Event) -> tuple[int, None]:
        self.kinds.append(event.event_type)
        self.results.append(event.event_information)
        self.event.set()
        return 0x0000, None


def ask(port: int, told: Told, *, stays: bool, action: int = 1) -> int:
    """Ask for commitment; who does not stay takes no result over this association."""
    sender = AE(ae_title="SCANNER")
    sender.add_requested_context(StorageCommitmentPushModel)
    answered = threading.Event()

    def sent(event: evt.Event) -> None:
        if isinstance(event.message, N_EVENT_REPORT_RSP):
            answered.set()

    handlers = [(evt.EVT_N_EVENT_REPORT, told.hear), (evt.EVT_DIMSE_SENT, sent)]
    association = sender.associate(
        "127.0.0.1", port, ae_title="TUMORSCOPE", evt_handlers=handlers if stays else None
    )
    asked = request()
    status, _ = association.send_n_action(asked, action, StorageCommitmentPushModel, WELL_KNOWN)
    if stays and status.Status == 0:
        assert answered.wait(20)
        assert told.results[0].TransactionUID == asked.TransactionUID
    association.release()
    assert association.is_released
    return int(status.Status)


def test_the_result_comes_over_the_same_association(tmp_path: Path) -> None:
    told = Told()
    with receiver(tmp_path / "spool") as (_, port):
        assert ask(port, told, stays=True) == 0x0000
    assert told.kinds == [2]  # (Failures exist.)
    (item,) = told.results[0].FailedSOPSequence
    assert (item.ReferencedSOPInstanceUID, item.FailureReason) == ("1.2.3", 0x0110)
    assert "ReferencedSOPSequence" not in told.results[0]


@contextmanager
def scanner(told: Told) -> Iterator[Peer]:
    """A scanner that is called back."""
    entity = AE(ae_title="SCANNER")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    port = free_port()
    handlers = [(evt.EVT_N_EVENT_REPORT, told.hear)]
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield Peer("SCANNER", "127.0.0.1", port)
    finally:
        entity.shutdown()


def test_who_has_left_is_called(tmp_path: Path) -> None:
    told = Told()
    with scanner(told) as peer, receiver(tmp_path / "spool", told=[peer]) as (_, port):
        assert ask(port, Told(), stays=False) == 0x0000
        assert told.event.wait(20)
    assert told.kinds == [2]


def test_other_actions_are_none(tmp_path: Path) -> None:
    with receiver(tmp_path / "spool") as (_, port):
        assert ask(port, Told(), stays=True, action=9) == 0x0123
