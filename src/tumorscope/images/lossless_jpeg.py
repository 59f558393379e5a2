"""Decodes lossless JPEG code streams.

Archives of hospitals compress like this more often than in any other way, and no small library
under a permissive licence decodes it: GDCM, dicomsdl and liblj92 end the whole process on some
damaged files, pydicom-jpeg-decoder reads restarts wrongly and says nothing. (Imagecodecs' copy of
libjpeg-turbo does neither, but is a third of what the whole plain install weighs.) The method is
that of ITU-T T.81, process 14, with the first predictor and one component of 2 to 16 bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_START_OF_FRAME: Final = 0xC3
_HUFFMAN_TABLES: Final = 0xC4
_START_OF_SCAN: Final = 0xDA
_RESTART_INTERVAL: Final = 0xDD
_SCAN_OF_ONE: Final = b"\xff\xda\x00\x08\x01"
"""How the header of a scan of one component begins; two bytes before the predictor follow."""


class LosslessJpegError(ValueError):
    """The code stream is damaged, or not of the kind that is decoded here."""


@dataclass(frozen=True, eq=False)
class _Table:
    """A Huffman table, looked up by the next 16 bits.

    Attributes:
        length: Bits of the code, `[65536]`; 0 where no code begins like this.
        category: Bits of the difference behind the code, `[65536]`.
    """

    length: NDArray[np.int64]
    category: NDArray[np.int64]


def decode_lossless_jpeg(code: bytes, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Decode a frame.

    Args:
        code: The code stream, from its start-of-image marker on.
        shape: Height and width that the frame must have: a damaged header cannot ask for more.

    Returns:
        The pixels, uint16, `[height, width]`.

    Raises:
        LosslessJpegError: The stream is damaged, or of another kind or shape.
    """
    tables: dict[int, _Table] = {}
    precision, rows = 0, shape[0]
    for marker, begin, end in _segments(code):
        body = code[begin:end]
        if marker == _HUFFMAN_TABLES:
            tables.update(_read_tables(body))
        elif marker == _START_OF_FRAME:
            precision = _read_frame(body, shape)
        elif marker == _RESTART_INTERVAL:
            rows = _read_restart_interval(body, shape)
        elif marker == _START_OF_SCAN:
            table, shift = _read_scan(body, tables, precision)
            pixels = _decode_scan(code[end:], table, shape, rows, 1 << (precision - shift - 1))
            return pixels << np.uint16(shift)
    raise LosslessJpegError("no pixels in it")


def has_known_predictor(content: bytes) -> bool:
    """Tell by its first scan header whether an object holds lossless JPEG that is decoded here."""
    scan = content.find(_SCAN_OF_ONE)
    return scan < 0 or content[scan + len(_SCAN_OF_ONE) + 2 :][:1] in (b"\x01", b"")


