"""Receives MR images over the network (C-STORE); each is on disk before it is acknowledged."""

import io
import logging
import time
from collections import Counter
from typing import Final, cast
from weakref import WeakKeyDictionary

from pydicom import dcmread
from pynetdicom import AE, DEFAULT_TRANSFER_SYNTAXES, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from tumorscope.images.dicom_decoders import DECODERS
from tumorscope.pacs.references import MR_CLASSES
from tumorscope.pacs.spool import Spool

_LOG: Final = logging.getLogger(__name__)

_SUCCESS: Final = 0x0000
_OUT_OF_RESOURCES: Final = 0xA700
_DOES_NOT_MATCH: Final = 0xA900
_CANNOT_UNDERSTAND: Final = 0xC000

_PATIENCE: Final = 10.0
"""Seconds that open associations have to end when the listener is stopped."""

_NAMES: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")


class Listener:
    """A receiver of MR images: C-STORE and C-ECHO.

    Args:
        spool: Where objects are kept.
        title: The AE title that callers must call.
        allowed: The AE titles that may call; none means all.
    """

    def __init__(self, spool: Spool, *, title: str, allowed: list[str]) -> None:
        self._spool = spool
        self._sent: WeakKeyDictionary[Association, Counter[str]] = WeakKeyDictionary()
        self._entity = AE(ae_title=title)
        self._entity.require_called_aet = True
        self._entity.require_calling_aet = allowed
        self._entity.add_supported_context(Verification)
        for kind in MR_CLASSES:
            self._entity.add_supported_context(kind, [*DEFAULT_TRANSFER_SYNTAXES, *DECODERS])

    def start(self, host: str, port: int) -> int:
        """Listen in threads of its own.

        Args:
            host: The address to listen at.
            port: The port; 0 takes a free one.

        Returns:
            The port.

        Raises:
            OSError: The address cannot be used.
        """
        self._server = self._entity.start_server(
            (host, port),
            block=False,
            evt_handlers=[
                (evt.EVT_C_STORE, self._keep),
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
            header = dcmread(
                io.BytesIO(content), stop_before_pixels=True, specific_tags=list(_NAMES)
            )
            study, series, kind, instance = (str(header.get(name) or "") for name in _NAMES)
        except Exception as error:  # noqa: BLE001  (pydicom raises nearly anything on damage)
            _LOG.warning("an object that cannot be read (%s), refused", type(error).__name__)
            return _CANNOT_UNDERSTAND
        request = cast(C_STORE, event.request)
        promised = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        if (kind, instance) != promised or not study or not series:
            _LOG.warning("an object that is not what its sender says, refused")
            return _DOES_NOT_MATCH
        name = f"{study}|{series}"
        sent = self._sent.setdefault(event.assoc, Counter())
        sent[name] += 0  # (Its end counts even for a series of which nothing could be kept.)
        try:
            self._spool.keep(content, series=name, instance=instance, sender=id(event.assoc))
        except OSError as error:
            _LOG.warning("an object could not be kept (%s), refused", error.strerror)
            return _OUT_OF_RESOURCES
        sent[name] += 1
        return _SUCCESS

    def _note_end(self, event: Event) -> None:
        self._spool.end(id(event.assoc), list(self._sent.get(event.assoc, ())), well=True)

    def _say_received(self, event: Event) -> None:
        """Say what came over a connection that is closed, after its release or without one."""
        sent = self._sent.get(event.assoc, Counter())
        self._spool.end(id(event.assoc), list(sent), well=False)
        count = sent.total()
        if count:
            title = event.assoc.requestor.ae_title
            _LOG.info("kept %d object%s from %s", count, "" if count == 1 else "s", repr(title))


def _say_refused(event: Event) -> None:
    requestor = event.assoc.requestor
    _LOG.warning("refused an association of %r at %s", requestor.ae_title, requestor.address)
