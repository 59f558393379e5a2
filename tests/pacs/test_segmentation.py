"""The tumour map as a segmentation: where the map is, on the images' pixels, found by viewers."""

import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread

from dicom_files import PATIENT, write_enhanced, write_series
from small_model import write_model
from tumorscope.images import find_head
from tumorscope.images.opening import open_slices
from tumorscope.inference import Classifier
from tumorscope.inference.heatmap import place_heat
from tumorscope.inference.series_prediction import predict_series
from tumorscope.pacs.deidentification import Pseudonyms
from tumorscope.pacs.objects import write_objects

SPACE = "1.2.826.0.1.3680043.10.999.77"
PLACE = {"FrameOfReferenceUID": SPACE, "SliceThickness": 5}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A model that calls nearly everything a tumour, wherever it looks."""
    classes = ("glioma", "meningioma", "pituitary", "other")
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    return Classifier.load(
        write_model(path, sharpness=60.0, classes=classes, thresholds={"confident": [0.9] * 4}),
        threads=1,
    )


def made(
    source: Path, out: Path, classifier: Classifier, pseudonyms: Pseudonyms | None = None
) -> dict[str, Path]:
    paths, refused = write_objects(
        classifier.predict(source), out, classifier, pseudonyms=pseudonyms
    )
    assert refused == []
    return {path.name.partition("_")[0]: path for path in paths}


def check(path: Path) -> None:
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    done = subprocess.run(
        ["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert not [line for line in said.splitlines() if line.startswith("Error")], said


def test_the_segment_is_where_the_map_is_at_half_its_maximum(
    tmp_path: Path, classifier: Classifier
) -> None:
    write_series(tmp_path / "in", **PLACE, PixelSpacing=[2, 1])
    answers = classifier.predict(tmp_path / "in")
    (series,) = predict_series(answers, confident=classifier.confident)
    path = made(tmp_path / "in", tmp_path / "out", classifier)["segmentation"]
    segmentation = highdicom.seg.segread(path)
    assert segmentation.SegmentationType == "BINARY"
    (segment,) = segmentation.SegmentSequence
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue
    assert segmentation.FrameOfReferenceUID == SPACE
    shown = [item for item in answers if item.label == series.label]
    uids = [dcmread(item.path).SOPInstanceUID for item in shown]
    masks = segmentation.get_pixels_by_source_instance(uids, ignore_spatial_locations=True)
    for item, mask in zip(shown, masks[..., 0], strict=True):
        grey = next(open_slices(item.path)).grey
        expected = place_heat(item.heatmap, find_head(grey), grey.shape[:2], (96, 96))
        np.testing.assert_array_equal(mask > 0, np.asarray(expected) >= 128)
    for text in PATIENT.values():
        assert text in str(segmentation)
    check(path)


def test_the_report_refers_to_the_segment(tmp_path: Path, classifier: Classifier) -> None:
    write_series(tmp_path / "in", **PLACE)
    paths = made(tmp_path / "in", tmp_path / "out", classifier)
    report, segmentation = dcmread(paths["report"]), dcmread(paths["segmentation"])
    named = {
        str(item.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert segmentation.SOPInstanceUID in named
    groups = highdicom.sr.srread(paths["report"]).content.get_volumetric_roi_measurement_groups()
    (group,) = groups
    segment = group.referenced_segment
    assert segment.referenced_sop_instance_uid == segmentation.SOPInstanceUID
    assert group.tracking_uid == segmentation.SegmentSequence[0].TrackingUID
    check(paths["report"])


def test_a_deidentified_segment_leads_to_nobody(tmp_path: Path, classifier: Classifier) -> None:
    (first, *_) = write_series(tmp_path / "in", **PLACE)
    path = made(tmp_path / "in", tmp_path / "out", classifier, Pseudonyms(b"key"))["segmentation"]
    text = str(dcmread(path))
    image = dcmread(first)
    uids = (image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID, SPACE)
    assert not [word for word in (*PATIENT.values(), *uids) if len(word) > 1 and word in text]
    check(path)


def test_no_segment_without_a_tumour_or_a_place(tmp_path: Path, classifier: Classifier) -> None:
    write_series(tmp_path / "nowhere")
    assert set(made(tmp_path / "nowhere", tmp_path / "out", classifier)) == {"report", "overlay"}
    write_series(tmp_path / "knee", **PLACE, BodyPartExamined="KNEE")
    assert set(made(tmp_path / "knee", tmp_path / "out", classifier)) == {"report"}


def test_slices_that_lie_apart_stay_on_their_own_images(
    tmp_path: Path, classifier: Classifier
) -> None:
    paths = write_series(tmp_path / "in", **PLACE)
    path = made(tmp_path / "in", tmp_path / "out", classifier)["segmentation"]
    heights = {dcmread(image).SOPInstanceUID: image for image in paths}
    for frame in dcmread(path).PerFrameFunctionalGroupsSequence:
        (derivation,) = frame.DerivationImageSequence
        (image,) = derivation.SourceImageSequence
        place = dcmread(heights[image.ReferencedSOPInstanceUID]).ImagePositionPatient
        assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == list(place)


def test_each_frame_refers_to_its_own_of_an_enhanced_file(
    tmp_path: Path, classifier: Classifier
) -> None:
    frames = [dcmread(path).pixel_array // 8 for path in write_series(tmp_path / "in", **PLACE)]
    # Out of order, and at each place a second picture, of a later time.
    order = [(2, 1), (0, 1), (2, 2), (1, 1), (0, 2), (1, 2)]
    facts = [{"position": 5 * place, "time": time} for place, time in order]
    path = tmp_path / "enhanced.dcm"
    write_enhanced(path, [frames[place] for place, _ in order], facts, FrameOfReferenceUID=SPACE)
    answers = classifier.predict(path)
    (series,) = classifier.join_series(answers)
    found = made(path, tmp_path / "out", classifier)["segmentation"]
    shown = [item.slice for item in series.volume if item.label == series.label]
    assert len(shown) > 1
    referred = []
    for frame in dcmread(found).PerFrameFunctionalGroupsSequence:
        (derivation,) = frame.DerivationImageSequence
        (image,) = derivation.SourceImageSequence
        referred.append(image.ReferencedFrameNumber - 1)
        place, _ = order[referred[-1]]
        assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == [0, 0, 5 * place]
    assert sorted(referred) == sorted(shown)
    segmentation = highdicom.seg.segread(found)
    number = shown[0] + 1
    (uid,) = {dcmread(path).SOPInstanceUID}
    mask = segmentation.get_pixels_by_source_frame(uid, [number], ignore_spatial_locations=True)
    item = next(item for item in series.answers if item.slice == shown[0])
    grey = frames[order[shown[0]][0]].astype(np.uint8)
    expected = place_heat(item.heatmap, find_head(grey), grey.shape, grey.shape)
    np.testing.assert_array_equal(mask[0, ..., 0] > 0, np.asarray(expected) >= 128)
    check(found)


@pytest.mark.parametrize("kind", ["echoes", "planes"])
def test_of_several_volumes_the_one_that_decided_is_segmented(
    tmp_path: Path, classifier: Classifier, kind: str
) -> None:
    volumes = {
        "echoes": [{"EchoNumbers": number, "EchoTime": 10 * number} for number in (1, 2)],
        "planes": [
            {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
            {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
        ],
    }[kind]
    for number, facts in enumerate(volumes):
        for path in write_series(tmp_path / f"in{number}", **PLACE, **facts):
            image = dcmread(path)
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = (
                f"{image.SOPInstanceUID}.{number}"
            )
            image.save_as(path)
    answers = classifier.predict([tmp_path / "in0", tmp_path / "in1"])
    (series,) = classifier.join_series(answers)
    paths, refused = write_objects(answers, tmp_path / "out", classifier)
    assert refused == []
    (path,) = [path for path in paths if path.name.startswith("segmentation")]
    (folder,) = {Path(item.path).parent for item in series.volume}
    known = {dcmread(path).SOPInstanceUID for path in folder.iterdir()}
    for frame in dcmread(path).PerFrameFunctionalGroupsSequence:
        (derivation,) = frame.DerivationImageSequence
        (image,) = derivation.SourceImageSequence
        assert image.ReferencedSOPInstanceUID in known
    check(path)


def test_rounding_does_not_cost_the_segmentation(tmp_path: Path, classifier: Classifier) -> None:
    for number, path in enumerate(write_series(tmp_path / "in", **PLACE)):
        image = dcmread(path)
        image.PixelSpacing = [1, 1.0000001]
        image.ImageOrientationPatient = [1, 1e-6 * number, 0, 0, 1, 0]
        image.save_as(path)
    paths = made(tmp_path / "in", tmp_path / "out", classifier)
    assert dcmread(paths["segmentation"]).NumberOfFrames == 4
    check(paths["segmentation"])


def test_tilted_slices_have_no_segmentation(tmp_path: Path, classifier: Classifier) -> None:
    for number, path in enumerate(write_series(tmp_path / "in", **PLACE)):
        image = dcmread(path)
        image.ImageOrientationPatient = [1, 1e-3 * number, 0, 0, 1, 0]
        image.save_as(path)
    assert "segmentation" not in made(tmp_path / "in", tmp_path / "out", classifier)
