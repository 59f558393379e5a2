"""A DICOM file comes in, its frames go out as grey slices; pydicom is imported only then."""

import contextlib
import math
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from tumorscope.images.geometry import along_normal, place_in_patient
from tumorscope.images.lossless_jpeg import decode_lossless_jpeg
from tumorscope.images.reading import FileInMemory, UnreadableImageError, name_of, openable
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
    to_grey,
    why_headless,
)
from tumorscope.images.suitability import why_unsuitable

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset

AnyFile = TypeVar("AnyFile", bound=File)

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

_LOSSLESS_JPEG: Final = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")

_EXTENDED_JPEG: Final = "1.2.840.10008.1.2.4.51"

_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
"""Packs the whole file: a small one may unpack to more than the memory holds."""

_DECODERS: Final = {
    "1.2.840.10008.1.2.4.50": "pillow",
    _EXTENDED_JPEG: "pillow",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pillow",
    "1.2.840.10008.1.2.4.91": "pillow",
    "1.2.840.10008.1.2.5": "pydicom",
}
"""Which of pydicom's decoders reads a transfer syntax: those that survive damaged files."""

COMPRESSIONS: Final = (*_LOSSLESS_JPEG, *_DECODERS)
"""Transfer syntaxes of the compressed files that are read."""

_SEEN_SHARE: Final = 0.6
"""A window that leaves less of the head between its black and its white hides too much."""

_BEYOND: Final = 1e12
"""Beyond every pixel's value."""


def is_dicom(path: File) -> bool:
    """Tell whether a file begins as DICOM files do."""
    if isinstance(path, FileInMemory):
        return path.content[128:132] == b"DICM"
    with contextlib.suppress(OSError), open(path, "rb") as file:  # noqa: PTH123  (as fast as can be)
        return file.read(132)[128:] == b"DICM"
    return False


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
        series = str(dataset.get("SeriesInstanceUID") or "")
        reason = _why_unsupported(dataset)
        if reason:
            yield SliceImage(name, None, None, unsupported=reason, series=series)
            return
        _fill_in(dataset, name)
        count = int(dataset.get("NumberOfFrames") or 1)
        if count == 1:
            grey, reason, place = _frame(dataset, name, 0)
            yield SliceImage(name, None, grey, reason, series=series, affine=place)
        else:
            yield from _frames(dataset, name, count, choice, series)
    except UnreadableImageError:
        raise
    except Exception as error:  # pydicom and the decoders raise nearly anything on damage.
        raise damaged(name, "DICOM file", error) from error


def _is_packed(file: File) -> bool:
    """Tell whether all that stands behind a file's first elements is packed."""
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


def in_series_order(paths: Iterable[AnyFile]) -> list[AnyFile]:
    """Sort DICOM files by series, then along the body (or by instance number).

    Args:
        paths: DICOM files; those that cannot be read come first, in the order given.
    """
    from pydicom import dcmread  # noqa: PLC0415  (only where DICOM is read)

    tags = [
        "SeriesNumber",
        "SeriesInstanceUID",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "InstanceNumber",
    ]

    def place(path: AnyFile) -> tuple[float, str, float, float]:
        try:
            if _is_packed(path):
                return (-math.inf, "", 0.0, 0.0)
            header = dcmread(
                openable(path), stop_before_pixels=True, force=True, specific_tags=list(tags)
            )
            return (
                float(header.get("SeriesNumber") or 0),
                str(header.get("SeriesInstanceUID") or ""),
                along_normal(header),
                float(header.get("InstanceNumber") or 0),
            )
        except Exception:  # noqa: BLE001  (the reason is told when the file itself is read)
            return (-math.inf, "", 0.0, 0.0)

    return sorted(paths, key=place)


def _open(path: File) -> "FileDataset":
    """Read the file's elements; their values are not checked yet."""
    from pydicom import dcmread  # noqa: PLC0415  (only where DICOM is read)
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415

    name = name_of(path)
    try:
        packed = _is_packed(path)
        # Some archives leave out the preamble; then the ending of the name is believed.
        forced = name.lower().endswith(DICOM_SUFFIXES)
        dataset = None if packed else dcmread(openable(path), force=forced)
    except FileNotFoundError:
        raise UnreadableImageError(f"{name}: no such file") from None
    except InvalidDicomError:
        raise UnreadableImageError(f"{name}: not a DICOM file") from None
    except Exception as error:  # pydicom raises nearly anything on damage.
        raise damaged(name, "DICOM file", error) from error
    if dataset is None:
        raise UnreadableImageError(f"{name}: packed as a whole: save it uncompressed")
    return dataset


