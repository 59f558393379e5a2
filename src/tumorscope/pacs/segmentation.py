"""Builds a DICOM segmentation of the tumour map."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

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

_DESCRIPTION: Final = "Class map at half its maximum; no outline by a person"


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
        A binary segmentation on the images' own pixels, without the patient; None when no tumour
        was found, or the images do not say where in the patient they lie.
    """
    if answer.label in (None, NO_TUMOUR):
        return None
    found: list[tuple[Source, NDArray[np.bool_]]] = []
    spaces = set()
    for item in answer.answers:
        source = sources[item.path]
        # (Frames of an enhanced file have their places elsewhere.)
        if item.label != answer.label or item.slice is not None or source.geometry is None:
            continue
        mask = _mask(item, picture(item), source.geometry)
        if mask.any():
            found.append((source, mask))
            spaces.add((source.geometry.FrameOfReferenceUID, mask.shape))
    if len(spaces) != 1:
        return None
    segmentation = Segmentation(
        source_images=[source.reference() for source, _ in found],
        pixel_array=np.stack([mask for _, mask in found]),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(answer, facts, uids[1])],
        series_instance_uid=uids[0],
        series_number=series_number(found[0][0], 97),
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
    return segmentation


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


def _mask(item: Prediction, grey: NDArray[np.uint8], geometry: Dataset) -> NDArray[np.bool_]:
    """Return where the map of a slice is at half its maximum, on the file's own pixels."""
    size = (int(geometry.Columns), int(geometry.Rows))
    if item.heatmap is None or not item.heatmap.max() > 0:
        return np.zeros(size[::-1], dtype=np.bool_)
    shape = (grey.shape[0], grey.shape[1])
    return np.asarray(place_heat(item.heatmap, find_head(grey), shape, size)) >= _HALF
