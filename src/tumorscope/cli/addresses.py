"""What commands that listen on the network share: tokens, ports, and who reaches an address."""

import contextlib
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

from tumorscope.errors import DataError


def read_token(file: Path) -> str:
    """Return the token in a file.

    Raises:
        DataError: There is none.
    """
    return checked_token(file.read_text(encoding="utf-8-sig", errors="replace"), str(file))


def checked_token(text: str, where: str) -> str:
    """Return a token without the spaces round it.

    Args:
        text: Holds the token.
        where: Where it stands.

    Raises:
        DataError: There is none, or one that no header of a request can bear.
    """
    token = text.strip()
    if not token:
        raise DataError(f"{where}: an empty token lets anyone in: write a long random one")
    if not re.fullmatch(r"[ -~]+", token):
        raise DataError(
            f"{where}: a token is of ASCII letters, digits and signs: write a long random one"
        )
    return token


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def opening(host: str, port: int, option: str = "--port") -> Iterator[None]:
    """Say of a port that cannot be opened which one it is, and which option chooses another.

    Raises:
        DataError: The address is not this machine's, or the port is taken.
    """
    try:
        yield
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"cannot listen at {host}, port {port} ({reason}): choose another {option} or --host"
        ) from None
