"""Reads volumes in the formats beside NIfTI: MGH, Analyze, NRRD and MetaImage, through nibabel.

No file asks for more memory than its header's size, which is checked first.
"""

import bz2
import errno
import io
import math
import os
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from tumorscope.images.reading import FileInMemory, UnreadableImageError, name_of
from tumorscope.images.slices import File

VOLUME_SUFFIXES: Final = (
    *(".nii", ".nii.gz", ".hdr", ".img", ".img.gz", ".mgh", ".mgz", ".nrrd", ".nhdr"),
    *(".mha", ".mhd"),
)
"""Endings of volumes."""

MAXIMUM_VOXELS: Final = 80_000_000
"""Larger volumes are refused (7 T at half a millimetre is 64 million)."""

_MGH_TYPES: Final = (0, 1, 3, 4, 10)

_LPS: Final = np.diag([-1.0, -1.0, 1.0])
"""From axes towards left, back and top to those towards right, front and top."""

_SPACES: Final = {
    **dict.fromkeys(("right-anterior-superior", "ras"), np.eye(3)),
    **dict.fromkeys(("left-anterior-superior", "las"), np.diag([-1.0, 1.0, 1.0])),
    **dict.fromkeys(("left-posterior-superior", "lps"), _LPS),
}
"""NRRD's spaces, and how they turn into axes towards right, front and top."""

_NRRD_TYPES: Final = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "unsignedchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "unsignedshort", "uint16"), "u2"),
    **dict.fromkeys(("", "int32"), "i4"),
    **dict.fromkeys(("u", "unsigned", "uint32"), "u4"),
    **dict.fromkeys(("longlong", "int64"), "i8"),
    **dict.fromkeys(("ulonglong", "unsignedlonglong", "uint64"), "u8"),
    "float": "f4",
    "double": "f8",
}
"""NRRD's types, without the words that may be left out."""

_NRRD_WORDS: Final = re.compile(r"\bsigned\b|\bint\b|int$|_t$| ")

_META_TYPES: Final = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

_META_START: Final = re.compile(rb"\s*(Comment|ObjectType|ObjectSubType|NDims)\s*=", re.IGNORECASE)

_MOST_PACKED: Final = 1_000_000_000
"""Bytes that are read of a file of voxels, at the most."""

_LONGEST_NUMBER: Final = 32
"""Characters of a number that is written out, with what stands behind it."""

_LONGEST_HEADER: Final = 65_536
"""Bytes of a text header, at the most."""


def starts_like_volume(start: bytes) -> bool:
    """Tell whether a file is a volume by its first 1024 bytes, unpacked where it is packed."""
    if start[:2] == b"\x1f\x8b":
        try:
            start = zlib.decompressobj(31).decompress(start, 1024)
        except zlib.error:
            return False
    return (
        start[344:347] in (b"n+1", b"ni1")
        or start[4:7] in (b"n+2", b"ni2")
        or start[:4] in (struct.pack("<i", 348), struct.pack(">i", 348))
        or start.startswith(b"NRRD000")
        or _META_START.match(start) is not None
        or _is_mgh(start)
    )


def open_volume(file: BinaryIO, path: File) -> Any:
    """Read a volume of one of these formats.

    Args:
        file: The file's content, unpacked as it is read.
        path: The file itself: tells what lies beside it.

    Returns:
        An image of nibabel's.

    Raises:
        UnreadableImageError: The file is of another format, too large, damaged, or another file
            that belongs to it is missing.
    """
    start = file.read(1024)
    file.seek(0)
    if start.startswith(b"NRRD000"):
        return _read_nrrd(file, path)
    if _META_START.match(start):
        return _read_meta(file, path)
    if _is_mgh(start):
        return _read_mgh(file, name_of(path))
    return _read_pair(start, path)


def _is_mgh(start: bytes) -> bool:
    """Tell whether a file is of FreeSurfer's format: version 1, sizes, a known type."""
    if len(start) < 284:
        return False
    version, *sizes, kind = struct.unpack(">6i", start[:24])
    return version == 1 and all(0 < size < 1 << 15 for size in sizes) and kind in _MGH_TYPES


