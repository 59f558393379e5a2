"""Answers HTTP requests to a listener: STOW-RS (DICOM PS3.18, 10.5), its metrics and its health."""

import hmac
import json
import logging
import re
import ssl
import threading
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final

from tumorscope.pacs.intake import CANNOT_UNDERSTAND, SUCCESS, Intake, Taken

_LOG: Final = logging.getLogger(__name__)

_TIMEOUT: Final = 30
"""Seconds that a client may pause."""

_LARGEST: Final = 512_000_000
"""Bytes of one request."""

_LONGEST_LINE: Final = 1024
"""Bytes of a line between chunks."""

_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,16}")
"""The size of a chunk."""

_TOO_LARGE: Final = f"more than {_LARGEST // 1_000_000} MB in one request"

_DAMAGED: Final = "the chunks of the body are damaged"

_BODIES: Final = threading.BoundedSemaphore(4)
"""No more requests are in memory at a time; others wait."""

_STORE: Final = re.compile(r"/studies(?:/[0-9.]{1,64})?/?")

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class _RefusedError(Exception):
    """A body is not taken.

    Args:
        status: The HTTP status.
        reason: Why.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class WebServer:
    """An HTTP server in threads of its own.

    Args:
        address: Host and port; 0 takes a free one.
        tls: The TLS context; None for plain HTTP.

    Raises:
        OSError: The address cannot be used.
    """

    def __init__(self, address: tuple[str, int], *, tls: ssl.SSLContext | None = None) -> None:
        self._server = _Server(address, _Handler)
        if tls:
            # (The handshake is made by the thread that answers, so none keeps the others waiting.)
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])

    def offer_metrics(self, metrics: Callable[[], bytes], problem: Callable[[], str]) -> None:
        """Answer `GET /metrics` and `GET /healthz`.

        Args:
            metrics: Returns the counters.
            problem: Returns what is wrong; empty when all is well.
        """
        self._server.metrics, self._server.problem = metrics, problem

    def offer_storage(self, intake: Intake, token: str | None) -> None:
        """Answer `POST /studies`.

        Args:
            intake: Where objects are kept.
            token: What requests must bear; None for nothing.
        """
        self._server.intake, self._server.token = intake, token

    def start(self) -> None:
        """Answer requests until `stop`."""
        threading.Thread(target=self._server.serve_forever, daemon=True, name="web").start()

    def stop(self) -> None:
        """Take no more requests."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """The server, and what its requests are answered from."""

    daemon_threads = True
    metrics: Callable[[], bytes] | None = None
    problem: Callable[[], str] | None = None
    intake: Intake | None = None
    token: str | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that leave, and no more than its kind of any other error."""


