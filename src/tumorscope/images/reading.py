"""A JPEG or PNG file comes in, one grey slice (uint8, height by width) goes out.

Every deployment bundle carries this file, so it keeps to Python 3.6, NumPy and Pillow 5.1 (which
JetPack 4.6 for the Jetson Nano has).
"""

import io
import os
from typing import TYPE_CHECKING, NamedTuple, Union

import numpy as np
import PIL
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from numpy.typing import NDArray

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
"""Endings of the files that `read_slice` reads."""

MAXIMUM_PIXELS = 50_000_000
"""Pictures with more pixels are refused before a pixel is decoded."""

MINIMUM_SIDE = 32
"""Pictures with a shorter side hold too little to judge."""


_PILLOW = int(PIL.__version__.split(".")[0])

_ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is turned."""

# (Their other names, Image.Transpose.ROTATE_180 and so on, are missing from old Pillow.)
_TURNS = {
    2: Image.FLIP_LEFT_RIGHT,  # type: ignore[attr-defined]
    3: Image.ROTATE_180,  # type: ignore[attr-defined]
    4: Image.FLIP_TOP_BOTTOM,  # type: ignore[attr-defined]
    5: Image.TRANSPOSE,  # type: ignore[attr-defined]
    6: Image.ROTATE_270,  # type: ignore[attr-defined]
    7: Image.TRANSVERSE,  # type: ignore[attr-defined]
    8: Image.ROTATE_90,  # type: ignore[attr-defined]
}
"""What puts a picture upright, by its orientation; Pillow before 6 knows it only for JPEG."""


class UnreadableImageError(ValueError):
    """A file is no picture that can be judged; the message names the file and the reason."""


class FileInMemory(NamedTuple):
    """A file that stands on no disk: an upload.

    Attributes:
        name: What it is called in messages; never opened.
        content: All its bytes.
    """

    name: str
    content: bytes


def name_of(file: "Union[str, os.PathLike[str], FileInMemory]") -> str:
    """Return what a file is called in messages and answers."""
    return file.name if isinstance(file, FileInMemory) else os.fspath(file)


def openable(file: "Union[str, os.PathLike[str], FileInMemory]") -> "Union[str, io.BytesIO]":
    """Return what libraries open: a path, or the content of a file in memory."""
    return io.BytesIO(file.content) if isinstance(file, FileInMemory) else os.fspath(file)


def read_slice(path: "Union[str, os.PathLike[str], FileInMemory]") -> "NDArray[np.uint8]":
    """Read a JPEG or PNG file as one grey slice.

    Colour becomes luminance (ITU-R 601-2), transparent pixels become black, an EXIF rotation is
    applied, and a 16-bit picture is scaled by its own range, because scanners store 12 bits in 16.

    Args:
        path: The file, on a disk or in memory.

    Returns:
        Grey values 0 to 255, uint8, shape `[height, width]`.

    Raises:
        UnreadableImageError: The file is missing, damaged, no JPEG or PNG, smaller than
            `MINIMUM_SIDE` on a side, or has more than `MAXIMUM_PIXELS` pixels.
    """
    name = name_of(path)
    try:
        with _open(path) as picture:
            _check_size(picture.size, name)
            return _to_grey(picture)
    except UnreadableImageError:
        raise
    except FileNotFoundError:
        raise UnreadableImageError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise UnreadableImageError(f"{name}: a folder, not a picture") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableImageError(_too_large(name)) from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damage.
        raise UnreadableImageError(f"{name}: {_reason(error)}") from error


def _open(path: "Union[str, os.PathLike[str], FileInMemory]") -> Image.Image:
    """Open a JPEG or PNG file without decoding a pixel; Pillow before 8 tries every format."""
    if _PILLOW >= 8:
        return Image.open(openable(path), formats=("JPEG", "PNG"))
    picture = Image.open(openable(path))
    if picture.format not in ("JPEG", "MPO", "PNG"):
        picture.close()
        raise UnreadableImageError(f"{name_of(path)}: not a JPEG or PNG picture")
    return picture


def _check_size(size: "tuple[int, int]", name: str) -> None:
    width, height = size
    if width * height > MAXIMUM_PIXELS:
        raise UnreadableImageError(_too_large(name))
    if min(width, height) < MINIMUM_SIDE:
        raise UnreadableImageError(
            f"{name}: {width}x{height} pixels are too few (at least {MINIMUM_SIDE} a side)"
        )


def _too_large(name: str) -> str:
    return f"{name}: more than {MAXIMUM_PIXELS // 1_000_000} million pixels, refused"


def _reason(error: Exception) -> str:
    """Say what went wrong without the decoder's own words, which mean nothing to a user."""
    if "cannot identify" in str(error):
        return "not a JPEG or PNG picture"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    if "truncated" in str(error):
        return "damaged picture, it ends too early"
    return "damaged picture, its data is broken"


def _to_grey(picture: Image.Image) -> "NDArray[np.uint8]":
    picture.load()
    upright = _upright(picture)
    if upright.mode.startswith(("I", "F")):
        return _scale_by_range(np.asarray(upright, dtype=np.float32))
    if upright.mode in ("P", "PA", "LA", "RGBA") or "transparency" in upright.info:
        coloured = upright.convert("RGBA")
        black = Image.new("RGBA", coloured.size, (0, 0, 0, 255))
        upright = Image.alpha_composite(black, coloured)
    return np.array(upright.convert("L"), dtype=np.uint8)


def _upright(picture: Image.Image) -> Image.Image:
    if _PILLOW >= 6:
        return ImageOps.exif_transpose(picture)
    exif = getattr(picture, "_getexif", lambda: None)() or {}
    turn = _TURNS.get(exif.get(_ORIENTATION, 1))
    return picture if turn is None else picture.transpose(turn)


def _scale_by_range(values: "NDArray[np.float32]") -> "NDArray[np.uint8]":
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    grey: "NDArray[np.uint8]" = np.rint((values - low) * (255.0 / (high - low))).astype(np.uint8)
    return grey