def _why_unsupported(dataset: "Dataset") -> str:
    """Return why this kind of DICOM file is not judged; empty when it is."""
    modality = str(dataset.get("Modality") or "MR").strip().upper()
    if modality != "MR" and _has_pixels(dataset):
        kind = _MODALITIES.get(modality, "a picture of another kind")
        return f"{kind} (modality {modality}); the model judges MR slices only"
    part = str(dataset.get("BodyPartExamined") or "").replace(" ", "").upper()
    if part in _OTHER_PARTS:
        return f"a scan of another part of the body ({part.lower()})"
    return ""


def _has_pixels(dataset: "Dataset") -> bool:
    return any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))


def _fill_in(dataset: "FileDataset", name: str) -> None:
    """Check the size, and set the elements without which the pixels could not be read.

    Raises:
        UnreadableImageError: The file holds no picture, or its size is not accepted.
    """
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian  # noqa: PLC0415

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
        implicit = dataset.original_encoding[0]
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax
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
    _check_compression(dataset, name)


def _check_compression(dataset: "FileDataset", name: str) -> None:
    """Refuse a compression that no decoder at hand reads.

    Raises:
        UnreadableImageError: Names the compression.
    """
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415

    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated or (syntax in _LOSSLESS_JPEG and dataset.SamplesPerPixel == 1):
        return
    decoder = _DECODERS.get(syntax)
    twelve_bits = syntax == _EXTENDED_JPEG and dataset.BitsStored != 8  # (Pillow has no such.)
    if not decoder or twelve_bits or decoder not in get_decoder(syntax).available_plugins:
        raise UnreadableImageError(
            f"{name}: its compression ({syntax.name}) cannot be read: save it uncompressed"
        )


def _frames(
    dataset: "FileDataset", name: str, count: int, choice: SliceChoice, series: str
) -> Iterator[SliceImage]:
    """Yield the chosen frames of a file that holds several."""
    numbers = choose(name, count, choice, np.ones(count))
    frames = {number: _frame(dataset, name, number) for number in numbers}
    seen = [grey for grey, _, _ in frames.values() if grey is not None]
    shares = np.ones(count)
    if len({grey.shape for grey in seen}) == 1 and len(seen) == len(numbers):
        shares[numbers] = head_shares(np.stack(seen), 0)
    if choice.numbers is None:
        numbers = choose(name, count, choice, shares)
    volume = f"{count} frames of {dataset.Columns} x {dataset.Rows} pixels"
    for number in numbers:
        grey, reason, place = frames[number]
        reason = reason or why_headless(shares[number])
        yield SliceImage(name, number, grey, reason, volume=volume, series=series, affine=place)


def _frame(
    dataset: "FileDataset", name: str, number: int
) -> tuple[NDArray[np.uint8] | None, str, NDArray[np.float64] | None]:
    """Return a frame's grey values, why it cannot be judged (or nothing), and where it lies."""
    _use_frame_elements(dataset, number)
    pixels = _decode(dataset, number)
    if pixels.ndim == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR":
        grey = _colourless(dataset, pixels)
        if grey is None:
            reason = "a colour picture (a map or an overlay), not a slice as it was acquired"
            return None, reason, None
    else:
        grey = _shown(dataset, pixels)
    place = place_in_patient(dataset)
    spacing = dataset.get("PixelSpacing")
    if spacing and len(spacing) == 2:
        row_spacing, column_spacing = (float(length) for length in spacing)
        shape = (grey.shape[0], grey.shape[1])
        check_size(name, *square_shape(shape, row_spacing, column_spacing))
        grey = square_pixels(grey, row_spacing, column_spacing)
        place = None if place is None else place @ resampled(shape, grey.shape)
    return grey, why_unsuitable(grey), place


