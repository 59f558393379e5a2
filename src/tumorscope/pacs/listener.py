"""Receives MR images over the network (C-STORE); each is on disk before it is acknowledged."""

import logging
import ssl
import time
from collections import Counter
from typing import Final, cast
from weakref import WeakKeyDictionary

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    Verification,
)

from tumorscope.images.dicom_decoders import DECODERS
from tumorscope.pacs.commitment import Commitment
from tumorscope.pacs.intake import CANNOT_UNDERSTAND, SUCCESS, Intake
from tumorscope.pacs.references import MR_CLASSES

_LOG: Final = logging.getLogger(__name__)

_UNCOMPRESSED: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
"""All but Deflated, of which a small object may unpack to more than the memory holds."""

_PATIENCE: Final = 10.0
"""Seconds that open associations have to end when the listener is stopped."""


class Listener:
    """A receiver of MR images: C-STORE, C-ECHO, and storage commitment, which is refused.

    Args:
        intake: Where objects are kept.
        title: The AE title that callers must call.
        allowed: The AE titles that may call; none means all.
        commitment: What answers requests for storage commitment.
    """

    def __init__(
        self, intake: Intake, *, title: str, allowed: list[str], commitment: Commitment
    ) -> None:
        self._intake = intake
        self._commitment = commitment
        self._sent: WeakKeyDictionary[Association, Counter[str]] = WeakKeyDictionary()
        self._entity = AE(ae_title=title)
        self._entity.require_called_aet = True
        self._entity.require_calling_aet = allowed
        self._entity.add_supported_context(Verification)
        self._entity.add_supported_context(StorageCommitmentPushModel)
        for kind in MR_CLASSES:
            self._entity.add_supported_context(kind, [*_UNCOMPRESSED, *DECODERS])

    def start(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> int:
        """Listen in threads of its own.

        Args:
            host: The address to listen at.
            port: The port; 0 takes a free one.
            tls: The TLS context; None for plain TCP.

        Returns:
            The port.

        Raises:
            OSError: The address cannot be used.
        """
        self._server = self._entity.start_server(
            (host, port),
            block=False,
            ssl_context=tls,
            evt_handlers=[
                (evt.EVT_C_STORE, self._keep),
                (evt.EVT_N_ACTION, self._commitment.handle),
                (evt.EVT_REJECTED, _say_refused),
                (evt.EVT_RELEASED, self._note_end),
                (evt.EVT_CONN_CLOSE, self._say_received),
            ],
        )
        assert self._server is not None
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Take no more associations, let the open ones end, and abort those that do not."""
        assert self._server is not None
        self._server.shutdown()
        end = time.monotonic() + _PATIENCE
        while self._entity.active_associations and time.monotonic() < end:
            time.sleep(0.05)
        self._entity.shutdown()

    def _keep(self, event: Event) -> int:
        """Keep an object and return the status that acknowledges it, or says why not."""
        try:
            content = event.encoded_dataset()
        except Exception as error:  # noqa: BLE001  (pydicom raises nearly anything on damage)
            _LOG.warning("an object that cannot be read (%s), refused", type(error).__name__)
            return CANNOT_UNDERSTAND
        request = cast(C_STORE, event.request)
        promised = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        taken = self._intake.take(content, way="dimse", sender=id(event.assoc), promised=promised)
        if taken.series:
            sent = self._sent.setdefault(event.assoc, Counter())
            # (Its end counts even for a series of which nothing could be kept.)
            sent[taken.series] += taken.status == SUCCESS
        return taken.status

    def _note_end(self, event: Event) -> None:
        self._intake.end(id(event.assoc), list(self._sent.get(event.assoc, ())), well=True)

    def _say_received(self, event: Event) -> None:
        """Say what came over a connection that is closed, after its release or without one."""
        sent = self._sent.get(event.assoc, Counter())
        self._intake.end(id(event.assoc), list(sent), well=False)
        count = sent.total()
        if count:
            title = event.assoc.requestor.ae_title
            _LOG.info("kept %d object%s from %s", count, "" if count == 1 else "s", repr(title))


def _say_refused(event: Event) -> None:
    requestor = event.assoc.requestor
    _LOG.warning("refused an association of %r at %s", requestor.ae_title, requestor.address)
