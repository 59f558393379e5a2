"""Makes the TLS contexts of a listener and of a sender (DICOM PS3.15, B: BCP 195)."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tumorscope.errors import DataError

_SILENCE: Final = 10.0
"""Seconds that a peer may be silent within a message."""


class _PatientContext(ssl.SSLContext):
    """Leaves the handshake to who reads first: a silent caller must not keep others waiting."""

    def wrap_socket(self, sock: socket.socket, *words: Any, **how: Any) -> ssl.SSLSocket:
        """Wrap a socket of a caller, or one that listens."""
        sock.settimeout(_SILENCE)
        return super().wrap_socket(sock, *words, **{**how, "do_handshake_on_connect": False})


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """The files that TLS needs, in PEM.

    Attributes:
        certificate: The own certificate.
        key: Its key.
        authority: Certificates of those who vouch for peers; None for the system's, and then
            anybody may call.
    """

    certificate: Path
    key: Path
    authority: Path | None

    def for_listening(self) -> ssl.SSLContext:
        """Return the context in which callers are answered; with an authority they must be known.

        Raises:
            DataError: A file is missing, or they do not belong together.
        """
        context = _PatientContext(ssl.PROTOCOL_TLS_SERVER)
        if self.authority:
            context.verify_mode = ssl.CERT_REQUIRED
        return self._filled(context)

    def for_sending(self) -> ssl.SSLContext:
        """Return the context in which peers are called, who must be who they say they are.

        Raises:
            DataError: A file is missing, or they do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if not self.authority:
            context.load_default_certs()
        return self._filled(context)

    def _filled(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if self.authority:
                context.load_verify_locations(self.authority)
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(
                str(path) for path in (self.certificate, self.key, self.authority) if path
            )
            reason = error.strerror or str(error)
            raise DataError(f"{files}: no certificate with its key ({reason})") from None
        return context
