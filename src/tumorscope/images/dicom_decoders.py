"""Chooses the decoder of each DICOM compression, and adds ours to pydicom's as plug-ins."""

from typing import Final

import jpeg_ls
import numpy as np
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tumorscope.images.lossless_jpeg import decode_lossless_jpeg

_PLUGIN: Final = "tumorscope"

DECODER_DEPENDENCIES: Final = {
    JPEGLossless: ("numpy",),
    JPEGLosslessSV1: ("numpy",),
    JPEGLSLossless: ("pyjpegls",),
    JPEGLSNearLossless: ("pyjpegls",),
}
"""What pydicom says is missing; the plain install has it all."""

DECODERS: Final = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEGLossless: _PLUGIN,
    JPEGLosslessSV1: _PLUGIN,
    JPEGLSLossless: _PLUGIN,
    JPEGLSNearLossless: _PLUGIN,
    JPEG2000Lossless: "pillow",
    JPEG2000: "pillow",
    RLELossless: "pydicom",
}
"""Which plug-in reads a transfer syntax: those that survive damaged files."""

_MOST_PADDING: Final = 16
"""Zeros before an end marker that are taken out, at the most."""

_FRAME_HEADER: Final = b"\xff\xf7"

_END: Final = b"\xff\xd9"


def is_available(uid: str) -> bool:
    """Tell pydicom whether the plug-in reads a transfer syntax."""
    return uid in DECODER_DEPENDENCIES


def decode_lossless(code: bytes, runner: DecodeRunner) -> bytes:
    """Decode a frame of lossless JPEG for pydicom."""
    pixels = decode_lossless_jpeg(code, (runner.rows, runner.columns))
    return pixels.astype(np.uint8 if runner.bits_allocated == 8 else np.dtype("<u2")).tobytes()


def decode_jpeg_ls(code: bytes, runner: DecodeRunner) -> bytes:
    """Decode a frame of JPEG-LS for pydicom, with padding before its end marker or without one.

    Archives make the length even; some do so before the end marker instead of behind it, which
    the standard (ITU-T T.87) does not allow, and the decoder refuses. A stream without an end
    marker gets one: CharLS 2.4 may count zeros behind its end up to 2**31, for seconds.
    """
    frame = code[code.find(_FRAME_HEADER) :][5:9]
    if frame != runner.rows.to_bytes(2) + runner.columns.to_bytes(2):
        raise ValueError("a JPEG-LS stream of another size")  # (It may ask for a thousand times.)
    try:
        pixels, found = jpeg_ls.decode_pixel_data(code + _END)
    except RuntimeError:
        pixels, found = _decode_padded(code)
    if found["components"] > 1:
        runner.set_option("planar_configuration", int(found["interleave_mode"] == 0))
    runner.set_option("bits_allocated", 8 if found["bits_per_sample"] <= 8 else 16)
    return bytes(pixels)


def can_decode(syntax: UID, *, bits: int, samples: int) -> bool:
    """Tell whether a compression is read.

    Args:
        syntax: The transfer syntax.
        bits: Bits stored of a pixel's value.
        samples: Values of a pixel.
    """
    if syntax == JPEGExtended12Bit and bits != 8:  # (Pillow reads 8 bits only.)
        return False
    if syntax in (JPEGLossless, JPEGLosslessSV1) and samples != 1:
        return False
    return syntax in DECODERS and DECODERS[syntax] in get_decoder(syntax).available_plugins


def _decode_padded(code: bytes) -> tuple[bytearray, dict[str, int]]:
    """Decode JPEG-LS with the fewest zeros before its end marker taken out that make it whole."""
    body = code.rstrip(b"\0")
    body = body.removesuffix(_END) if body.endswith(_END) else code
    zeros = len(body) - len(body.rstrip(b"\0"))
    for count in range(1, min(zeros, _MOST_PADDING) + 1):
        try:
            found: tuple[bytearray, dict[str, int]] = jpeg_ls.decode_pixel_data(
                body[:-count] + _END
            )
        except RuntimeError:
            continue
        return found
    raise RuntimeError("a damaged JPEG-LS stream")


for _syntax in DECODER_DEPENDENCIES:
    _name = "decode_lossless" if _syntax in (JPEGLossless, JPEGLosslessSV1) else "decode_jpeg_ls"
    get_decoder(_syntax).add_plugin(_PLUGIN, (__name__, _name))
