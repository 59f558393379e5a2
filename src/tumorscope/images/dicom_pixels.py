"""Shows the frames of a DICOM data set as they are meant to be seen, in grey."""

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.pixels.processing import (
    apply_color_lut,
    apply_modality_lut,
    apply_windowing,
)
from pydicom.pixels.utils import pixel_array

from tumorscope.images.dicom_decoders import DECODERS
from tumorscope.images.slices import to_grey

_FUNCTIONAL_GROUPS: Final = (
    "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
    "PixelMeasuresSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "MRImageFrameTypeSequence",
)
"""Where enhanced files say what belongs to a frame (DICOM PS3.3, C.7.6.16 and C.8.13)."""

_LARGE: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010, 0x52009229, 0x52009230))
"""Pixels and functional groups: what is not copied for each frame."""

_COMPONENTS: Final = {
    **dict.fromkeys(("P", "PHASE", "PHASE_MAP", "PHASE_DIFFERENCE"), "phase"),
    **dict.fromkeys(("FIELD_MAP", "FIELDMAP", "B0", "B0_MAP"), "field map"),
    **dict.fromkeys(("VELOCITY", "VELOCITY_MAP"), "velocity"),
    **dict.fromkeys(("R", "REAL"), "real part"),
    **dict.fromkeys(("I", "IMAGINARY"), "imaginary part"),
}
"""Words in Frame Type, Image Type and Complex Image Component for what is no magnitude."""

_SEEN_SHARE: Final = 0.6
"""A window that leaves less of the head between its black and its white hides too much."""

_BEYOND: Final = 1e12
"""Beyond every pixel's value."""


def frame_elements(dataset: Dataset, number: int) -> Dataset:
    """Return the elements that hold for a frame: enhanced files say them frame by frame.

    Args:
        dataset: The whole file; left as it is, so that no frame's elements stay for the next.
        number: The frame, from 0.
    """
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    groups = [*(dataset.get("SharedFunctionalGroupsSequence") or ())[:1]]
    groups += frames[number : number + 1]
    single = int(dataset.get("NumberOfFrames") or 1) == 1
    if single and not groups:
        return dataset
    elements = Dataset()
    elements.update({tag: item for tag, item in dataset.items() if tag not in _LARGE})
    if not single and "ImagePositionPatient" in elements:
        del elements.ImagePositionPatient  # (One place for all frames is that of none.)
    for group in groups:
        for keyword in _FUNCTIONAL_GROUPS:
            for item in group.get(keyword) or ():
                elements.update(item)
    return elements


def other_component(elements: Dataset) -> str:
    """Return what a frame shows instead of the magnitude of the signal; empty when it does not.

    Args:
        elements: What `frame_elements` returns.
    """
    kinds = elements.get("FrameType") or elements.get("ImageType") or ()
    words = [kinds] if isinstance(kinds, str) else kinds
    flavours = [str(word).upper().replace(" ", "_") for word in [*words][2:]]
    flavours.append(str(elements.get("ComplexImageComponent") or ""))
    return next((_COMPONENTS[word] for word in flavours if word in _COMPONENTS), "")


def show(dataset: FileDataset, elements: Dataset, number: int) -> NDArray[np.uint8] | None:
    """Return a frame as it is meant to be seen; None when it shows colours.

    Args:
        dataset: The whole file.
        elements: What `frame_elements` returns.
        number: The frame, from 0.

    Returns:
        Grey values 0 to 255, uint8, `[rows, columns]`.
    """
    plugin = DECODERS.get(dataset.file_meta.TransferSyntaxUID, "")
    try:
        pixels = pixel_array(dataset, index=number, decoding_plugin=plugin)
    except RuntimeError as error:  # (Behind the plug-in's name stands what is wrong.)
        raise ValueError(str(error).rpartition(f"{plugin}: ")[2] if plugin else error) from error
    if pixels.ndim == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _colourless(dataset, pixels)
    return _shown(elements, pixels)


