"""Reads picture files (JPEG, PNG, TIFF, BMP, GIF, WebP) into grey slices.

Every deployment bundle carries this file, so it keeps to Python 3.6, NumPy and Pillow 5.1 (which
JetPack 4.6 for the Jetson Nano has).
"""

import io
import os
import re
import sys
from typing import TYPE_CHECKING, Iterator, NamedTuple, Tuple, Union

import numpy as np
import PIL
from PIL import Image, ImageFile, ImageOps

if TYPE_CHECKING:
    from numpy.typing import NDArray

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")
"""Endings of the files that `read_slice` reads."""

MAXIMUM_PIXELS = 50_000_000
"""Pictures with more pixels are refused before a pixel is decoded."""

MAXIMUM_PAGES_PIXELS = 200_000_000
"""Files with more pixels in all their pages are refused."""

MINIMUM_SIDE = 32
"""Pictures with a shorter side hold too little to classify."""

NOT_A_PICTURE = "not a JPEG, PNG, TIFF, BMP, GIF or WebP picture"
"""Why a file of another kind is refused."""

_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP")

_STARTS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"GIF87a",
    b"GIF89a",
    b"BM",
)
"""How files of these formats begin."""

_PAGED_FORMATS = ("TIFF", "GIF", "WEBP")
"""Formats whose files may hold several slices. (The further pictures of a JPEG are previews.)"""

_PILLOW = int(PIL.__version__.split(".")[0])

_Tile = getattr(ImageFile, "_Tile", lambda *tile: tile)
"""How a part of a picture's data is described: a plain tuple where Pillow is old."""

_DEEP_GREY_ALPHA = "LA;16B"

_DEEP_COLOURS = re.compile("(RGB[AaX]?;16)([LBN])$")
"""How Pillow unpacks 16-bit colours, and in which order of bytes."""

_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER_ORDER = {"L": "B", "B": "L"}

_BITS, _PHOTOMETRIC, _PLANAR = 258, 262, 284
"""TIFF's tags: bits of a value, whether 0 is white, whether each colour stands by itself."""

_IN_PLANES = "16-bit colours in planes, which are not read: save it with a pixel's colours together"

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
    """A file is no picture that can be classified; the message names the file and the reason."""


class FileInMemory(NamedTuple):
    """A file that stands on no disk: an upload.

    Attributes:
        name: What it is called in messages; never opened.
        content: All its bytes.
        upload: Which upload it is, from 1: two may have one name; 0 where names differ.
        beside: Files that belong to it: the voxels of a header.
        damage: Why its content is not whole; else empty.
    """

    name: str
    content: bytes
    upload: int = 0
    beside: "Tuple[FileInMemory, ...]" = ()
    damage: str = ""


def name_of(file: "Union[str, os.PathLike[str], FileInMemory]") -> str:
    """Return what a file is called in messages and answers."""
    return file.name if isinstance(file, FileInMemory) else os.fspath(file)


def upload_of(file: "Union[str, os.PathLike[str], FileInMemory]") -> int:
    """Return which upload a file is, from 1; 0 for a file on a disk."""
    return file.upload if isinstance(file, FileInMemory) else 0


def openable(file: "Union[str, os.PathLike[str], FileInMemory]") -> "Union[str, io.BytesIO]":
    """Return what libraries open: a path, or the content of a file in memory."""
    return io.BytesIO(file.content) if isinstance(file, FileInMemory) else os.fspath(file)


