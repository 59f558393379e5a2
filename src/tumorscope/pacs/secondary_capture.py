"""Builds a Secondary Capture of the overlay."""

from dataclasses import replace

import numpy as np
from highdicom import PhotometricInterpretationValues
from highdicom.sc import ConversionTypeValues, SCImage
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from tumorscope import RESEARCH_USE_ONLY, __version__
from tumorscope.inference.model_file import ModelFacts
from tumorscope.inference.overlay import draw_overlay
from tumorscope.inference.results import Prediction
from tumorscope.inference.series_prediction import SeriesPrediction
from tumorscope.pacs.references import MANUFACTURER, Source, series_number
from tumorscope.pacs.structured_report import verdict_in_words


def build_capture(
    answer: SeriesPrediction,
    shown: Prediction,
    source: Source,
    *,
    facts: ModelFacts,
    uids: tuple[str, str],
) -> Dataset:
    """Build the picture: the slice beside its heatmap, and the probabilities.

    Args:
        answer: The answer to the series.
        shown: The answer to the slice to be shown; holds the slice and has a label.
        source: The image that the slice is from.
        facts: What the model says about itself.
        uids: The picture's own series and instance.

    Returns:
        A Secondary Capture in colour, without the patient.
    """
    place = f"series {source.series_number}, instance {source.instance_number}"
    if shown.slice is not None:
        place += f", frame {shown.slice + 1}"
    # (The path is not drawn: names of files may be names of people.)
    titled = replace(shown, slice=None, path=f"{place}; the series: {verdict_in_words(answer)}")
    picture = draw_overlay(titled, note=f"{facts.title}. {RESEARCH_USE_ONLY}")
    capture = SCImage.from_ref_dataset(
        source.reference(),
        pixel_array=np.asarray(picture),
        photometric_interpretation=PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        series_instance_uid=uids[0],
        series_number=series_number(source, 99),
        sop_instance_uid=uids[1],
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=facts.name,
        software_versions=[f"{MANUFACTURER} {__version__}", facts.title],
        series_description="tumorscope overlay, research use only",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    capture.PatientOrientation = []  # Two panels and a table lie in no one direction.
    capture.BodyPartExamined = "BRAIN"
    capture.ConversionType = ConversionTypeValues.WSD.value
    capture.BurnedInAnnotation = "YES" if source.burned_in else "NO"
    capture.DerivationDescription = f"Slice, heatmap and probabilities by {facts.title}"
    capture.ImageComments = RESEARCH_USE_ONLY
    capture.SourceImageSequence = [_reference(source, shown)]
    return capture


def _reference(source: Source, shown: Prediction) -> Dataset:
    """Return the reference to the slice that is shown."""
    reference, purpose = Dataset(), Dataset()
    reference.ReferencedSOPClassUID = source.class_uid
    reference.ReferencedSOPInstanceUID = source.instance_uid
    if shown.slice is not None:
        reference.ReferencedFrameNumber = shown.slice + 1
    code = codes.DCM.SourceImageForImageProcessingOperation
    purpose.CodeValue, purpose.CodingSchemeDesignator = code.value, code.scheme_designator
    purpose.CodeMeaning = code.meaning
    reference.PurposeOfReferenceCodeSequence = [purpose]
    return reference
