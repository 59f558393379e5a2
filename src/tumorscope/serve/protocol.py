"""HTTP/1.1 on a socket, with a limit on how long a request's headers may take to arrive.

h11 limits how long headers may be; uvicorn, which reads with it, waits for them without an end.
"""

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LONGEST_HEADERS: Final = 64 * 1024
"""Bytes of a request's line and headers."""

HEADER_SECONDS: Final = 5.0
"""How long they may take to arrive, from the connection or their first byte on."""


class HeaderDeadlineProtocol(H11Protocol):
    """uvicorn's protocol, which closes connections whose headers do not come."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Read on; a request whose headers are whole has all the time that the service gives."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self._close)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        self._deadline = None
        # Between two requests uvicorn itself closes connections that stay silent.
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()
