"""Sends DICOM files to a peer on the network (C-STORE)."""

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from tumorscope.errors import DataError

_KINDS: Final = (ComprehensiveSRStorage, SegmentationStorage, SecondaryCaptureImageStorage)

_PATTERN: Final = re.compile(r"(?P<title>[^@]+)@(?P<host>[^@]+):(?P<port>\d{1,5})")

_TIMEOUT: Final = 30
"""Seconds to wait for a peer."""


class SendError(Exception):
    """A peer did not take an object; it may later."""


@dataclass(frozen=True)
class Peer:
    """A receiver of objects.

    Attributes:
        title: Its AE title.
        host: Its host.
        port: Its port.
    """

    title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Peer":
        """Read a peer as people write it: `TITLE@host:port`.

        Raises:
            DataError: The text says something else.
        """
        match = _PATTERN.fullmatch(text)
        if not match or not is_title(match["title"]) or not 0 < int(match["port"]) < 65536:
            raise DataError(
                f"'{text}' is no receiver: write TITLE@host:port, as in PACS@10.0.0.5:104"
            )
        return cls(match["title"], match["host"].strip("[]"), int(match["port"]))

    def __str__(self) -> str:
        return f"{self.title}@{self.host}:{self.port}"


def is_title(text: str) -> bool:
    """Tell whether a text can be an AE title (DICOM PS3.8, 9.3.2)."""
    return bool(re.fullmatch(r"[ -\[\]-~]{1,16}", text)) and bool(text.strip())


def send(
    paths: Sequence[Path], peer: Peer, *, title: str, tls: ssl.SSLContext | None = None
) -> None:
    """Send files; when this returns the peer has acknowledged every one.

    Args:
        paths: Structured Reports, segmentations and Secondary Captures.
        peer: Who is to have them.
        title: The AE title of the sender.
        tls: The TLS context; None for plain TCP.

    Raises:
        SendError: The peer cannot be reached, or refuses one.
    """
    sender = AE(ae_title=title)
    sender.acse_timeout = sender.dimse_timeout = sender.network_timeout = _TIMEOUT
    sender.connection_timeout = _TIMEOUT
    for kind in _KINDS:
        sender.add_requested_context(kind)
    association = sender.associate(
        peer.host,
        peer.port,
        ae_title=peer.title,
        tls_args=(tls, peer.host) if tls else None,
    )
    if not association.is_established:
        raise SendError("it cannot be reached or refuses the association")
    try:
        for path in paths:
            try:
                status = association.send_c_store(dcmread(path))
            except (ValueError, RuntimeError):
                raise SendError("it does not take objects of this kind") from None
            code = status.Status if "Status" in status else None
            if code is None:
                raise SendError("the connection broke")
            if code != 0 and code >> 12 != 0xB:  # (A warning means that it was stored.)
                raise SendError(f"it refuses an object (status {code:04X})")
    finally:
        association.release()
