"""How long work tells how far it is, without knowing who shows it."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Wraps a sequence so that somebody sees how far the loop over it is."""

    def __call__(self, items: Iterable[T], *, total: int, label: str) -> Iterable[T]:
        """Return the items, one by one, showing `label` and the share of `total` that is done."""


def silent(items: Iterable[T], *, total: int, label: str) -> Iterable[T]:  # noqa: ARG001
    """Return the items and show nothing: the default."""
    return items
