"""Limits of a service, and admission control that turns away what is beyond them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MEGABYTE = 1_000_000

_FULL = "the queue is full: try again soon"


class RefusedRequestError(Exception):
    """A request that is not answered.

    Args:
        status: The HTTP status.
        reason: What is wrong and what to do about it, in one line.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a service takes on; pixels are limited where files are read.

    Attributes:
        body: Bytes of one request.
        held: Bytes of all requests that are being worked on.
        files: Files of one request.
        queue: Requests that are being worked on or wait for it.
        uploads: Requests that are still arriving; those hold no place in the queue.
        seconds: How long a request may take to arrive, and how long its answer may take.
        stall: How long an upload may pause.
    """

    body: int = 256 * MEGABYTE
    held: int = 1024 * MEGABYTE
    files: int = 2000
    queue: int = 64
    uploads: int = 256
    seconds: float = 60.0
    stall: float = 10.0


class Admission:
    """A request that was let in.

    Args:
        admission_control: Where it came in.
    """

    def __init__(self, admission_control: "AdmissionControl") -> None:
        self._control = admission_control
        self.bytes = 0

    def take(self, count: int) -> None:
        """Count bytes that arrived.

        Raises:
            RefusedRequestError: They are too many for one request, or for all together.
        """
        limits = self._control.limits
        self.bytes += count
        self._control.held += count
        if self.bytes > limits.body:
            raise RefusedRequestError(413, too_large(limits))
        if self._control.held > limits.held:
            raise RefusedRequestError(429, "other uploads fill the memory: try again soon")


class AdmissionControl:
    """Counts the requests that arrive and those that are at work.

    A request that does not arrive whole costs nothing but memory, so it takes no place from others.

    Args:
        limits: How many may be.

    Attributes:
        arriving: Requests whose body is being read.
        inside: Requests that are being worked on or wait for it.
        held: Bytes of both.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.arriving = 0
        self.inside = 0
        self.held = 0

    @property
    def open(self) -> bool:
        """Whether another request is let in."""
        return (
            self.inside < self.limits.queue
            and self.arriving < self.limits.uploads
            and self.held < self.limits.held
        )

    @contextmanager
    def enter(self) -> Iterator[Admission]:
        """Let a request in and, at the end, out.

        Raises:
            RefusedRequestError: The queue is full.
        """
        if not self.open:
            raise RefusedRequestError(429, _FULL)
        admission = Admission(self)
        try:
            yield admission
        finally:
            self.held -= admission.bytes

    @contextmanager
    def arrive(self) -> Iterator[None]:
        """Count a request while its body arrives."""
        self.arriving += 1
        try:
            yield
        finally:
            self.arriving -= 1

    @contextmanager
    def work(self) -> Iterator[None]:
        """Give a request that has arrived a place in the queue.

        Raises:
            RefusedRequestError: The queue is full.
        """
        if self.inside >= self.limits.queue:
            raise RefusedRequestError(429, _FULL)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


def too_large(limits: Limits) -> str:
    """Return the words for a request that is too large."""
    return f"more than {limits.body / MEGABYTE:g} MB in one request: send fewer files at a time"


def too_slow(limits: Limits) -> str:
    """Return the words for an answer that takes too long."""
    return f"the answer took more than {limits.seconds:g} s: send fewer slices at a time"