def _check_voxels(name: str, shape: Sequence[int]) -> None:
    if not 2 <= len(shape) <= 7 or min(shape) < 1:
        raise UnreadableImageError(f"{name}: a file of shape {tuple(shape)}, not a volume")
    if math.prod(shape) > MAXIMUM_VOXELS:
        raise UnreadableImageError(
            f"{name}: more than {MAXIMUM_VOXELS // 1_000_000} million voxels, refused"
        )


def _check_fields(name: str, header: Mapping[str, Any], needed: Sequence[str]) -> None:
    lacking = [field for field in needed if field not in header]
    if lacking:
        raise UnreadableImageError(f"{name}: a damaged header, it lacks {', '.join(lacking)}")


def _read_mgh(file: BinaryIO, name: str) -> Any:
    import nibabel  # noqa: PLC0415  (only where volumes are read)

    shape = struct.unpack(">4i", file.read(20)[4:])
    _check_voxels(name, shape)
    file.seek(0)
    return nibabel.MGHImage.from_stream(cast(io.IOBase, file))


def _read_pair(start: bytes, path: File) -> Any:
    """Read a header (NIfTI's or Analyze's) whose voxels are in the `.img` file beside it."""
    import nibabel  # noqa: PLC0415  (only where volumes are read)

    name = name_of(path)
    kinds: tuple[Any, ...] = (nibabel.Nifti1Pair, nibabel.Nifti2Pair, nibabel.Spm2AnalyzeImage)
    if name.lower().endswith((".img", ".img.gz")):
        start = _beside(path, (".hdr", ".HDR"), 1024)[:1024]
    kind = next((kind for kind in kinds if kind.header_class.may_contain_header(start)), None)
    if kind is None:
        raise UnreadableImageError(f"{name}: damaged NIfTI file (no header)")
    header = kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)
    _check_voxels(name, [int(size) for size in header.get_data_shape()])
    count = math.prod(map(int, header.get_data_shape())) * header.get_data_dtype().itemsize
    offset = max(0, int(header.get_data_offset()))
    content = _beside(path, (".img", ".img.gz", ".IMG"), offset + count)
    if len(content) < offset + count:
        raise UnreadableImageError(f"{name}: the voxels beside it end too early")
    values = np.frombuffer(content[: offset + count], header.get_data_dtype(), offset=offset)
    values = values.reshape(header.get_data_shape(), order="F")
    slope, intercept = header.get_slope_inter()
    if slope or intercept:
        values = values * float(slope or 1) + float(intercept or 0)
    return _image(values, header.get_best_affine())


def _read_nrrd(file: BinaryIO, path: File) -> Any:
    """Read NRRD (https://teem.sourceforge.net/nrrd/format.html)."""
    import nrrd  # noqa: PLC0415  (only where NRRD is read)

    name = name_of(path)
    header = nrrd.read_header(_header_lines(file, name, b""))
    _check_fields(name, header, ("type", "sizes", "encoding"))
    shape = [int(size) for size in header["sizes"]]
    _check_voxels(name, shape)
    kind = _NRRD_TYPES.get(_NRRD_WORDS.sub("", header["type"]))
    if kind is None:
        raise UnreadableImageError(f"{name}: voxels of type {header['type']}, not a scan")
    dtype = np.dtype(kind).newbyteorder(">" if header.get("endian") == "big" else "<")
    if header.get("line skip") or int(header.get("byte skip") or 0) < -1:
        raise UnreadableImageError(f"{name}: lines before its voxels, which are not read")
    content = _voxels_behind(file, path, header.get("data file") or header.get("datafile"))
    encoding = header["encoding"]
    count = math.prod(shape) * dtype.itemsize
    skip = int(header.get("byte skip") or 0)
    if encoding in ("ascii", "text", "txt"):
        values = _written_out(content, math.prod(shape)).astype(dtype)
    elif encoding in ("raw", "gzip", "gz", "bzip2", "bz2"):
        if encoding != "raw":
            content = _unpacked(content, max(0, skip) + count)
        values = np.frombuffer(content[-count:] if skip < 0 else content[skip:], dtype)
    else:
        raise UnreadableImageError(f"{name}: voxels written as {encoding}, which is not read")
    return _image(*_nrrd_axes(_shaped(values, shape, name), header))


