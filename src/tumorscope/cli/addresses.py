"""What commands that listen on the network share: tokens in files, and who reaches an address."""

import ipaddress
from pathlib import Path

from tumorscope.errors import DataError


def read_token(file: Path) -> str:
    """Return the token in a file.

    Raises:
        DataError: The file is empty.
    """
    token = file.read_text(encoding="utf-8").strip()
    if not token:
        raise DataError(f"{file}: an empty token lets anyone in: write a long random one")
    return token


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