def _colourless(dataset: Dataset, pixels: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Return the grey values of a picture stored in colour; None when it shows colours."""
    if pixels.ndim == 2:
        pixels = apply_color_lut(pixels, dataset)
    values = pixels[..., :3].astype(np.float64)
    # (Lossy compression leaves traces of colour in grey pictures.)
    spread = np.percentile(np.ptp(values, axis=2), 99)
    if spread > 0.05 * max(float(values.max()), 1.0):
        return None
    grey = values.mean(axis=2)
    return np.rint(grey).astype(np.uint8) if pixels.dtype == np.uint8 else to_grey(grey)


def _shown(dataset: Dataset, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return grey pixels as they are meant to be seen."""
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    padding = _padding(dataset, pixels)
    _mend_rescale(dataset)
    tables = _tables(dataset, "ModalityLUTSequence")
    values = _mapped(pixels, tables[0]) if tables else apply_modality_lut(pixels, dataset)
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


def _tables(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the tables in a sequence that are whole."""
    items = dataset.get(keyword) or ()
    return [item for item in items if "LUTDescriptor" in item and "LUTData" in item]


def _mapped(values: NDArray[Any], item: Dataset) -> NDArray[Any]:
    """Return values as a table maps them (DICOM PS3.3, C.11.1 and C.11.2).

    (pydicom counts the places in a table in as many bits as its entries have: one of 8 bits would
    begin anew every 256 values.)
    """
    count, first, _ = item.LUTDescriptor
    entries = item.LUTData
    if isinstance(entries, bytes):
        _, little_endian = item.original_encoding
        words = np.dtype(">u2" if little_endian is False else "<u2")
        is_packed = len(entries) < words.itemsize * (count or 2**16)
        entries = np.frombuffer(entries, np.uint8 if is_packed else words)
    table = np.atleast_1d(entries)[: count or 2**16]
    places = np.clip(np.rint(values) - first, 0, len(table) - 1)
    return np.asarray(table[places.astype(np.intp)])


def _mend_rescale(elements: Dataset) -> None:
    """Give rescale elements that say nothing the values that change nothing."""
    if "RescaleSlope" in elements or "RescaleIntercept" in elements:
        elements.RescaleSlope = _number(elements.get("RescaleSlope")) or 1.0
        elements.RescaleIntercept = _number(elements.get("RescaleIntercept"))


def _number(value: Any) -> float:
    """Return a value as a number; 0 when it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return number if np.isfinite(number) else 0.0


def _padding(dataset: Dataset, pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels only fill up the frame."""
    first = dataset.get("PixelPaddingValue")
    if not isinstance(first, int):
        return np.zeros(pixels.shape, dtype=np.bool_)
    last = dataset.get("PixelPaddingRangeLimit")
    ends = np.array([first, last if isinstance(last, int) else first])
    if pixels.dtype.kind in "iu":  # (Some write the value of signed pixels as if they had no sign.)
        ends = ends.astype(pixels.dtype)
    return np.asarray((pixels >= ends.min()) & (pixels <= ends.max()))


def _windowed(dataset: Dataset, values: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Return grey values by the file's own window or table; None when it has no sensible one."""
    tables = _tables(dataset, "VOILUTSequence")
    if not tables and not ("WindowCenter" in dataset and "WindowWidth" in dataset):
        return None
    try:
        shown = _mapped(values, tables[0]) if tables else apply_windowing(values, dataset)
        # From what the window shows black to what it shows white, whether or not a pixel is.
        ends = None if tables else apply_windowing(np.array([-_BEYOND, _BEYOND]), dataset)
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, struct.error):
        return None  # The tags make no sense, the pixels may well.
    low, high = np.percentile(values, (1, 99))
    head = values > low + 0.12 * (high - low)
    inside = (shown > shown.min()) & (shown < shown.max())
    if not head.any() or inside[head].mean() < _SEEN_SHARE:
        return None
    if ends is None:
        return to_grey(shown)
    black, white = ends
    grey = np.rint((shown - black) * (255.0 / (white - black)))
    return np.asarray(grey, dtype=np.uint8)
