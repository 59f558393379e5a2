"""Reads DICOM files into grey slices; pydicom is imported when the first is read."""

import contextlib
import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.images.dicom_header import read_header
from tumorscope.images.geometry import pixel_spacing, place_in_patient
from tumorscope.images.reading import (
    FileInMemory,
    UnreadableImageError,
    name_of,
    openable,
    upload_of,
)
from tumorscope.images.slice_header import SliceHeader, digest_of
from tumorscope.images.slices import (
    File,
    SliceChoice,
    SliceImage,
    check_size,
    choose,
    damaged,
    head_shares,
    resampled,
    square_pixels,
    square_shape,
    why_headless,
)
from tumorscope.images.suitability import why_unsuitable

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset

DICOM_SUFFIXES: Final = (".dcm", ".dicom", ".ima")
"""Usual endings; many DICOM files have none, so `is_dicom` looks inside."""

MAXIMUM_VOLUME: Final = 200_000_000
"""Files with more pixels in all their frames are refused."""

_MODALITIES: Final = {
    "CR": "an X-ray picture",
    "CT": "a CT scan",
    "DX": "an X-ray picture",
    "MG": "a mammogram",
    "NM": "a nuclear medicine scan",
    "OT": "a picture of unstated kind",
    "PT": "a PET scan",
    "RF": "an X-ray picture",
    "SC": "a screen capture",
    "US": "an ultrasound scan",
    "XA": "an X-ray angiogram",
}

_OTHER_PARTS: Final = frozenset(
    (
        "ABDOMEN",
        "ANKLE",
        "ARM",
        "BLADDER",
        "BREAST",
        "CHEST",
        "CSPINE",
        "ELBOW",
        "EXTREMITY",
        "FOOT",
        "HAND",
        "HEART",
        "HIP",
        "KIDNEY",
        "KNEE",
        "LEG",
        "LIVER",
        "LSPINE",
        "PELVIS",
        "PROSTATE",
        "SHOULDER",
        "SPINE",
        "SSPINE",
        "TSPINE",
        "THIGH",
        "UTERUS",
        "WHOLEBODY",
        "WRIST",
    )
)
"""Values of Body Part Examined that are certainly no head."""

_FIRST_ELEMENTS: Final = frozenset(
    [(2, element) for element in (0, 1, 2, 3, 0x10, 0x12, 0x13)]
    + [(8, element) for element in (0, 1, 5, 6, 8, 0x12, 0x13, 0x14, 0x16, 0x18, 0x20)]
)
"""Elements with which a file without preamble may begin."""

_FIRST_TYPES: Final = (b"UL", b"UI", b"CS", b"SH", b"DA", b"TM", b"LO", b"OB")
"""Their types."""

_LONGEST_FIRST: Final = 128
"""No first element is longer."""

_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
"""Packs the whole file: a small one may unpack to more than the memory holds."""


def is_dicom(path: File) -> bool:
    """Tell whether a file begins as DICOM files do, with or without a preamble."""
    if isinstance(path, FileInMemory):
        return starts_like_dicom(path.content[:132])
    with contextlib.suppress(OSError), open(path, "rb") as file:  # noqa: PTH123  (as fast as can be)
        return starts_like_dicom(file.read(132))
    return False


def starts_like_dicom(start: bytes) -> bool:
    """Tell whether a file is a DICOM file by its first 132 bytes or more.

    Some archives leave out the preamble, some the group of elements about the file, too: then it
    begins with an element of group 2 or 8, in one of three ways to write it.
    """
    if start[128:132] == b"DICM":
        return True
    if len(start) < 132:
        return False
    group, element = struct.unpack("<HH", start[:4])
    explicit = start[4:6] in _FIRST_TYPES
    if explicit and struct.unpack(">HH", start[:4]) in _FIRST_ELEMENTS:
        return True
    if (group, element) not in _FIRST_ELEMENTS:
        return False
    length: int = struct.unpack("<I", start[4:8])[0]
    return explicit or (group == 8 and length <= _LONGEST_FIRST)


