"""Answers requests for storage commitment (DICOM PS3.4, J): nothing is ever committed.

The spool is no archive: what was answered is removed. A scanner that removed its images on this
listener's word would lose them, so every request is answered, and every object in it is refused.
"""

import logging
import threading
from collections.abc import Mapping
from typing import Final

from pydicom import Dataset
from pynetdicom import AE, build_role
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from tumorscope.pacs.sending import Peer

_LOG: Final = logging.getLogger(__name__)

_WELL_KNOWN: Final = "1.2.840.10008.1.20.1.1"
"""The one instance of the service (PS3.4, J.3.5)."""

_REQUEST_COMMITMENT: Final = 1
_FAILURES_EXIST: Final = 2

_SUCCESS: Final = 0x0000
_NO_SUCH_ACTION: Final = 0x0123
_INVALID: Final = 0x0115
_PROCESSING_FAILURE: Final = 0x0110

_TIMEOUT: Final = 30

_LEAVES_WITHIN: Final = 1.0
"""Seconds in which a caller who does not wait for the result has released its association.

Its release would go unanswered while the result is sent over that association.
"""


class Commitment:
    """What answers requests for storage commitment.

    Args:
        title: The own AE title.
        peers: Where those are told who have closed their association, by their AE title.
    """

    def __init__(self, title: str, peers: Mapping[str, Peer]) -> None:
        self._title = title
        self._peers = peers

    def handle(self, event: Event) -> tuple[int, None]:
        """Accept a request (N-ACTION); its result follows in a message of its own."""
        if event.action_type != _REQUEST_COMMITMENT:
            return _NO_SUCH_ACTION, None
        try:
            result = _refused(event.action_information)
        except Exception:  # noqa: BLE001  (pydicom raises nearly anything on damage)
            return _INVALID, None
        threading.Thread(target=self._tell, args=(event.assoc, result), daemon=True).start()
        return _SUCCESS, None

    def _tell(self, asking: Association, result: Dataset) -> None:
        """Send the result (N-EVENT-REPORT), over the same association while it is open."""
        title = str(asking.requestor.ae_title).strip()
        asking.join(_LEAVES_WITHIN)
        told = _report(asking, result) or self._call(title, result)
        count = len(result.FailedSOPSequence)
        words = "told" if told else "could not be told"
        _LOG.info("%r asked to commit %d objects; %s that none is", title, count, words)

    def _call(self, title: str, result: Dataset) -> bool:
        peer = self._peers.get(title)
        if peer is None:
            return False
        caller = AE(ae_title=self._title)
        caller.acse_timeout = caller.dimse_timeout = caller.network_timeout = _TIMEOUT
        caller.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = caller.associate(peer.host, peer.port, ae_title=peer.title, ext_neg=[role])
        try:
            return _report(association, result)
        finally:
            association.release()


def _report(association: Association, result: Dataset) -> bool:
    """Send the result over an association; tell whether it was taken."""
    if not association.is_established:
        return False
    try:
        status, _ = association.send_n_event_report(
            result, _FAILURES_EXIST, StorageCommitmentPushModel, _WELL_KNOWN
        )
    except (ValueError, RuntimeError):  # (It was closed meanwhile, or does not take it.)
        return False
    return bool(status.get("Status") == _SUCCESS)


def _refused(request: Dataset) -> Dataset:
    """Return the result of a request: every object is refused."""
    result = Dataset()
    result.TransactionUID = request.TransactionUID
    result.FailedSOPSequence = []
    for asked in request.ReferencedSOPSequence:
        item = Dataset()
        item.ReferencedSOPClassUID = asked.ReferencedSOPClassUID
        item.ReferencedSOPInstanceUID = asked.ReferencedSOPInstanceUID
        item.FailureReason = _PROCESSING_FAILURE
        result.FailedSOPSequence.append(item)
    return result
