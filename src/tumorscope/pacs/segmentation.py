"""Builds a DICOM segmentation of the tumour map."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from highdicom import (
    AlgorithmIdentificationSequence,
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
)
from highdicom.enum import CoordinateSystemNames
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from tumorscope import __version__
from tumorscope.images.preparation import find_head
from tumorscope.inference.decision import NO_TUMOUR
from tumorscope.inference.heatmap import place_heat
from tumorscope.inference.model_file import ModelFacts
from tumorscope.inference.results import Prediction
from tumorscope.inference.series_prediction import SeriesPrediction
from tumorscope.pacs.codes import class_code
from tumorscope.pacs.references import MANUFACTURER, Source, derived_uid, series_number

_HALF: Final = 128
"""The level of a picture of the map from which a pixel belongs to the segment."""

_ALIKE: Final = 1e-4
"""Spacings (mm) and directions that differ by no more are the same: 0.03 mm across a head."""

_DESCRIPTION: Final = "Class map at half its maximum; no outline by a person"


@dataclass(frozen=True, eq=False)
class _Plane:
    """A slice on which the map shows something.

    Attributes:
        source: Its file.
        frame: Its number there, from 0.
        place: The elements that say where it lies.
        mask: Where the map is at half its maximum.
    """

    source: Source
    frame: int
    place: Dataset
    mask: NDArray[np.bool_]

    @property
    def in_frames(self) -> bool:
        """Whether its file is of a kind that may hold several."""
        return self.source.class_uid != MRImageStorage

    @property
    def space(self) -> tuple[object, ...]:
        """What all planes of a segmentation have in common; an enhanced file is one of its own."""
        file = self.source.instance_uid if self.in_frames else ""
        return file, self.place.FrameOfReferenceUID, self.mask.shape

    def is_parallel(self, other: "_Plane") -> bool:
        """Tell whether spacing and directions are the same, but for rounding."""
        numbers = [
            [*place.PixelSpacing, *place.ImageOrientationPatient]
            for place in (self.place, other.place)
        ]
        return bool(np.allclose(numbers[0], numbers[1], rtol=0, atol=_ALIKE))


def build_segmentation(
    answer: SeriesPrediction,
    sources: Mapping[str, Source],
    picture: Callable[[Prediction], NDArray[np.uint8]],
    *,
    facts: ModelFacts,
    uids: tuple[str, str],
) -> Dataset | None:
    """Build the segment: on each slice of the series' label, where the map is at half its maximum.

    Args:
        answer: The answer to the series.
        sources: The images by the paths in the answers.
        picture: Reads the grey values of a slice.
        facts: What the model says about itself.
        uids: The segmentation's own series and instance.

    Returns:
        A binary segmentation on the own pixels of the images of the volume that decided, without
        the patient; None when no tumour was found, or the images do not say where in the patient
        they lie, each elsewhere.
    """
    if answer.label in (None, NO_TUMOUR):
        return None
    found: list[_Plane] = []
    for item in answer.volume:
        source = sources[item.path]
        place = source.place(item.slice)
        if item.label != answer.label or place is None:
            continue
        mask = _mask(item, picture(item), place)
        if mask.any():
            found.append(_Plane(source, item.slice or 0, place, mask))
    positions = {tuple(plane.place.ImagePositionPatient) for plane in found}
    if len({plane.space for plane in found}) != 1 or len(positions) < len(found):
        return None
    if not all(plane.is_parallel(found[0]) for plane in found):
        return None
    segmentation = Segmentation(
        source_images=_images(found),
        pixel_array=np.stack([plane.mask for plane in found]),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(answer, facts, uids[1])],
        series_instance_uid=uids[0],
        series_number=series_number(found[0].source, 97),
        sop_instance_uid=uids[1],
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=facts.name,
        software_versions=facts.title,
        device_serial_number=facts.version,
        content_label="TUMOUR_MAP",
        content_description=_DESCRIPTION,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description="tumorscope tumour map, research use only",
    )
    segmentation["SoftwareVersions"].value = [f"{MANUFACTURER} {__version__}", facts.title]
    segmentation.BodyPartExamined = "BRAIN"
    _number_frames(segmentation, found)
    return segmentation


def _images(planes: Sequence[_Plane]) -> list[Dataset]:
    """Return the images as highdicom takes them; of an enhanced file, one with these frames."""
    first = planes[0].place
    if not planes[0].in_frames:
        return [_image(plane, first) for plane in planes]
    image = _image(planes[0], first)
    image.NumberOfFrames = len(planes)
    shared = Dataset()
    shared.PixelMeasuresSequence = PixelMeasuresSequence(
        first.PixelSpacing, first.SliceThickness, first.get("SpacingBetweenSlices")
    )
    shared.PlaneOrientationSequence = PlaneOrientationSequence(
        CoordinateSystemNames.PATIENT, first.ImageOrientationPatient
    )
    image.SharedFunctionalGroupsSequence = [shared]
    image.PerFrameFunctionalGroupsSequence = []
    for plane in planes:
        frame = Dataset()
        frame.PlanePositionSequence = PlanePositionSequence(
            CoordinateSystemNames.PATIENT, plane.place.ImagePositionPatient
        )
        image.PerFrameFunctionalGroupsSequence.append(frame)
    return [image]


def _image(plane: _Plane, first: Dataset) -> Dataset:
    """Return an image whose spacing and directions are the first one's to the last digit."""
    image = plane.source.reference()
    image.update(plane.place)
    image.PixelSpacing = first.PixelSpacing
    image.ImageOrientationPatient = first.ImageOrientationPatient
    return image


def _number_frames(segmentation: Dataset, planes: Sequence[_Plane]) -> None:
    """Let each frame refer to its own of an enhanced file: highdicom saw only those shown."""
    if not planes[0].in_frames:
        return
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        for derivation in frame.DerivationImageSequence:
            for image in derivation.SourceImageSequence:
                plane = planes[int(image.ReferencedFrameNumber) - 1]
                image.ReferencedFrameNumber = plane.frame + 1


def _description(answer: SeriesPrediction, facts: ModelFacts, uid: str) -> SegmentDescription:
    """Return what the segment is, and what found it."""
    finding = class_code(str(answer.label))
    return SegmentDescription(
        segment_number=1,
        segment_label=finding.meaning,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=finding,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=facts.name,
            family=codes.DCM.ArtificialIntelligence,
            version=facts.version,
        ),
        tracking_uid=derived_uid([uid, "tumour map"]),
        tracking_id="tumour map",
    )


def _mask(item: Prediction, grey: NDArray[np.uint8], place: Dataset) -> NDArray[np.bool_]:
    """Return where the map of a slice is at half its maximum, on the file's own pixels."""
    size = (int(place.Columns), int(place.Rows))
    if item.heatmap is None or not item.heatmap.max() > 0:
        return np.zeros(size[::-1], dtype=np.bool_)
    shape = (grey.shape[0], grey.shape[1])
    return np.asarray(place_heat(item.heatmap, find_head(grey), shape, size)) >= _HALF