def read_dicom(path: File, choice: SliceChoice) -> Iterator[SliceImage]:
    """Read a DICOM file.

    Grey values go through the modality and the VOI transformation (DICOM PS3.3, C.11); the window
    in the file is used when it leaves most of the head between black and white, else the range of
    the values. The orientation is left as acquired, oblong pixels are made square.

    Args:
        path: The file, on a disk or in memory.
        choice: Which frames of a file that holds several; its axis is ignored.

    Yields:
        The slices; one without a picture when the whole file is of another kind.

    Raises:
        UnreadableImageError: The file is missing, damaged, or holds no picture.
    """
    name = name_of(path)
    dataset = _open(path)
    try:
        header = read_header(dataset, name, upload=upload_of(path))
        header = replace(header, imageless=_kind_without_image(dataset))
        reason = _why_unsupported(dataset, header.imageless)
        if reason:
            yield SliceImage(name, None, None, unsupported=reason, header=header)
            return
        _fill_in(dataset, name)
        count = int(dataset.get("NumberOfFrames") or 1)
        if count == 1:
            grey, reason, place = _frame(dataset, name, 0)
            header = replace(header, digest=digest_of(grey))
            note = _uncounted(dataset, count)
            yield SliceImage(name, None, grey, reason, note=note, header=header, affine=place)
        else:
            headers = [
                read_header(dataset, name, upload=upload_of(path), frame=number)
                for number in range(count)
            ]
            yield from _frames(dataset, name, choice, headers)
    except UnreadableImageError:
        raise
    except Exception as error:  # pydicom and the decoders raise nearly anything on damage.
        raise damaged(name, "DICOM file", error) from error


def is_packed(file: File) -> bool:
    """Tell whether all that stands behind a DICOM file's first elements is packed."""
    from pydicom.filereader import read_dataset, read_preamble  # noqa: PLC0415

    source = openable(file)
    with open(source, "rb") if isinstance(source, str) else source as opened:  # noqa: PTH123
        read_preamble(opened, force=True)
        first = read_dataset(
            opened,
            is_implicit_VR=False,
            is_little_endian=True,
            stop_when=lambda tag, _vr, _length: tag.group != 2,
        )
        return str(first.get("TransferSyntaxUID")) == _DEFLATED


def read_file_header(path: File) -> SliceHeader | None:
    """Read what a DICOM file says about its slices, without a pixel; None when there is none."""
    from pydicom import dcmread  # noqa: PLC0415  (only where DICOM is read)

    try:
        if is_packed(path):
            return None
        dataset = dcmread(openable(path), stop_before_pixels=True, force=True)
        return read_header(dataset, name_of(path)) if "Rows" in dataset else None
    except Exception:  # noqa: BLE001  (the reason is told when the file itself is read)
        return None


def _open(path: File) -> "FileDataset":
    """Read the file's elements; their values are not checked yet."""
    from pydicom import dcmread  # noqa: PLC0415  (only where DICOM is read)
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415

    name = name_of(path)
    try:
        packed = is_packed(path)
        dataset = None if packed else dcmread(openable(path), force=True)
    except FileNotFoundError:
        raise UnreadableImageError(f"{name}: no such file") from None
    except InvalidDicomError:
        raise UnreadableImageError(f"{name}: not a DICOM file") from None
    except Exception as error:  # pydicom raises nearly anything on damage.
        raise damaged(name, "DICOM file", error) from error
    if dataset is None:
        raise UnreadableImageError(f"{name}: packed as a whole: save it uncompressed")
    return dataset


def _why_unsupported(dataset: "Dataset", imageless: str) -> str:
    """Return why this kind of DICOM file is not classified; empty when it is."""
    if imageless:
        return f"no image: a DICOM object of another kind ({imageless})"
    modality = str(dataset.get("Modality") or "MR").strip().upper()
    if modality != "MR" and _has_pixels(dataset):
        kind = _MODALITIES.get(modality, "a picture of another kind")
        return f"{kind} (modality {modality}); the model classifies MR slices only"
    part = str(dataset.get("BodyPartExamined") or "").replace(" ", "").upper()
    if part in _OTHER_PARTS:
        return f"a scan of another part of the body ({part.lower()})"
    if "MOSAIC" in (dataset.get("ImageType") or ()):
        return "a mosaic of many slices in one picture: convert it to NIfTI (dcm2niix)"
    return ""


def _kind_without_image(dataset: "Dataset") -> str:
    """Return what a file is that is meant to hold no image: a report, a reference, raw data."""
    kind = dataset.get("SOPClassUID")
    if not kind or _has_pixels(dataset):
        return ""
    known = kind.name != kind
    is_image = re.search(r"(?<!Non-)Image Storage", kind.name) if known else not kind.is_private
    return "" if is_image else str(kind.name).removesuffix(" Storage")


def _has_pixels(dataset: "Dataset") -> bool:
    return any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))


