"""Makes the TLS contexts of a listener and of a sender (DICOM PS3.15, B: BCP 195)."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from tumorscope.errors import DataError


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
        context = self._context(ssl.Purpose.CLIENT_AUTH)
        if self.authority:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def for_sending(self) -> ssl.SSLContext:
        """Return the context in which peers are called, who must be who they say they are.

        Raises:
            DataError: A file is missing, or they do not belong together.
        """
        return self._context(ssl.Purpose.SERVER_AUTH)

    def _context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(purpose, cafile=self.authority)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(
                str(path) for path in (self.certificate, self.key, self.authority) if path
            )
            reason = error.strerror or str(error)
            raise DataError(f"{files}: no certificate with its key ({reason})") from None
        return context