def _use_frame_elements(dataset: "Dataset", number: int) -> None:
    """Bring what enhanced files say frame by frame to where plain files say it."""
    groups = list(dataset.get("SharedFunctionalGroupsSequence") or ())[:1]
    groups += list(dataset.get("PerFrameFunctionalGroupsSequence") or ())[number : number + 1]
    for group in groups:
        for keyword in (
            "PixelValueTransformationSequence",
            "FrameVOILUTSequence",
            "PixelMeasuresSequence",
            "PlanePositionSequence",
            "PlaneOrientationSequence",
        ):
            for item in group.get(keyword) or ():
                dataset.update(item)


def _decode(dataset: "FileDataset", number: int) -> NDArray[Any]:
    """Return a frame's pixels as stored, `[rows, columns]` or, in colour, `[rows, columns, 3]`."""
    from pydicom.encaps import get_frame  # noqa: PLC0415
    from pydicom.pixels.utils import pixel_array  # noqa: PLC0415

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _LOSSLESS_JPEG and dataset.SamplesPerPixel == 1:
        count = int(dataset.get("NumberOfFrames") or 1)
        code = get_frame(dataset.PixelData, number, number_of_frames=count)
        pixels = decode_lossless_jpeg(code, (dataset.Rows, dataset.Columns))
        if dataset.PixelRepresentation == 1:
            unused = 16 - int(dataset.BitsStored)
            return (pixels << unused).view(np.int16) >> unused
        return pixels.astype(np.uint8) if dataset.BitsAllocated == 8 else pixels
    return pixel_array(dataset, index=number, decoding_plugin=_DECODERS.get(syntax, ""))


def _colourless(dataset: "Dataset", pixels: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Return the grey values of a picture stored in colour; None when it shows colours."""
    from pydicom.pixels.processing import apply_color_lut  # noqa: PLC0415

    if pixels.ndim == 2:
        pixels = apply_color_lut(pixels, dataset)
    values = pixels[..., :3].astype(np.float64)
    # (Lossy compression leaves traces of colour in grey pictures.)
    spread = np.percentile(np.ptp(values, axis=2), 99)
    if spread > 0.05 * max(float(values.max()), 1.0):
        return None
    grey = values.mean(axis=2)
    return np.rint(grey).astype(np.uint8) if pixels.dtype == np.uint8 else to_grey(grey)


def _shown(dataset: "Dataset", pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return grey pixels as they are meant to be seen."""
    from pydicom.pixels.processing import apply_modality_lut  # noqa: PLC0415

    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    padding = _padding(dataset, pixels)
    values = np.asarray(apply_modality_lut(pixels, dataset))
    if padding.any() and not padding.all():
        inner = values[~padding]
        values = np.where(padding, inner.max() if inverted else inner.min(), values)
    windowed = _windowed(dataset, values)
    if windowed is not None:
        grey = windowed
    elif pixels.dtype == np.uint8 and np.array_equal(values, pixels):
        grey = pixels
    else:
        grey = to_grey(values)
    return np.invert(grey) if inverted else grey


def _padding(dataset: "Dataset", pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels only fill up the frame."""
    first = dataset.get("PixelPaddingValue")
    if not isinstance(first, int):
        return np.zeros(pixels.shape, dtype=np.bool_)
    last = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((first, last if isinstance(last, int) else first))
    return (pixels >= low) & (pixels <= high)


def _windowed(dataset: "Dataset", values: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Return grey values by the file's own window or table; None when it has no sensible one."""
    from pydicom.pixels.processing import apply_voi_lut, apply_windowing  # noqa: PLC0415

    if not dataset.get("VOILUTSequence") and not (
        "WindowCenter" in dataset and "WindowWidth" in dataset
    ):
        return None
    try:
        shown = np.asarray(apply_voi_lut(values, dataset))
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, struct.error):
        return None  # The tags make no sense, the pixels may well.
    low, high = np.percentile(values, (1, 99))
    head = values > low + 0.12 * (high - low)
    inside = (shown > shown.min()) & (shown < shown.max())
    if not head.any() or inside[head].mean() < _SEEN_SHARE:
        return None
    if dataset.get("VOILUTSequence"):
        return to_grey(shown)
    # From what the window shows black to what it shows white, whether or not a pixel is.
    black, white = apply_windowing(np.array([-_BEYOND, _BEYOND]), dataset)
    grey = np.rint((shown - black) * (255.0 / (white - black)))
    return np.asarray(grey, dtype=np.uint8)
