"""Builds a Structured Report (DICOM PS3.16, TID 1500) of the answers to a series."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from tumorscope import RESEARCH_USE_ONLY, __version__
from tumorscope.inference.decision import plain_name
from tumorscope.inference.model_file import ModelFacts
from tumorscope.inference.results import Prediction
from tumorscope.inference.series_prediction import SeriesPrediction
from tumorscope.pacs.codes import (
    BRAIN_MRI,
    VERDICT,
    class_code,
    coding_scheme,
    probability_code,
    verdict_code,
)
from tumorscope.pacs.references import MANUFACTURER, Source, derived_uid, series_number

_LONGEST: Final = 64
"""Characters of a value of the type LO."""

_Group: TypeAlias = (
    MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations
)

_QUALITATIVE_EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")


def build_report(
    answer: SeriesPrediction,
    sources: Mapping[str, Source],
    *,
    facts: ModelFacts,
    uids: tuple[str, str],
    segmentation: Dataset | None = None,
    before: Dataset | None = None,
) -> Dataset:
    """Build the report: a group for the series as a whole, then one a classified slice.

    Args:
        answer: The answer to the series.
        sources: The images by the paths in the answers; all of one study.
        facts: What the model says about itself.
        uids: The report's own series and instance.
        segmentation: The segmentation of the tumour map, without the patient.
        before: The report that this one supersedes.

    Returns:
        A Comprehensive SR, not verified by anybody, without the patient.
    """
    slices = answer.answers
    model = AlgorithmIdentification(
        name=facts.name,
        version=facts.version,
        manufacturer=MANUFACTURER,
        parameters=[f"{MANUFACTURER} {__version__}"],
    )
    decided = answer.decided_by or tuple((item.path, item.slice) for item in slices)
    groups: list[_Group] = [
        _group(
            answer,
            _images(decided, sources),
            name="series",
            uid=derived_uid([uids[1], "series"]),
            model=model,
            mean=answer.slices > 1,
        )
    ]
    groups += [
        _group(
            item,
            _images([(item.path, item.slice)], sources),
            name=f"slice {number}",
            uid=derived_uid([uids[1], str(number)]),
            model=model,
        )
        for number, item in enumerate(slices, start=1)
        if item.label is not None
    ]
    if segmentation is not None:
        groups.append(_map_group(answer, segmentation, sources, model=model))
    observer = ObserverContext(
        observer_type=CodedConcept.from_code(codes.DCM.Device),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=derived_uid([facts.title, __version__]),
            name=facts.title,
            manufacturer_name=MANUFACTURER,
            model_name=facts.name,
        ),
    )
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=BRAIN_MRI,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    content[0].ContentSequence.append(_in_words(answer))
    source = sources[slices[0].path]
    evidence = list({item.instance_uid: item.reference() for item in sources.values()}.values())
    report = ComprehensiveSR(
        evidence=evidence if segmentation is None else [*evidence, segmentation],
        content=content[0],
        series_instance_uid=uids[0],
        series_number=series_number(source, 98),
        sop_instance_uid=uids[1],
        instance_number=int(before.InstanceNumber) + 1 if before else 1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=facts.name,
        software_versions=[f"{MANUFACTURER} {__version__}", facts.title],
        series_description="tumorscope report, research use only",
        is_complete=not answer.missing,
        previous_versions=[before] if before else None,
        coding_schemes=[coding_scheme()],
    )
    if answer.missing:
        report.CompletionFlagDescription = "; ".join(answer.missing)[:_LONGEST]
    return report


def verdict_in_words(answer: SeriesPrediction | Prediction) -> str:
    """Return an answer as a sentence."""
    if answer.label is None or answer.probability is None:
        return f"{answer.verdict}: {answer.reason}"
    return f"{plain_name(answer.label)}, {100 * answer.probability:.1f} %, {answer.verdict}"


def _group(
    answer: SeriesPrediction | Prediction,
    images: list[SourceImageForMeasurementGroup],
    *,
    name: str,
    uid: str,
    model: AlgorithmIdentification,
    mean: bool = False,
) -> MeasurementsAndQualitativeEvaluations:
    """Return what is said about a slice, or about the series as a whole (TID 1501)."""
    said = [QualitativeEvaluation(VERDICT, verdict_code(answer.verdict))]
    if answer.label is not None:
        said.insert(0, QualitativeEvaluation(codes.DCM.Finding, class_code(answer.label)))
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=uid, identifier=name),
        algorithm_id=model,
        measurements=[
            Measurement(
                name=probability_code(label),
                value=round(100 * probability, 4),
                unit=codes.UCUM.Percent,
                derivation=codes.SCT.Mean if mean else None,
            )
            for label, probability in answer.probabilities.items()
        ],
        qualitative_evaluations=said,
        source_images=images,
    )


def _map_group(
    answer: SeriesPrediction,
    segmentation: Dataset,
    sources: Mapping[str, Source],
    *,
    model: AlgorithmIdentification,
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """Return the reference to the segmentation of the tumour map (TID 1411)."""
    source = sources[answer.answers[0].path]
    (segment,) = segmentation.SegmentSequence
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=segment.TrackingUID, identifier=segment.TrackingID
        ),
        referenced_segment=ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=1,
            source_series=SourceSeriesForSegmentation(source.series_uid),
        ),
        finding_type=class_code(str(answer.label)),
        algorithm_id=model,
        qualitative_evaluations=[QualitativeEvaluation(VERDICT, verdict_code(answer.verdict))],
    )


def _images(
    places: Sequence[tuple[str, int | None]], sources: Mapping[str, Source]
) -> list[SourceImageForMeasurementGroup]:
    """Return references to slices; frames of one file in one reference."""
    frames: dict[str, list[int]] = {}
    for path, number in places:
        frames.setdefault(path, []).extend([] if number is None else [number + 1])
    return [
        SourceImageForMeasurementGroup(
            referenced_sop_class_uid=sources[path].class_uid,
            referenced_sop_instance_uid=sources[path].instance_uid,
            referenced_frame_numbers=numbers or None,
        )
        for path, numbers in frames.items()
    ]


def _in_words(answer: SeriesPrediction) -> ContainerContentItem:
    """Return what a person reads: the answer and what it is worth."""
    classified = f"{answer.slices} slice{'' if answer.slices == 1 else 's'} classified"
    conclusion = f"{verdict_in_words(answer)}. {classified} by {answer.model}."
    if answer.label is not None and answer.reason:
        conclusion += f" Why not confident: {answer.reason}."
    if answer.note:
        conclusion += f" Note: {answer.note}."
    container = ContainerContentItem(
        name=_QUALITATIVE_EVALUATIONS, relationship_type=RelationshipTypeValues.CONTAINS
    )
    container.ContentSequence = ContentSequence(
        [
            TextContentItem(name, text, relationship_type=RelationshipTypeValues.CONTAINS)
            for name, text in (
                (codes.DCM.Conclusion, conclusion),
                (codes.DCM.Comment, RESEARCH_USE_ONLY),
            )
        ]
    )
    return container
