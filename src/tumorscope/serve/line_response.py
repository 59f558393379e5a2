"""Sends answers as lines of JSON (NDJSON), each once it is there."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AbstractContextManager, aclosing
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tumorscope.serve.limits import Limits, too_slow
from tumorscope.serve.schema import LINES, Answer, Problem

R = TypeVar("R")

WENT_WRONG: Final = "something went wrong here; the log says where"


class LineResponse(Response):
    """A response whose status is sent at once and each answer as a line of its own.

    What goes wrong later is told in a last line, which holds nothing but `error`. When the client
    leaves, or takes nothing for a while, the work is given up.

    Args:
        answers: The answers.
        limits: How long a line may take to come, and to be taken.
        held: Left when all is sent: the request's place in the queue.
    """

    media_type = LINES

    def __init__(
        self,
        answers: AsyncGenerator[Answer],
        *,
        limits: Limits,
        held: AbstractContextManager[object],
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._answers = answers
        self._limits = limits
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send all lines.

        Raises:
            ClientDisconnect: The client left.
        """
        with self._held:
            await unless_gone(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        try:
            async with aclosing(self._answers) as answers:
                while (answer := await self._next(answers)) is not None:
                    await self._send_body(send, answer.json_line() + b"\n")
                    if isinstance(answer, Problem):
                        break
        except ClientDisconnect:
            raise
        except Exception:
            await self._send_body(send, Problem(error=WENT_WRONG).json_line() + b"\n")
            await self._send_body(send, b"", last=True)
            raise
        await self._send_body(send, b"", last=True)

    async def _next(self, answers: AsyncGenerator[Answer]) -> Answer | None:
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await anext(answers, None)
        except TimeoutError:
            return Problem(error=too_slow(self._limits))

    async def _send_body(self, send: Send, body: bytes, *, last: bool = False) -> None:
        try:
            async with asyncio.timeout(self._limits.stall):
                await send({"type": "http.response.body", "body": body, "more_body": not last})
        except TimeoutError:
            raise ClientDisconnect from None


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, R]) -> R:
    """Await work for a client that waits; give it up when the client leaves.

    Raises:
        ClientDisconnect: It left.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_leave(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
