"""Builds DICOM objects about series from their predictions, and writes them to files."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tumorscope.errors import DataError
from tumorscope.files import write_bytes
from tumorscope.images.dicom import is_dicom
from tumorscope.images.opening import open_slices
from tumorscope.images.reading import name_of
from tumorscope.images.slices import SliceChoice
from tumorscope.images.zip_archives import reopened
from tumorscope.inference.classifier import Classifier
from tumorscope.inference.results import Failure, Prediction
from tumorscope.inference.series_prediction import SeriesPrediction
from tumorscope.pacs.deidentification import Pseudonyms, mark_deidentified
from tumorscope.pacs.references import MR_CLASSES, derived_uid, read_source
from tumorscope.pacs.secondary_capture import build_capture
from tumorscope.pacs.segmentation import build_segmentation
from tumorscope.pacs.structured_report import build_report


@dataclass(frozen=True, eq=False)
class SeriesObjects:
    """What is said about a series.

    Attributes:
        report: The Structured Report.
        segmentation: The segmentation of the tumour map; None when no tumour was found or the
            images do not say where they lie.
        overlay: The Secondary Capture; None when no slice could be classified or it would show
            who the patient is and must not.
    """

    report: Dataset
    segmentation: Dataset | None
    overlay: Dataset | None

    @property
    def by_kind(self) -> dict[str, Dataset]:
        """The objects that there are, by what they are."""
        objects = {
            "report": self.report,
            "segmentation": self.segmentation,
            "overlay": self.overlay,
        }
        return {kind: dataset for kind, dataset in objects.items() if dataset is not None}


def build_objects(
    answer: SeriesPrediction,
    classifier: Classifier,
    *,
    pseudonyms: Pseudonyms | None = None,
    before: Dataset | None = None,
) -> SeriesObjects | None:
    """Build the objects about one series.

    Args:
        answer: The answer to the series, from DICOM files.
        classifier: What gave the answer.
        pseudonyms: Hides the patient; None says the same of the patient as the images do.
        before: An earlier report on the series, which the new one supersedes.

    Returns:
        The objects; None when the series is not of MR images.

    Raises:
        DataError: An image is damaged or lacks an identifier.
    """
    slices = answer.answers
    paths = dict.fromkeys(item.path for item in slices)
    sources = {name_of(file): read_source(file) for file in reopened(paths)}
    if not all(source.class_uid in MR_CLASSES for source in sources.values()):
        return None
    if pseudonyms:
        sources = {path: pseudonyms.hide(source) for path, source in sources.items()}
    facts = classifier.facts
    source = sources[slices[0].path]
    made_of = [f"{sources[item.path].instance_uid}/{item.slice}" for item in slices]
    missing = "; ".join(answer.missing)
    made_of += [missing, str(before.SOPInstanceUID)] if before else filter(None, [missing])
    how = [facts.title, str(classifier.confident), source.series_uid]
    uids = {
        kind: (derived_uid([kind, *how]), derived_uid([kind, *how, *sorted(made_of)]))
        for kind in ("report", "segmentation", "overlay")
    }
    segmentation = build_segmentation(
        answer, sources, _picture, facts=facts, uids=uids["segmentation"]
    )
    report = build_report(
        answer,
        sources,
        facts=facts,
        uids=uids["report"],
        segmentation=segmentation,
        before=before,
    )
    shown = _most_telling(answer, slices)
    overlay = None
    if shown is not None and not (pseudonyms and sources[shown.path].burned_in):
        overlay = build_capture(
            answer,
            replace(shown, picture=_picture(shown)),
            sources[shown.path],
            facts=facts,
            uids=uids["overlay"],
        )
    objects = SeriesObjects(report, segmentation, overlay)
    for dataset in objects.by_kind.values():
        dataset.update(source.identity)
        if not all(name.isascii() for name in (facts.title, *facts.classes)):
            dataset.SpecificCharacterSet = "ISO_IR 192"  # (The images' own may lack these letters.)
        dataset.InstanceNumber = report.InstanceNumber
        if pseudonyms:
            mark_deidentified(dataset)
    return objects


def write_objects(
    answers: Iterable[Prediction | Failure],
    folder: Path,
    classifier: Classifier,
    *,
    volume: int | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> tuple[list[Path], list[str]]:
    """Write the objects about each MR series among the answers.

    Args:
        answers: The answers to slices; those that are not from DICOM files are passed over.
        folder: Where to; each study has a folder of its own there.
        classifier: What gave the answers.
        volume: Which volume of series that hold several, from 0; None for the most suspicious.
        pseudonyms: Hides the patients.

    Returns:
        The files, and a line about each series for which none could be written.

    Raises:
        OSError: A file cannot be written.
    """
    paths: list[Path] = []
    refused: list[str] = []
    for answer in classifier.join_series(answers, volume=volume):
        if isinstance(answer, Failure):
            continue
        try:
            is_ours = _is_dicom(answer.answers[0])
            objects = build_objects(answer, classifier, pseudonyms=pseudonyms) if is_ours else None
        except DataError as error:
            refused.append(str(error))
            continue
        if objects:
            paths += save_objects(objects, folder)
    return paths, refused


def save_objects(objects: SeriesObjects, folder: Path) -> list[Path]:
    """Write the objects about a series, each whole or not at all.

    Args:
        objects: What is said about the series.
        folder: Where to; the study has a folder of its own there.

    Returns:
        The files.
    """
    return [
        save_object(dataset, folder / name_in_study(dataset, kind))
        for kind, dataset in objects.by_kind.items()
    ]


def save_object(dataset: Dataset, path: Path) -> Path:
    """Write an object whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    content = io.BytesIO()  # (What pydicom says of a full disk does not tell that it is.)
    dataset.save_as(content, enforce_file_format=True)
    write_bytes(path, content.getvalue())
    return path


def name_in_study(dataset: Dataset, kind: str) -> Path:
    """Return where an object is put: what it is and its UID, in a folder of its study's."""
    return Path(str(dataset.StudyInstanceUID), f"{kind}_{dataset.SOPInstanceUID}.dcm")


def _is_dicom(item: Prediction) -> bool:
    return bool(item.header.series) or is_dicom(next(reopened([item.path])))


def _most_telling(answer: SeriesPrediction, slices: Sequence[Prediction]) -> Prediction | None:
    """Return the slice that speaks most for the answer, of those that decided."""
    label = answer.label
    if label is None:
        return None
    deciding = [item for item in slices if (item.path, item.slice) in answer.decided_by]
    return max(deciding, key=lambda item: item.probabilities[label])


def _picture(shown: Prediction) -> NDArray[np.uint8]:
    """Return a slice's grey values, read once more: to keep them all takes much memory."""
    number = shown.slice
    choice = SliceChoice(numbers=None if number is None else slice(number, number + 1))
    grey = next(open_slices(next(reopened([shown.path])), choice)).grey
    assert grey is not None  # (It was classified.)
    return grey
