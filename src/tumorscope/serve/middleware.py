"""Stands round the application: safe headers, foreign pages refused, requests counted and logged.

No line of the log holds a file's name, a query or an error's text, which may quote a patient's
data: only method, route, status and time, and for errors what kind and where in the code.
"""

import logging
import time
import traceback
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tumorscope.serve.line_response import WENT_WRONG
from tumorscope.serve.service_metrics import ServiceMetrics

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self' blob: data:; connect-src 'self' blob: data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_GONE: Final = 499
"""The status logged when the client left before its answer."""

_log = logging.getLogger("tumorscope.serve")


class RequestMiddleware:
    """Stands round the application.

    Args:
        app: The application.
        metrics: Told of each request.
        hosts: Names that the service goes by, so that a foreign page cannot reach it under a name
            of its own; None for any.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: ServiceMetrics, hosts: Collection[str] | None
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            refused = self._refusal(scope)
            await (refused or self._app)(scope, receive, send_guarded)
        except ClientDisconnect:
            status = _GONE
        except Exception as error:  # noqa: BLE001  (the last stop; the service lives on)
            _log.error("%s at %s", type(error).__name__, _where(error))
            if not status:
                await JSONResponse({"error": WENT_WRONG}, 500)(scope, receive, send_guarded)
        seconds = time.perf_counter() - start
        route = _route(scope)
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
        self._metrics.request(route=route, method=method, status=status, seconds=seconds)
        _log.info("%s %s %d %.0f ms", method, route, status, 1000 * seconds)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        """Return why a request is not let through, as an answer; None when it is."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _hostname(host) not in self._hosts:
            return JSONResponse({"error": "this service does not go by that name"}, 421)
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and _is_foreign(headers, host):
            words = "a page of another site asks: send the request from this service's own page"
            return JSONResponse({"error": words}, 403)
        return None


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_foreign(headers: Headers, host: str) -> bool:
    """Tell whether a browser sends a request for a page that is not this service's.

    Browsers say where a request comes from (Fetch Metadata and Origin); other clients say nothing.
    """
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc != host
    except ValueError:  # (No address.)
        return True


def _route(scope: Scope) -> str:
    """Return the route's pattern; what else is asked for is the page, or nothing that is here."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", "page"))


def _where(error: Exception) -> str:
    """Return the functions that led to an error, without any values."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " > ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
