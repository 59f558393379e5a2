"""Reads from DICOM files what objects about them must repeat, and nothing else."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from tumorscope.errors import DataError
from tumorscope.images.dicom_pixels import frame_elements
from tumorscope.images.reading import name_of, openable
from tumorscope.images.slices import File

MANUFACTURER: Final = "tumorscope"

MR_CLASSES: Final = (
    MRImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
)
"""The kinds of DICOM objects that are answered with objects."""

_IDENTITY: Final = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
"""What says whose study it is: the elements that the standard asks of every object in it."""

_OPTIONAL: Final = ("SpecificCharacterSet", "IssuerOfPatientID")
"""Those that are left out where the file has none; the others are then empty."""

_REFERENCE: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "BurnedInAnnotation",
)

_FRAMES: Final = (
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
"""What says how many images a file holds, and where each lies."""

_PLACE: Final = (
    "Rows",
    "Columns",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
)
"""What says where an image lies in the patient."""

_MAY_LACK: Final = ("PositionReferenceIndicator", "SpacingBetweenSlices")
"""Those of it without which its pixels still have a place."""

_UID_SPACE: Final = uuid.UUID("5b1f6ad4-5d0c-4f0e-9d5e-0d1b8f6f3c55")


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """What an object repeats of the image that it is about.

    Attributes:
        identity: The elements that say whose study it is.
        study_uid: The study.
        series_uid: The series.
        class_uid: The kind of object.
        instance_uid: The object.
        series_number: The series' number; 0 when the file has none.
        instance_number: The object's number in the series; 0 when the file has none.
        burned_in: Whether the file says that its pixels show who the patient is.
        places: For each frame the elements that say where it lies in the patient, None when some
            are missing; empty when the file does not tell its frames apart.
    """

    identity: Dataset
    study_uid: str
    series_uid: str
    class_uid: str
    instance_uid: str
    series_number: int
    instance_number: int
    burned_in: bool
    places: tuple[Dataset | None, ...]

    def reference(self) -> Dataset:
        """Return the image as highdicom takes it, without the patient and the pixels."""
        dataset = Dataset()
        for keyword in _IDENTITY:
            if keyword not in _OPTIONAL:
                setattr(dataset, keyword, "")
        dataset.StudyInstanceUID = self.study_uid
        dataset.SeriesInstanceUID = self.series_uid
        dataset.SOPClassUID = self.class_uid
        dataset.SOPInstanceUID = self.instance_uid
        return dataset

    def place(self, frame: int | None) -> Dataset | None:
        """Return the elements that say where a slice lies: of a frame from 0, or the only one."""
        number = frame or 0
        return self.places[number] if number < len(self.places) else None


def read_source(file: File) -> Source:
    """Read what an object about this file must repeat.

    Args:
        file: A DICOM file, on a disk or in memory.

    Raises:
        DataError: The file is damaged, or lacks an identifier without which nothing can refer to
            it.
    """
    name = name_of(file)
    try:
        header = dcmread(
            openable(file),
            stop_before_pixels=True,
            force=True,
            specific_tags=[*_IDENTITY, *_REFERENCE, *_FRAMES, *_PLACE],
        )
        uids = {
            keyword: str(header.get(keyword) or "")
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID")
        }
        uids["SOPInstanceUID"] = str(header.get("SOPInstanceUID") or "")
        numbers = [int(header.get(key) or 0) for key in ("SeriesNumber", "InstanceNumber")]
        identity, places = _identity(header), _places(header)
    except Exception as error:  # pydicom raises nearly anything on damage.
        raise DataError(f"{name}: damaged DICOM file ({type(error).__name__})") from error
    for keyword, uid in uids.items():
        if not UID(uid).is_valid:
            raise DataError(f"{name}: no object can refer to it: it has no valid {keyword}")
    return Source(
        identity=identity,
        study_uid=uids["StudyInstanceUID"],
        series_uid=uids["SeriesInstanceUID"],
        class_uid=uids["SOPClassUID"],
        instance_uid=uids["SOPInstanceUID"],
        series_number=numbers[0],
        instance_number=numbers[1],
        burned_in=str(header.get("BurnedInAnnotation") or "NO").upper() != "NO",
        places=places,
    )


def derived_uid(names: Sequence[str]) -> str:
    """Return a UID that is always the same for the same names (DICOM PS3.5, B.2).

    So an object that is made twice of the same images, after a crash, is the same object.

    Args:
        names: What the object is and what it was made of.
    """
    return f"2.25.{uuid.uuid5(_UID_SPACE, '|'.join(names)).int}"


def _identity(header: Dataset) -> Dataset:
    """Return the elements that say whose study it is, as the file has them."""
    identity = Dataset()
    for keyword in _IDENTITY:
        if header.get(keyword):
            identity[keyword] = header[keyword]
        elif keyword not in _OPTIONAL:
            setattr(identity, keyword, "")
    return identity


def _places(header: Dataset) -> tuple[Dataset | None, ...]:
    frames = header.get("PerFrameFunctionalGroupsSequence") or ()
    if not frames and int(header.get("NumberOfFrames") or 1) > 1:
        return ()
    return tuple(_place(frame_elements(header, number)) for number in range(max(1, len(frames))))


def _place(elements: Dataset) -> Dataset | None:
    """Return the elements that say where an image lies in the patient; None if some are missing."""
    place = Dataset()
    for keyword in _PLACE:
        if elements.get(keyword):
            place[keyword] = elements[keyword]
        elif keyword not in _MAY_LACK:
            return None
    place.setdefault("PositionReferenceIndicator", "")
    return place


def series_number(source: Source, ending: int) -> int:
    """Return a number for a series about another one: 7 gives 798 and 799."""
    return 100 * min(max(source.series_number, 0), 20_000_000) + ending