def starts_like_picture(start: bytes) -> bool:
    """Tell whether a file is a picture by its first 1024 bytes."""
    # (DICOM files may begin like TIFF files: the first 128 bytes are theirs to fill.)
    if start[128:132] == b"DICM":
        return False
    return start.startswith(_STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def read_slice(path: "Union[str, os.PathLike[str], FileInMemory]") -> "NDArray[np.uint8]":
    """Read a picture file as one grey slice.

    Colour becomes luminance (ITU-R 601-2), transparent pixels become black, an EXIF rotation is
    applied, and a picture of 16 bits is scaled by its own range, because scanners store 12 bits in
    16.

    Args:
        path: The file, on a disk or in memory.

    Returns:
        Grey values 0 to 255, uint8, shape `[height, width]`.

    Raises:
        UnreadableImageError: The file is missing, damaged, of another format, holds several
            pages, is smaller than `MINIMUM_SIDE` on a side, or has more than `MAXIMUM_PIXELS`
            pixels.
    """
    pages = list(read_pages(path, most=1))
    return pages[0]


def read_pages(
    path: "Union[str, os.PathLike[str], FileInMemory]", most: "Union[int, None]" = None
) -> "Iterator[NDArray[np.uint8]]":
    """Read the pages of a picture file as grey slices, as `read_slice` does, small ones too.

    Args:
        path: The file, on a disk or in memory.
        most: A file with more pages than this is refused.

    Yields:
        Grey values 0 to 255, uint8, shape `[height, width]`.

    Raises:
        UnreadableImageError: As for `read_slice`.
    """
    name = name_of(path)
    try:
        with _open(path) as picture:
            _check_size(picture.size, name)
            count = getattr(picture, "n_frames", 1) if picture.format in _PAGED_FORMATS else 1
            _check_pages(count, most, picture.size, name)
            pixels = 0
            for number in range(count):
                if count > 1:
                    picture.seek(number)
                    _check_size(picture.size, name)
                pixels += picture.size[0] * picture.size[1]
                _check_together(pixels, count, name)
                yield _to_grey(picture, path, number)
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
    """Open a picture file without decoding a pixel; Pillow before 8 tries every format."""
    if _PILLOW >= 8:
        return Image.open(openable(path), formats=_FORMATS)
    picture = Image.open(openable(path))
    if picture.format not in (*_FORMATS, "MPO"):
        picture.close()
        raise UnreadableImageError(f"{name_of(path)}: {NOT_A_PICTURE}")
    return picture


def why_too_small(width: int, height: int) -> str:
    """Return why a picture holds too little to classify; empty where it does not."""
    if min(width, height) >= MINIMUM_SIDE:
        return ""
    return f"{width}x{height} pixels are too few (at least {MINIMUM_SIDE} a side)"


def _check_size(size: "tuple[int, int]", name: str) -> None:
    if size[0] * size[1] > MAXIMUM_PIXELS:
        raise UnreadableImageError(_too_large(name))


def _check_pages(count: int, most: "Union[int, None]", size: "tuple[int, int]", name: str) -> None:
    if most is not None and count > most:
        raise UnreadableImageError(f"{name}: {count} pages in one file: split it")
    if count * size[0] * size[1] > MAXIMUM_PAGES_PIXELS:
        raise UnreadableImageError(f"{name}: {count} pages of {size[0]}x{size[1]} pixels, refused")
    few = why_too_small(*size) if count == 1 else ""
    if few:
        raise UnreadableImageError(f"{name}: {few}")


def _check_together(pixels: int, count: int, name: str) -> None:
    if pixels > MAXIMUM_PAGES_PIXELS:
        raise UnreadableImageError(f"{name}: {count} pages, too large together, refused")


def _too_large(name: str) -> str:
    return f"{name}: more than {MAXIMUM_PIXELS // 1_000_000} million pixels, refused"


def _reason(error: Exception) -> str:
    """Say what went wrong without the decoder's own words, which mean nothing to a user."""
    if "cannot identify" in str(error):
        return NOT_A_PICTURE
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    if "truncated" in str(error):
        return "damaged picture, it ends too early"
    return "damaged picture, its data is broken"


def _to_grey(
    picture: Image.Image, path: "Union[str, os.PathLike[str], FileInMemory]", page: int
) -> "NDArray[np.uint8]":
    raw = _raw_mode(picture)
    tags = getattr(picture, "tag_v2", {})
    if tags.get(_PLANAR) == 2 and len(picture.getbands()) > 1 and max(tags.get(_BITS, (1,))) > 8:
        raise UnreadableImageError(f"{name_of(path)}: {_IN_PLANES}")
    picture.load()
    if raw == _DEEP_GREY_ALPHA or _DEEP_COLOURS.match(raw):
        deep = Image.fromarray(_deep_grey(path, page, raw))
        deep.info = picture.info
        return _scale_by_range(np.asarray(_upright(deep)))
    upright = _upright(picture)
    if upright.mode.startswith(("I", "F")):
        values = np.asarray(upright, dtype=np.float32)
        # (Of deep grey, Pillow leaves it to others that 0 is white.)
        return _scale_by_range(-values if tags.get(_PHOTOMETRIC) == 0 else values)
    if upright.mode in ("P", "PA", "LA", "RGBA") or "transparency" in upright.info:
        coloured = upright.convert("RGBA")
        black = Image.new("RGBA", coloured.size, (0, 0, 0, 255))
        upright = Image.alpha_composite(black, coloured)
    return np.array(upright.convert("L"), dtype=np.uint8)


def _raw_mode(picture: Image.Image) -> str:
    """Return how Pillow unpacks the pixels; empty where it does not say."""
    tiles = getattr(picture, "tile", None)
    if not tiles or len(tiles[0]) < 4:
        return ""
    arguments = tiles[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _deep_grey(
    path: "Union[str, os.PathLike[str], FileInMemory]", page: int, raw: str
) -> "NDArray[np.float32]":
    """Return 16-bit colours as luminance on black, `[height, width]`.

    Pillow keeps the upper 8 of 16 bits of each colour, where 12-bit scans have next to nothing. So
    the pixels are unpacked a second time by the unpacker for the other order of bytes, which keeps
    the lower 8; grey with alpha has none, but is as many bytes as 8-bit colours with alpha.
    """
    if raw == _DEEP_GREY_ALPHA:
        bytes_ = _unpacked(path, page, "RGBA", mode="RGBA")
        values, alpha = bytes_[..., 0] * 256 + bytes_[..., 1], bytes_[..., 2] * 256 + bytes_[..., 3]
        return np.asarray(values * (alpha / 65535.0), dtype=np.float32)
    kind, order = raw[:-1].replace("a", "A"), raw[-1].replace("N", _NATIVE)
    channels = 256 * _unpacked(path, page, kind + order)
    channels += _unpacked(path, page, kind + _OTHER_ORDER[order])
    grey = channels[..., :3] @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    if raw.startswith("RGBA"):  # (Of RGBa, the colours are multiplied already.)
        grey = grey * (channels[..., 3] / 65535.0)
    return np.asarray(grey, dtype=np.float32)


def _unpacked(
    path: "Union[str, os.PathLike[str], FileInMemory]", page: int, raw: str, mode: str = ""
) -> "NDArray[np.float32]":
    """Return the pixels as an unpacker of Pillow's gives them, `[height, width, channels]`."""
    with _open(path) as picture:
        if page:
            picture.seek(page)
        tiles = []
        for codec, box, offset, arguments in getattr(picture, "tile", ()):
            others = (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw
            tiles.append((codec, box, offset, others))
        setattr(picture, "tile", [_Tile(*tile) for tile in tiles])  # noqa: B010  (of each format)
        if mode:
            setattr(picture, "_mode" if _PILLOW >= 10 else "mode", mode)
        picture.load()
        return np.asarray(picture, dtype=np.float32)


def _upright(picture: Image.Image) -> Image.Image:
    if _PILLOW >= 6:
        return ImageOps.exif_transpose(picture)
    exif = getattr(picture, "_getexif", lambda: None)() or {}
    turn = _TURNS.get(exif.get(_ORIENTATION, 1))
    return picture if turn is None else picture.transpose(turn)


def _scale_by_range(values: "NDArray[np.float32]") -> "NDArray[np.uint8]":
    """Lay 0 to 255 over the range of the values; those that are not finite become 0."""
    grey = np.zeros(values.shape, dtype=np.uint8)
    known = np.isfinite(values)
    if known.any():
        low, high = float(values[known].min()), float(values[known].max())
        if high > low:
            grey[known] = np.rint((values[known] - low) * (255.0 / (high - low)))
    return grey