class _Handler(BaseHTTPRequestHandler):
    """Answers a request; the log holds nothing of it."""

    server: _Server
    server_version = "tumorscope"
    sys_version = ""
    timeout: ClassVar[int] = _TIMEOUT

    def do_GET(self) -> None:
        """Answer with the metrics or the health."""
        server = self.server
        if self.path == "/metrics" and server.metrics:
            self._answer(200, server.metrics(), _TEXT)
        elif self.path == "/healthz" and server.problem:
            problem = server.problem()
            self._answer(503 if problem else 200, (problem or "ok").encode(), _TEXT)
        else:
            self._answer(404, b"", _TEXT)

    def do_POST(self) -> None:
        """Keep the objects of a STOW-RS request."""
        server = self.server
        length = self.headers.get("Content-Length", "")
        in_chunks = self.headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
        boundary = _boundary(self.headers.get("Content-Type", ""))
        if not server.intake or not _STORE.fullmatch(self.path):
            self._refuse(404, "nothing is stored here: POST to /studies")
        elif server.token and not self._bears(server.token):
            self._refuse(401, "this service wants a bearer token")
        elif not boundary:
            self._refuse(415, 'send multipart/related; type="application/dicom"')
        elif not (in_chunks or length.isdecimal()):
            self._refuse(411, "say how long the request is (Content-Length), or send it in chunks")
        elif not in_chunks and int(length) > _LARGEST:
            self._refuse(413, _TOO_LARGE)
        else:
            with _BODIES:
                self._store(server.intake, boundary, None if in_chunks else int(length))

    def do_HEAD(self) -> None:
        """Answer as GET does, without the body."""
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: requests name studies."""

    def _bears(self, token: str) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())

    def _store(self, intake: Intake, boundary: str, length: int | None) -> None:
        """Keep the objects of a body of this length; None where it comes in chunks."""
        try:
            body = self._chunks() if length is None else self._read(length)
        except EOFError:  # (The client has left.)
            return
        except _RefusedError as error:
            self._refuse(error.status, str(error))
            return
        parts = _parts(body, boundary.encode())
        if parts is None:
            self._refuse(400, "the multipart body has no end: part of it is missing")
        else:
            self._keep(intake, parts)

    def _read(self, length: int) -> bytes:
        """Read so many bytes of the body.

        Raises:
            EOFError: It ends before.
        """
        content = self.rfile.read(length)
        if len(content) < length:
            raise EOFError
        return content

    def _chunks(self) -> bytes:
        """Read a body in chunks (RFC 9112, 7.1).

        Raises:
            EOFError: It has no end.
            _RefusedError: It is damaged, or too large.
        """
        chunks: list[bytes] = []
        left = _LARGEST
        while size := self._size():
            left -= size
            if left < 0:
                raise _RefusedError(413, _TOO_LARGE)
            chunks.append(self._read(size))
            if self._line():
                raise _RefusedError(400, _DAMAGED)
        while self._line():  # (Trailers)
            pass
        return b"".join(chunks)

    def _size(self) -> int:
        text = self._line().partition(b";")[0].strip()
        if not _SIZE.fullmatch(text):
            raise _RefusedError(400, _DAMAGED)
        return int(text, 16)

    def _line(self) -> bytes:
        line = self.rfile.readline(_LONGEST_LINE)
        if not line:
            raise EOFError
        return line.strip()

    def _keep(self, intake: Intake, parts: list[bytes]) -> None:
        sender = id(self)
        taken = [intake.take(part, way="stow", sender=sender) for part in parts]
        intake.end(sender, list({item.series for item in taken if item.series}), well=True)
        kept = [item for item in taken if item.status == SUCCESS]
        if kept:
            _LOG.info("kept %d object%s by STOW-RS", len(kept), "" if len(kept) == 1 else "s")
        status = 200 if parts and len(kept) == len(parts) else 202 if kept else 409
        answer = json.dumps(_response(taken)).encode()
        self._answer(status, answer, "application/dicom+json")

    def _refuse(self, status: int, reason: str) -> None:
        self.close_connection = True  # (Its body is not read.)
        self._answer(status, json.dumps({"error": reason}).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _boundary(content_type: str) -> str:
    """Return what parts the objects of a request; empty when it is not of DICOM objects."""
    header = Message()
    header["Content-Type"] = content_type
    kind = str(header.get_param("type", "")).lower()
    is_dicom = (header.get_content_type(), kind) == ("multipart/related", "application/dicom")
    return (header.get_boundary() or "") if is_dicom else ""


def _parts(body: bytes, boundary: bytes) -> list[bytes] | None:
    """Return the contents of a multipart body; None when its end is missing."""
    *pieces, end = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if not end.startswith(b"--"):
        return None
    return [piece.partition(b"\r\n\r\n")[2] for piece in pieces[1:]]


def _response(taken: list[Taken]) -> dict[str, Any]:
    """Return which objects were kept and which were not (PS3.18, table I.2-1)."""
    items: dict[str, list[dict[str, Any]]] = {"00081199": [], "00081198": []}
    for item in taken:
        names: dict[str, Any] = {
            tag: {"vr": "UI", "Value": [uid]}
            for tag, uid in (("00081150", item.kind), ("00081155", item.instance))
            if uid
        }
        if item.status == SUCCESS:
            items["00081199"].append(names)
        else:
            # (0110: processing failure. The web service has no C000 of its own.)
            reason = 0x0110 if item.status == CANNOT_UNDERSTAND else item.status
            items["00081198"].append({**names, "00081197": {"vr": "US", "Value": [reason]}})
    return {tag: {"vr": "SQ", "Value": found} for tag, found in items.items() if found}
