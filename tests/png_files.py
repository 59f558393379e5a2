"""PNG files that Pillow does not write: of 16 bits and several channels, and damaged ones."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A piece of a PNG file with its check sum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def deep_png(channels: NDArray[np.uint16]) -> bytes:
    """A PNG file of 16 bits and 1 to 4 channels, each row filtered in another way."""
    height, width, count = channels.shape
    rows = channels.astype(">u2").view(np.uint8).reshape(height, -1).astype(int)
    before = np.zeros_like(rows[0])
    lines = []
    for number, row in enumerate(rows):
        left = np.concatenate([np.zeros(2 * count, int), row[: -2 * count]])
        filtered = (row, row - left, row - before)[number % 3] % 256
        lines.append(bytes([number % 3]) + filtered.astype(np.uint8).tobytes())
        before = row
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
        + png_chunk(b"IDAT", zlib.compress(b"".join(lines)))
        + png_chunk(b"IEND", b"")
    )
