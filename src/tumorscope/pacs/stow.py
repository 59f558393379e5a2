"""Sends DICOM files to a DICOMweb server (STOW-RS)."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread

from tumorscope.errors import DataError
from tumorscope.pacs.sending import SendError

_TIMEOUT: Final = 30
"""Seconds to wait for the server."""

_KINDS: Final = (
    "application/dicom+json",
    "application/json",
    "application/dicom+xml",
    "application/xml",
)
"""Kinds of answers that say what became of the objects."""


@dataclass(frozen=True, kw_only=True)
class DicomWebServer:
    """A receiver of objects.

    Attributes:
        url: Where its service is; `/studies` below it takes objects.
        token: What requests bear; None for nothing.
        authority: Certificates of those who vouch for it; None for the usual ones.
    """

    url: str
    token: str | None = None
    authority: Path | None = None

    def check(self) -> "DicomWebServer":
        """Return the server.

        Raises:
            DataError: The address is none, or there are no certificates.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(
                f"'{self.url}' is no DICOMweb server: write its address, as in "
                "https://pacs.example/dicom-web"
            )
        if self.authority:
            try:
                ssl.create_default_context(cafile=self.authority)
            except (OSError, ssl.SSLError) as error:
                reason = error.strerror or error
                raise DataError(f"{self.authority}: no certificates ({reason})") from None
        return self


def store(paths: Sequence[Path], server: DicomWebServer) -> None:
    """Send files; when this returns the server has taken every one.

    Args:
        paths: DICOM files.
        server: Who is to have them.

    Raises:
        SendError: The server cannot be reached, or refuses one.
    """
    datasets = [dcmread(path) for path in paths]
    with requests.Session() as session:
        session.verify = str(server.authority) if server.authority else True
        session.hooks["response"].append(_check_kind)
        headers = {"Authorization": f"Bearer {server.token}"} if server.token else None
        client = DICOMwebClient(url=server.url, session=session, headers=headers, timeout=_TIMEOUT)
        client.set_http_retry_params(retry=False)  # (The spool tries again, ever less often.)
        try:
            result = client.store_instances(datasets=datasets)
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else "no status"
            raise SendError(f"the DICOMweb server refuses the objects (HTTP {status})") from None
        except requests.RequestException as error:
            kind = type(error).__name__
            raise SendError(f"the DICOMweb server cannot be reached ({kind})") from None
        except SendError:
            raise
        except Exception:  # noqa: BLE001  (dicomweb-client raises nearly anything on odd answers)
            raise SendError("the answer of the DICOMweb server cannot be read") from None
    if failed := result.get("FailedSOPSequence"):
        reason = int(failed[0].get("FailureReason") or 0)
        raise SendError(f"the DICOMweb server refuses an object (reason {reason:04X})")


def _check_kind(response: requests.Response, **_: Any) -> None:
    """Let dicomweb-client know the kind of an answer: of others it would take nothing for good.

    Raises:
        SendError: It is none that says what became of the objects, as a page to log in at.
    """
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    response.headers["Content-Type"] = kind
    if response.ok and response.content and kind not in _KINDS:
        raise SendError(f"what answers is no DICOMweb server: it sends {kind or 'no known kind'}")