def _segments(code: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each marker with where what belongs to it begins and ends."""
    position = 2
    while position + 4 <= len(code):
        if code[position] != 0xFF:
            raise LosslessJpegError("a marker is missing")
        if code[position + 1] == 0xFF:  # Filling.
            position += 1
            continue
        end = position + 2 + int.from_bytes(code[position + 2 : position + 4])
        yield code[position + 1], position + 4, end
        position = end


def _read_frame(body: bytes, shape: tuple[int, int]) -> int:
    """Return the bits of a pixel."""
    if len(body) < 6:
        raise LosslessJpegError("a short frame header")
    precision, components = body[0], body[5]
    height, width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
    if (height, width) != shape or components != 1:
        raise LosslessJpegError(
            f"{width}x{height} pixels of {components} components, "
            f"expected {shape[1]}x{shape[0]} of one"
        )
    return precision


def _read_restart_interval(body: bytes, shape: tuple[int, int]) -> int:
    """Return the rows between restarts; all rows when there is no restart."""
    rows, rest = divmod(int.from_bytes(body[:2]), shape[1])
    if rest:
        raise LosslessJpegError("a restart within a row")
    return rows or shape[0]


def _read_tables(body: bytes) -> Iterator[tuple[int, _Table]]:
    """Yield the number and the content of each Huffman table."""
    while body:
        number, counts = body[0] & 15, body[1:17]
        symbols = body[17 : 17 + sum(counts)]
        length = np.zeros(1 << 16, dtype=np.int64)
        category = np.zeros(1 << 16, dtype=np.int64)
        begin = taken = 0
        for bits, count in enumerate(counts, start=1):
            for symbol in symbols[taken : taken + count]:
                end = begin + (1 << (16 - bits))
                if symbol > 16 or end > 1 << 16:
                    raise LosslessJpegError("a damaged Huffman table")
                length[begin:end], category[begin:end] = bits, symbol
                begin = end
            taken += count
        yield number, _Table(length, category)
        body = body[17 + taken :]


def _read_scan(body: bytes, tables: dict[int, _Table], precision: int) -> tuple[_Table, int]:
    """Return the scan's Huffman table and by how many bits its pixels were shifted."""
    if len(body) < 6 or body[0] != 1:
        raise LosslessJpegError("a damaged scan header")
    table, predictor, shift = tables.get(body[2] >> 4), body[3], body[5] & 15
    if predictor != 1:
        raise LosslessJpegError(f"predictor {predictor}, only the first is known")
    if table is None or not 2 <= precision <= 16 or shift >= precision:
        raise LosslessJpegError("a damaged scan header")
    return table, shift


def _decode_scan(
    data: bytes, table: _Table, shape: tuple[int, int], rows: int, first: int
) -> NDArray[np.uint16]:
    """Decode the pixels, from restart to restart."""
    parts = []
    begin = 0
    for top in range(0, shape[0], rows):
        end = _end_of_part(data, begin)
        part = (min(rows, shape[0] - top), shape[1])
        differences = _decode_differences(
            data[begin:end].replace(b"\xff\x00", b"\xff"), table, part[0] * part[1]
        ).reshape(part)
        # The first pixel is predicted by the middle of the range, the first of each row by the
        # one above it, all others by the one before: so sums undo the prediction.
        differences[0, 0] += first
        differences[:, 0] = np.cumsum(differences[:, 0])
        parts.append(np.cumsum(differences, axis=1).astype(np.uint16))
        begin = end + 2
    return np.concatenate(parts)


def _end_of_part(data: bytes, begin: int) -> int:
    """Return where the next marker stands that ends a part of the scan."""
    end = data.find(b"\xff", begin)
    while 0 <= end < len(data) - 1 and data[end + 1] == 0:
        end = data.find(b"\xff", end + 2)
    return end if end >= 0 else len(data)


def _decode_differences(data: bytes, table: _Table, count: int) -> NDArray[np.int64]:
    """Decode the differences of so many pixels from their bits."""
    padded = data + bytes(6)
    advance = np.where(table.length > 0, table.length + table.category % 16, 0).tolist()
    starts = []
    position, end = 0, 8 * len(data)
    for _ in range(count):
        byte = position >> 3
        if byte >= len(data):
            raise LosslessJpegError("it ends too early")
        window = padded[byte] << 16 | padded[byte + 1] << 8 | padded[byte + 2]
        bits = advance[window >> (8 - (position & 7)) & 0xFFFF]
        if not bits:
            raise LosslessJpegError("an unknown code")
        starts.append(position)
        position += bits
    if position > end:
        raise LosslessJpegError("it ends too early")
    buffer = np.frombuffer(padded, dtype=np.uint8).astype(np.int64)
    at = np.array(starts)
    codes = _bits(buffer, at, np.full(count, 16))
    category = table.category[codes]
    extra = _bits(buffer, at + table.length[codes], category % 16)
    half = np.int64(1) << np.maximum(category - 1, 0)
    negative = (category > 0) & (extra < half)
    differences = extra + np.where(negative, 1 - 2 * half, 0)
    differences[category == 0] = 0
    differences[category == 16] = 32768
    return differences


def _bits(
    buffer: NDArray[np.int64], positions: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the numbers that stand in so many bits (at most 16) at these positions."""
    byte = positions >> 3
    window = buffer[byte] << 16 | buffer[byte + 1] << 8 | buffer[byte + 2]
    result: NDArray[np.int64] = window >> (24 - (positions & 7) - counts)
    return result & ((np.int64(1) << counts) - 1)