def _nrrd_axes(
    values: NDArray[Any], header: dict[str, Any]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Put the axes of space first, and return the voxels with their affine matrix."""
    axes = np.full((values.ndim, 3), np.nan)
    turn = _SPACES.get(str(header.get("space", "")).lower(), _LPS)
    if header.get("space directions") is not None:
        axes[:] = np.array(header["space directions"], dtype=np.float64)
    else:
        kinds = header.get("kinds") or ["domain"] * values.ndim
        inside = [place for place, kind in enumerate(kinds) if kind in ("domain", "space")][:3]
        lengths = np.nan_to_num(np.asarray(header.get("spacings", np.ones(values.ndim))), nan=1.0)
        for axis, place in enumerate(inside):
            axes[place] = lengths[place] * np.eye(3)[axis]
    inside = [place for place in range(values.ndim) if np.isfinite(axes[place]).all()]
    others = [place for place in range(values.ndim) if place not in inside]
    affine = np.eye(4)
    affine[:3, : len(inside)] = turn @ axes[inside].T
    if header.get("space origin") is not None:
        affine[:3, 3] = turn @ np.array(header["space origin"], dtype=np.float64)
    if len(inside) < 3:
        values = values.reshape((*values.shape, *[1] * (3 - len(inside))))
        inside += range(values.ndim - 3 + len(inside), values.ndim)
    return values.transpose((*inside, *others)), affine


def _read_meta(file: BinaryIO, path: File) -> Any:
    """Read MetaImage (https://itk.org/Wiki/ITK/MetaIO/Documentation)."""
    name = name_of(path)
    fields = {}
    for line in _header_lines(file, name, b"elementdatafile"):
        key, _, value = line.decode("latin-1").partition("=")
        fields[key.strip().lower()] = value.strip()
    _check_fields(name, fields, ("ndims", "dimsize", "elementtype"))
    dimensions = int(fields["ndims"])
    shape = [int(size) for size in fields["dimsize"].split()]
    channels = int(fields.get("elementnumberofchannels") or 1)
    _check_voxels(name, [*shape, channels])
    if channels > 1 or len(shape) != dimensions:
        raise UnreadableImageError(f"{name}: voxels of several numbers, not a scan")
    big = _true(fields, "binarydatabyteordermsb") or _true(fields, "elementbyteordermsb")
    if fields["elementtype"] not in _META_TYPES:
        raise UnreadableImageError(f"{name}: voxels of type {fields['elementtype']}, not a scan")
    dtype = np.dtype((">" if big else "<") + _META_TYPES[fields["elementtype"]])
    place = fields["elementdatafile"]
    content = _voxels_behind(file, path, None if place.upper() == "LOCAL" else place)
    count = math.prod(shape) * dtype.itemsize
    skip = int(fields.get("headersize") or 0)
    if not _true(fields, "compresseddata") and not _true(fields, "binarydata", default="true"):
        values = _written_out(content, math.prod(shape)).astype(dtype)
    else:
        if _true(fields, "compresseddata"):
            content = _unpacked(content, count)
        else:
            content = content[-count:] if skip == -1 else content[skip:]
        values = np.frombuffer(content[:count], dtype)
    values = _shaped(values, shape, name)
    directions = _numbers(fields, ("transformmatrix", "rotation", "orientation"))
    origin = _numbers(fields, ("offset", "position", "origin"))
    lengths = _numbers(fields, ("elementspacing", "elementsize"))
    axes = np.eye(dimensions)
    if directions is not None:
        axes = directions.reshape(dimensions, dimensions)
    if lengths is not None:
        axes = axes * lengths[:dimensions, None]
    affine = np.eye(4)
    spatial = min(3, dimensions)
    affine[:spatial, :spatial] = axes[:spatial, :spatial].T
    if origin is not None:
        affine[:spatial, 3] = origin[:spatial]
    affine[:3] = _LPS @ affine[:3]
    return _image(values.reshape((*shape, 1)) if dimensions == 2 else values, affine)


def _true(fields: dict[str, str], key: str, default: str = "false") -> bool:
    return fields.get(key, default).lower() in ("true", "1")


def _numbers(fields: dict[str, str], keys: tuple[str, ...]) -> NDArray[np.float64] | None:
    """Return the numbers of the first of these fields that there is."""
    text = next((fields[key] for key in keys if key in fields), None)
    return None if text is None else np.array(text.split(), dtype=np.float64)


def _header_lines(file: BinaryIO, name: str, last: bytes) -> list[bytes]:
    """Return the lines of a text header, and leave the file behind it.

    Args:
        file: The file, at its beginning.
        name: The file, for the message.
        last: How the last line begins, in small letters; when empty, an empty line ends them.
    """
    lines: list[bytes] = []
    while file.tell() < _LONGEST_HEADER:
        line = file.readline(_LONGEST_HEADER)
        if not last and not line.strip():
            return lines
        lines.append(line)
        if last and line.strip().lower().startswith(last):
            return lines
        if not line:
            break
    raise UnreadableImageError(f"{name}: a damaged header, it has no end")


def _voxels_behind(file: BinaryIO, path: File, place: Any) -> bytes:
    """Return what stands behind a header, or the content of the file that it names."""
    if place is None:
        return file.read(_MOST_PACKED)
    name = name_of(path)
    if not isinstance(place, str) or os.path.basename(place) != place or "%" in place:  # noqa: PTH119
        raise UnreadableImageError(f"{name}: its voxels are in several files or another folder")
    try:
        return _neighbour(path, place)
    except OSError as error:
        raise UnreadableImageError(
            f"{name}: its voxels are in {place}, which cannot be read ({error.strerror})"
        ) from None


def _beside(path: File, endings: tuple[str, ...], count: int) -> bytes:
    """Return the content of the file of the same name with another ending; so much if packed."""
    name = name_of(path)
    stem = re.sub(r"\.(hdr|img|nii)(\.gz)?$", "", os.path.basename(name), flags=re.IGNORECASE)  # noqa: PTH119
    for ending in endings:
        try:
            content = _neighbour(path, stem + ending)
        except FileNotFoundError:
            continue
        return _unpacked(content, count) if ending.endswith(".gz") else content
    what = "header is" if ".hdr" in endings else "voxels are"
    raise UnreadableImageError(f"{name}: its {what} missing: {stem}{endings[0]} is not beside it")


def _neighbour(path: File, name: str) -> bytes:
    """Return the content of the file of a name that lies beside another.

    Raises:
        OSError: It cannot be read.
    """
    if isinstance(path, FileInMemory):
        for other in path.beside:
            if os.path.basename(other.name) == name:  # noqa: PTH119  (names of uploads are no paths)
                return other.content
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    with open(os.path.join(os.path.dirname(path), name), "rb") as file:  # noqa: PTH118, PTH120, PTH123
        return file.read(_MOST_PACKED)


def _unpacked(content: bytes, count: int) -> bytes:
    """Return so many bytes of a content that is packed by gzip, zlib or bzip2."""
    if content[:3] == b"BZh":
        return bz2.BZ2Decompressor().decompress(content, count)
    return zlib.decompressobj(47).decompress(content, count)


def _written_out(content: bytes, count: int) -> NDArray[np.float64]:
    """Return so many numbers that stand as text, or fewer where there are no more."""
    return np.fromstring(content[: _LONGEST_NUMBER * count], np.float64, sep=" ")[:count]


def _shaped(values: NDArray[Any], shape: list[int], name: str) -> NDArray[Any]:
    """Return values as a volume whose first axis changes fastest."""
    count = math.prod(shape)
    if len(values) < count:
        raise UnreadableImageError(f"{name}: damaged, its voxels end too early")
    return values[:count].reshape(shape, order="F")


def _image(values: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    from nibabel.spatialimages import SpatialImage  # noqa: PLC0415  (only where volumes are read)

    image = SpatialImage(values, affine)
    image.set_data_dtype(values.dtype)
    return image