def _fill_in(dataset: "FileDataset", name: str) -> None:
    """Check the size, and set the elements without which the pixels could not be read.

    Raises:
        UnreadableImageError: The file holds no picture, or its size is not accepted.
    """
    from pydicom.uid import (  # noqa: PLC0415
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    )

    from tumorscope.images.dicom_decoders import can_decode  # noqa: PLC0415  (imports pydicom)

    if not _has_pixels(dataset):
        kind = getattr(dataset.get("SOPClassUID"), "name", "")
        raise UnreadableImageError(
            f"{name}: a DICOM file without a picture ({kind or 'no pixels'})"
        )
    if "Rows" not in dataset or "Columns" not in dataset:
        raise UnreadableImageError(
            f"{name}: a DICOM file that does not say its size (Rows, Columns)"
        )
    rows, columns, frames = dataset.Rows, dataset.Columns, dataset.get("NumberOfFrames") or 1
    check_size(name, int(rows), int(columns))
    if int(frames) * rows * columns > MAXIMUM_VOLUME or int(frames) < 1:
        raise UnreadableImageError(f"{name}: {frames} frames of {columns}x{rows} pixels, refused")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little_endian = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    usual: dict[str, Any] = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelRepresentation": 0,
        "BitsAllocated": 16,
    }
    usual["BitsStored"] = dataset.get("BitsAllocated") or 16
    for keyword, value in usual.items():
        if dataset.get(keyword) in (None, ""):
            setattr(dataset, keyword, value)
    syntax = dataset.file_meta.TransferSyntaxUID
    # (Old files begin a value at its highest bit; then the bits below are part of it, and small.)
    top = int(dataset.get("HighBit") or 0) + 1
    if dataset.BitsStored < top <= dataset.BitsAllocated and not syntax.is_encapsulated:
        dataset.BitsStored = top
    bits, samples = dataset.BitsStored, dataset.SamplesPerPixel
    if syntax.is_encapsulated and not can_decode(syntax, bits=bits, samples=samples):
        raise UnreadableImageError(
            f"{name}: its compression ({syntax.name}) cannot be read: save it uncompressed"
        )


def _frames(
    dataset: "FileDataset", name: str, choice: SliceChoice, headers: list[SliceHeader]
) -> Iterator[SliceImage]:
    """Yield the chosen frames of a file that holds several."""
    count = len(headers)
    others = _other_components(dataset, count)
    shares = np.array([not other for other in others], dtype=np.float64)
    numbers = choose(name, count, choice, shares if shares.any() else np.ones(count))
    frames = {number: _frame(dataset, name, number) for number in numbers}
    seen = [grey for grey, _, _ in frames.values() if grey is not None]
    if len({grey.shape for grey in seen}) == 1 and len(seen) == len(numbers):
        shares[numbers] = head_shares(np.stack(seen), 0)
    if choice.numbers is None:
        numbers = choose(name, count, choice, shares)
    note = _uncounted(dataset, count)
    volume = f"{count} frames of {dataset.Columns} x {dataset.Rows} pixels"
    for other, times in Counter(filter(None, others)).items():
        volume += f", {times} of them {other}"
    volume += f", {note}" if note else ""
    for number in numbers:
        grey, reason, place = frames[number]
        reason = reason or why_headless(shares[number])
        header = replace(headers[number], digest=digest_of(grey))
        yield SliceImage(name, number, grey, reason, volume, note, header, place)


def _uncounted(dataset: "FileDataset", count: int) -> str:
    """Say how many frames stand behind those that a file says it holds."""
    from pydicom.pixels.utils import get_expected_length  # noqa: PLC0415

    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return ""
    held = len(dataset.get("PixelData") or b"") * count // get_expected_length(dataset)
    if held <= count:
        return ""
    return f"it holds pixels of {held} frames, says {count}: the others are left out"


def _other_components(dataset: "FileDataset", count: int) -> list[str]:
    """Return for each frame what it shows instead of the magnitude; empty when it does not."""
    from tumorscope.images.dicom_pixels import (  # noqa: PLC0415  (imports pydicom)
        frame_elements,
        other_component,
    )

    return [other_component(frame_elements(dataset, number)) for number in range(count)]


def _frame(
    dataset: "FileDataset", name: str, number: int
) -> tuple[NDArray[np.uint8] | None, str, NDArray[np.float64] | None]:
    """Return a frame's grey values, why it cannot be classified (or nothing), and where it lies."""
    from tumorscope.images.dicom_pixels import (  # noqa: PLC0415  (imports pydicom)
        frame_elements,
        other_component,
        show,
    )

    elements = frame_elements(dataset, number)
    component = other_component(elements)
    grey = show(dataset, elements, number)
    if grey is None:
        reason = "a colour picture (a map or an overlay), not a slice as it was acquired"
        return None, reason, None
    place = place_in_patient(elements)
    spacing = pixel_spacing(elements)
    if spacing:
        row_spacing, column_spacing = spacing
        shape = (grey.shape[0], grey.shape[1])
        check_size(name, *square_shape(shape, row_spacing, column_spacing))
        grey = square_pixels(grey, row_spacing, column_spacing)
        place = None if place is None else place @ resampled(shape, grey.shape)
    reason = f"{component}, not the magnitude of the signal" if component else ""
    return grey, reason or why_unsuitable(grey), place
