"""Reads from a DICOM data set where its slices belong: series, place, what tells volumes apart."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from tumorscope.images.slice_header import SliceHeader, direction

if TYPE_CHECKING:
    from pydicom import Dataset

_ATTRIBUTES: Final[tuple[tuple[str, tuple["str | int", ...]], ...]] = (
    ("temporal position", ("TemporalPositionIdentifier", "TemporalPositionIndex")),
    ("echo", ("EchoNumbers",)),
    ("echo time", ("EffectiveEchoTime", "EchoTime")),
    # (Before 2004, and by habit since: the makers' own elements, Siemens', GE's and Philips'.)
    ("b-value", ("DiffusionBValue", 0x0019100C, 0x00431039, 0x20011003)),
    ("diffusion direction", ("DiffusionGradientOrientation", 0x0019100E, 0x20011004)),
    ("inversion time", ("InversionTimes", "InversionTime")),
    ("flip angle", ("FlipAngle",)),
    ("image type", ("FrameType", "ImageType")),
    ("component", ("ComplexImageComponent",)),
    ("contrast agent", ("ContrastBolusAgentNumber", "ContrastBolusAgent")),
    ("acquisition", ("FrameAcquisitionNumber", "AcquisitionNumber")),
    ("trigger time", ("NominalCardiacTriggerDelayTime", "TriggerTime")),
)
"""What may differ between images at one place, the weightiest first, and the elements that say."""

_FUNCTIONAL_GROUPS: Final = (
    "FrameContentSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "MREchoSequence",
    "MRDiffusionSequence",
    "MRImageFrameTypeSequence",
    "MRModifierSequence",
    "MRTimingAndRelatedParametersSequence",
    "CardiacSynchronizationSequence",
    "ContrastBolusUsageSequence",
)
"""Where enhanced files say these things, frame by frame (DICOM PS3.3, C.7.6.16 and C.8.13)."""

_STACK_DIMENSIONS: Final = frozenset((0x00209056, 0x00209057, 0x00200032, 0x00201041))
"""Dimension pointers that name the place in a stack: Stack ID, In-Stack Position, positions."""


def read_header(
    dataset: "Dataset", file: str, *, upload: int = 0, frame: int | None = None
) -> SliceHeader:
    """Read what a data set says about one of its slices; damaged elements count as missing.

    Args:
        dataset: The data set, as it stands in the file.
        file: The file's path or name.
        upload: Which upload it is, from 1.
        frame: The frame, from 0; None in a file of one.
    """
    items = list(_items(dataset, frame))
    # One place for all frames of a file says nothing about any of them.
    places = items if frame is None else items[:-1]
    return SliceHeader(
        file=file,
        upload=upload,
        frame=frame,
        study=_text(_value(dataset, "StudyInstanceUID")),
        series=_text(_value(dataset, "SeriesInstanceUID")),
        numbers=_numbers(dataset),
        position=_position(_first(places, ("ImagePositionPatient",))),
        location=_finite(_first(places, ("SliceLocation",))),
        orientation=direction(_first(places, ("ImageOrientationPatient",))),
        instance=_whole(_value(dataset, "InstanceNumber")),
        attributes=(
            *((name, _text(_first(items, elements))) for name, elements in _ATTRIBUTES),
            ("dimension", _dimensions(dataset, items)),
        ),
    )


def _items(dataset: "Dataset", frame: int | None) -> Iterator["Dataset"]:
    """Yield where a frame's elements stand, its own first, those of the whole file last."""
    per_frame = _value(dataset, "PerFrameFunctionalGroupsSequence") or []
    if frame is not None or len(per_frame) == 1:
        number = frame or 0
        shared = (_value(dataset, "SharedFunctionalGroupsSequence") or [])[:1]
        for group in (*per_frame[number : number + 1], *shared):
            for keyword in _FUNCTIONAL_GROUPS:
                for item in _value(group, keyword) or ():
                    yield item
                    yield from _value(item, "DiffusionGradientDirectionSequence") or ()
    yield dataset


def _value(item: "Dataset", element: "str | int") -> Any:
    """Return an element's value; None where it is missing or damaged."""
    try:
        value = item.get(element)
        return getattr(value, "value", value) if isinstance(element, int) else value
    except Exception:  # noqa: BLE001  (pydicom raises nearly anything on damage)
        return None


def _first(items: Sequence["Dataset"], elements: tuple["str | int", ...]) -> Any:
    """Return the first of these elements that says something."""
    for item in items:
        for element in elements:
            value = _value(item, element)
            if _text(value):
                return value
    return None


def _is_one(value: Any) -> bool:
    return isinstance(value, (str, bytes)) or not hasattr(value, "__getitem__")


def _text(value: Any) -> str:
    """Return a value as text: numbers without what their writing leaves open (1, 1.0, 01)."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.rstrip(b"\0 ").decode("latin-1")
    if not _is_one(value):
        parts = [_text(part) for part in value]
        return "\\".join(parts) if any(parts) else ""
    try:
        return f"{float(value):.6g}"
    except (ValueError, TypeError):
        return str(value).strip()


def _numbers(dataset: "Dataset") -> tuple[str, ...]:
    """Return patient, study and series number; nothing when there is no series number."""
    number = _whole(_value(dataset, "SeriesNumber"))
    if number is None:
        return ()
    patient, study = (
        next((text for text in (str(_value(dataset, key) or "") for key in keys) if text), "")
        for keys in (("PatientID", "PatientName"), ("StudyInstanceUID", "StudyID", "StudyDate"))
    )
    return patient, study, str(number)


def _position(value: Any) -> tuple[float, float, float] | None:
    """Return three numbers in mm; None when they make no sense."""
    try:
        x, y, z = (float(part) for part in value)
    except (ValueError, TypeError):
        return None
    return (x, y, z) if math.isfinite(x + y + z) else None


def _finite(value: Any) -> float | None:
    try:
        return float(value) if math.isfinite(float(value)) else None
    except (ValueError, TypeError):
        return None


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (ValueError, TypeError, OverflowError):
        return None


def _dimensions(dataset: "Dataset", items: Sequence["Dataset"]) -> str:
    """Return a frame's dimension indices, but for those that name its place."""
    values = _first(items, ("DimensionIndexValues",))
    if values is None:
        return ""
    values = [values] if _is_one(values) else values
    pointers = [
        _value(item, "DimensionIndexPointer")
        for item in _value(dataset, "DimensionIndexSequence") or ()
    ]
    if len(pointers) != len(values):
        return ""
    return "\\".join(
        str(value)
        for value, pointer in zip(values, pointers, strict=True)
        if pointer not in _STACK_DIMENSIONS
    )
