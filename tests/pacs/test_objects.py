"""Reports and overlays about DICOM series: what they say, whom they name, what checkers find."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import EnhancedMRImageStorage

from dicom_files import PATIENT, write_dicom, write_series
from small_model import write_model
from tumorscope import RESEARCH_USE_ONLY
from tumorscope.cli.main import main
from tumorscope.inference import Classifier
from tumorscope.inference.overlay import draw_overlay
from tumorscope.pacs.deidentification import Pseudonyms
from tumorscope.pacs.objects import write_objects

SECRET = {
    "InstitutionName": "St. Elsewhere Hospital",
    "OperatorsName": "Doe^Operator",
    "PatientAddress": "Evergreen Terrace 742",
    "StudyDescription": "Confidential description",
    "DeviceSerialNumber": "SN-31337",
    "StationName": "MRSCANNER3",
}
"""What no object about the images needs."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "small.onnx", sharpness=60.0)


@pytest.fixture(scope="module")
def classifier(model: Path) -> Classifier:
    return Classifier.load(model, threads=1)


def objects(
    source: Path, out: Path, classifier: Classifier, **how: Any
) -> tuple[Dataset, Dataset | None]:
    """Write the objects about one series, and read them."""
    paths, refused = write_objects(classifier.predict(source), out, classifier, **how)
    assert refused == []
    read = [dcmread(path) for path in paths]
    return read[0], read[1] if len(read) > 1 else None


def content(report: Dataset, name: str) -> list[Dataset]:
    """All content items of that name, from top to bottom."""
    found = []

    def walk(item: Dataset) -> None:
        for child in item.get("ContentSequence", []):
            if child.ConceptNameCodeSequence[0].CodeMeaning == name:
                found.append(child)
            walk(child)

    walk(report)
    return found


def test_report_says_what_the_model_said(tmp_path: Path, classifier: Classifier) -> None:
    write_series(tmp_path / "in")
    answers = classifier.predict(tmp_path / "in")
    (series,) = classifier.join_series(answers)
    report, _ = objects(tmp_path / "in", tmp_path / "out", classifier)
    assert report.Modality == "SR"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    groups = content(report, "Measurement Group")
    assert len(groups) == 1 + len(answers)
    for group, answer in zip(groups, [series, *answers], strict=True):
        for label, code in (("glioma", "P_GLIOMA"), ("notumor", "P_NOTUMOR")):
            (value,) = (
                item.MeasuredValueSequence[0]
                for item in group.ContentSequence
                if item.ConceptNameCodeSequence[0].CodeValue == code
            )
            assert value.NumericValue == pytest.approx(100 * answer.probabilities[label], abs=1e-3)
            assert value.MeasurementUnitsCodeSequence[0].CodeValue == "%"
        assert content(group, "Algorithm Name")[0].TextValue == "small"
        assert content(group, "Algorithm Version")[0].TextValue == "0.1"
        (verdict,) = content(group, "Verdict of the model")
        assert verdict.ConceptCodeSequence[0].CodeValue == answer.verdict.upper()
        assert verdict.ConceptCodeSequence[0].CodingSchemeDesignator == "99TUMORSCOPE"
    (conclusion,) = content(report, "Conclusion")
    assert "4 slices classified by small 0.1" in conclusion.TextValue
    assert [item.TextValue for item in content(report, "Comment")] == [RESEARCH_USE_ONLY]
    highdicom.sr.ComprehensiveSR.from_dataset(report)  # (parses the template)


@pytest.mark.parametrize(
    ("label", "code", "scheme"),
    [
        ("glioma", "393564001", "SCT"),
        ("meningioma", "302820008", "SCT"),
        ("pituitary", "127024001", "SCT"),
        ("notumor", "NOTUMOR", "99TUMORSCOPE"),
        ("A class of one's own", "A_CLASS_OF_ONE_S", "99TUMORSCOPE"),
    ],
)
def test_finding_is_coded(tmp_path: Path, label: str, code: str, scheme: str) -> None:
    classes = [label, "other"]
    always = Classifier.load(write_model(tmp_path / "m.onnx", classes=classes), threads=1)
    write_series(tmp_path / "in", count=1)
    if always.predict(tmp_path / "in")[0].label != label:
        always = Classifier.load(write_model(tmp_path / "m.onnx", classes=classes[::-1]), threads=1)
    report, _ = objects(tmp_path / "in", tmp_path / "out", always)
    finding = content(report, "Finding")[0].ConceptCodeSequence[0]
    assert (finding.CodeValue, finding.CodingSchemeDesignator) == (code, scheme)


def test_objects_lie_in_the_same_study_and_refer_to_the_images(
    tmp_path: Path, classifier: Classifier
) -> None:
    paths = write_series(tmp_path / "in")
    first = dcmread(paths[0])
    report, overlay = objects(tmp_path / "in", tmp_path / "out", classifier)
    assert overlay is not None
    for made in (report, overlay):
        for keyword in ("StudyInstanceUID", *PATIENT):
            assert made[keyword].value == first[keyword].value
        assert made.SeriesInstanceUID != first.SeriesInstanceUID
        assert "small 0.1" in made.SoftwareVersions
        assert "research use only" in made.SeriesDescription
    assert report.SeriesInstanceUID != overlay.SeriesInstanceUID
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    referred = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence
    instances = {dcmread(path).SOPInstanceUID for path in paths}
    assert {item.ReferencedSOPInstanceUID for item in referred} == instances
    assert overlay.SourceImageSequence[0].ReferencedSOPInstanceUID in instances
    assert overlay.ImageComments == RESEARCH_USE_ONLY


def test_overlay_shows_the_slice_that_speaks_most(tmp_path: Path, classifier: Classifier) -> None:
    paths = write_series(tmp_path / "in", count=6)
    answers = list(classifier.stream(paths, keep_pictures=True))
    (series,) = classifier.join_series(answers)
    telling = max(
        (item for item in answers if (item.path, item.slice) in series.decided_by),
        key=lambda item: item.probabilities[series.label],
    )
    _, overlay = objects(tmp_path / "in", tmp_path / "out", classifier)
    assert overlay is not None
    source = dcmread(telling.path)
    assert overlay.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    drawn = np.asarray(draw_overlay(telling, note=""))
    shown = overlay.pixel_array
    assert shown.shape == drawn.shape
    panels = slice(68, 68 + 400)
    assert np.array_equal(shown[panels], drawn[panels])


def test_names_of_files_are_not_drawn(tmp_path: Path, classifier: Classifier) -> None:
    (path,) = write_series(tmp_path / "a", count=1)
    (tmp_path / "b").mkdir()
    shutil.copy(path, tmp_path / "b" / "x.dcm")
    _, first = objects(tmp_path / "a", tmp_path / "out", classifier)
    _, second = objects(tmp_path / "b", tmp_path / "out2", classifier)
    assert first is not None
    assert second is not None
    assert np.array_equal(first.pixel_array, second.pixel_array)


def test_frames_are_referred_to_from_one_on(tmp_path: Path, classifier: Classifier) -> None:
    frames = np.stack([dcmread(path).pixel_array for path in write_series(tmp_path / "s")])
    facts = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4", "SOPInstanceUID": "1.2.5"}
    write_dicom(tmp_path / "m.dcm", frames, SOPClassUID=EnhancedMRImageStorage, **facts)
    report, overlay = objects(tmp_path / "m.dcm", tmp_path / "out", classifier)
    assert overlay is not None
    references = [
        item.ReferencedSOPSequence[0].ReferencedFrameNumber
        for item in content(report, "Source of Measurement")[1:]
    ]
    assert references == [1, 2, 3, 4]
    assert overlay.SourceImageSequence[0].ReferencedFrameNumber in references
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert len(evidence.ReferencedSOPSequence) == 1


def test_a_refusal_is_reported_without_overlay(tmp_path: Path, classifier: Classifier) -> None:
    write_series(tmp_path / "in", BodyPartExamined="KNEE")
    report, overlay = objects(tmp_path / "in", tmp_path / "out", classifier)
    assert overlay is None
    assert content(report, "Finding") == []
    (verdict,) = content(report, "Verdict of the model")
    assert verdict.ConceptCodeSequence[0].CodeValue == "UNSUPPORTED"
    assert "another part of the body" in content(report, "Conclusion")[0].TextValue


def test_only_what_an_object_needs_is_copied(tmp_path: Path, classifier: Classifier) -> None:
    write_series(tmp_path / "in", **SECRET)
    paths, _ = write_objects(classifier.predict(tmp_path / "in"), tmp_path / "out", classifier)
    for path in paths:
        data = path.read_bytes()
        assert b"MRN-4711" in data
        for text in SECRET.values():
            assert text.encode() not in data


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "Ωμέγα^Ζωή"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (None, "OneNameOnly"),
    ],
)
def test_names_keep_their_letters(
    tmp_path: Path,
    classifier: Classifier,
    characters: str | list[str] | None,
    name: str,
    recwarn: pytest.WarningsRecorder,
) -> None:
    more = {"SpecificCharacterSet": characters} if characters else {}
    write_series(tmp_path / "in", count=1, **more, PatientName=name, PatientSex="?")
    for made in objects(tmp_path / "in", tmp_path / "out", classifier):
        assert made is not None
        assert made.PatientName == name
    assert not [item for item in recwarn if name[:5] in str(item.message)]


@pytest.mark.parametrize("characters", [None, ["", "ISO 2022 IR 87"]])
def test_models_keep_their_letters(tmp_path: Path, characters: list[str] | None) -> None:
    """Whatever letters the images' own character set has."""
    classes = ("größer", "kleiner", "pituitary", "other")
    path = write_model(tmp_path / "m.onnx", sharpness=60.0, classes=classes, name="modèle")
    name = "Yamada^Tarou=山田^太郎" if characters else "Yamada^Tarou"
    more = {"SpecificCharacterSet": characters} if characters else {}
    write_series(tmp_path / "in", count=1, **more, PatientName=name)
    for made in objects(tmp_path / "in", tmp_path / "out", Classifier.load(path, threads=1)):
        assert made is not None
        assert (made.PatientName, made.ManufacturerModelName) == (name, "modèle")


def test_the_same_images_give_the_same_objects(tmp_path: Path, classifier: Classifier) -> None:
    write_series(tmp_path / "in")
    uids = [
        [made.SOPInstanceUID for made in objects(tmp_path / "in", tmp_path / name, classifier)]
        for name in ("a", "b")
    ]
    assert uids[0] == uids[1]
    write_series(tmp_path / "in", count=5)
    report, _ = objects(tmp_path / "in", tmp_path / "c", classifier)
    assert report.SOPInstanceUID not in uids[0]


def test_deidentified_objects_say_nothing_of_the_patient(
    tmp_path: Path, classifier: Classifier
) -> None:
    paths = write_series(tmp_path / "in", **SECRET)
    source = dcmread(paths[0])
    pseudonyms = Pseudonyms(b"key")
    answers = classifier.predict(tmp_path / "in")
    written, _ = write_objects(answers, tmp_path / "out", classifier, pseudonyms=pseudonyms)
    assert len(written) == 2
    for path in written:
        data = path.read_bytes()
        for text in (*PATIENT.values(), *SECRET.values(), source.StudyInstanceUID):
            if len(text) == 1:  # (The sex: letters stand in many words.)
                continue
            assert text.encode() not in data
            assert text not in str(path.relative_to(tmp_path))
        made = dcmread(path)
        assert made.PatientIdentityRemoved == "YES"
        assert made.PatientSex == ""
        assert made.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        dates = [
            element
            for element in made.iterall()
            if element.VR in ("DA", "DT", "TM") and element.value
        ]
        assert {element.value for element in dates} == {"19000101", "000000"}


def test_pseudonyms_agree_within_a_key_and_differ_between_keys(
    tmp_path: Path, classifier: Classifier
) -> None:
    study = "1.2.826.0.1.3680043.10.999.1"
    write_series(tmp_path / "first")
    write_series(
        tmp_path / "second", count=2, SeriesInstanceUID=f"{study}.8", StudyInstanceUID=study
    )
    made = [
        objects(tmp_path / name, tmp_path / "out", classifier, pseudonyms=Pseudonyms(key))[0]
        for name, key in (("first", b"a"), ("second", b"a"), ("first", b"b"))
    ]
    for keyword in ("PatientID", "StudyInstanceUID"):
        assert made[0][keyword].value == made[1][keyword].value
        assert made[0][keyword].value != made[2][keyword].value
    assert made[0].SeriesInstanceUID != made[1].SeriesInstanceUID


def test_burned_in_names_are_told_and_kept_out(tmp_path: Path, classifier: Classifier) -> None:
    write_series(tmp_path / "in", BurnedInAnnotation="YES")
    _, overlay = objects(tmp_path / "in", tmp_path / "out", classifier)
    assert overlay is not None
    assert overlay.BurnedInAnnotation == "YES"
    _, hidden = objects(
        tmp_path / "in", tmp_path / "out", classifier, pseudonyms=Pseudonyms(b"key")
    )
    assert hidden is None


def test_a_series_that_nothing_can_refer_to_is_told(tmp_path: Path, classifier: Classifier) -> None:
    write_series(tmp_path / "good")
    write_series(tmp_path / "no study", StudyInstanceUID=None)
    write_series(tmp_path / "no series", SeriesInstanceUID=None)
    paths = write_series(tmp_path / "two studies")
    changed = dcmread(paths[0])
    changed.StudyInstanceUID = "1.2.3"
    changed.save_as(paths[0])
    answers = classifier.predict(tmp_path)
    written, refused = write_objects(answers, tmp_path / "out", classifier)
    assert len(written) == 4  # (A report and an overlay in each of the two studies.)
    assert len(refused) == 2
    assert any("no valid StudyInstanceUID" in line for line in refused)
    assert any("no valid SeriesInstanceUID" in line for line in refused)


def test_predict_writes_the_objects_beside_its_answers(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in")
    words = ["predict", str(tmp_path / "in"), "--model", str(model), "--json"]
    assert main([*words, "--dicom-sr", str(tmp_path / "out"), "--overlay", str(tmp_path)]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert len(list(tmp_path.glob("*.png"))) == 4
    (study,) = (tmp_path / "out").iterdir()
    assert sorted(path.name.split("_")[0] for path in study.iterdir()) == ["overlay", "report"]
    assert main([*words, "--dicom-sr", str(tmp_path / "hidden"), "--deidentify"]) == 0
    (hidden,) = (tmp_path / "hidden").iterdir()
    assert hidden.name != study.name


def test_predict_reports_on_series_in_an_archive_as_in_a_folder(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in" / "a")
    write_series(tmp_path / "in" / "b", seed=2)
    archive = Path(shutil.make_archive(str(tmp_path / "in"), "zip", tmp_path / "in"))
    words = ["predict", "--model", str(model), "--json"]
    for source in (tmp_path / "in", archive):
        out = tmp_path / f"out {source.name}"
        assert main([*words, str(source), "--dicom-sr", str(out)]) == 0
    written = [
        sorted(path.relative_to(out) for path in out.rglob("*.dcm"))
        for out in (tmp_path / "out in", tmp_path / "out in.zip")
    ]
    assert len(written[0]) == 4
    assert written[0] == written[1]
    for name in written[0]:
        folder, zipped = (dcmread(tmp_path / out / name) for out in ("out in", "out in.zip"))
        assert folder.PatientName == zipped.PatientName
        assert folder.get("PixelData") == zipped.get("PixelData")
    assert capsys.readouterr().err == ""


def test_predict_says_why_no_report_is_about_files_in_an_archive(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in", SeriesInstanceUID=None)
    archive = shutil.make_archive(str(tmp_path / "in"), "zip", tmp_path / "in")
    words = ["predict", "--model", str(model), archive, "--dicom-sr", str(tmp_path / "out")]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "no valid SeriesInstanceUID" in error


def test_predict_says_when_there_is_nothing_to_report_on(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in", Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    words = ["predict", str(tmp_path / "in"), "--model", str(model)]
    assert main([*words, "--dicom-sr", str(tmp_path / "out")]) == 1
    assert "no MR series in DICOM files" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words, "--deidentify"]) == 2
    assert "--dicom-sr" in capsys.readouterr().err


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("kind", ["classified", "refused", "frames"])
def test_checker_finds_no_error(
    tmp_path: Path, classifier: Classifier, kind: str, *, hidden: bool
) -> None:
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    paths = write_series(
        tmp_path / "in", **({"BodyPartExamined": "KNEE"} if kind == "refused" else {})
    )
    source = tmp_path / "in"
    if kind == "frames":
        first = dcmread(paths[0])
        first.PixelData = b"".join(dcmread(path).PixelData for path in paths)
        first.NumberOfFrames, first.SOPClassUID = len(paths), EnhancedMRImageStorage
        source = tmp_path / "frames.dcm"
        first.save_as(source)
    written, _ = write_objects(
        classifier.predict(source),
        tmp_path / "out",
        classifier,
        pseudonyms=Pseudonyms(b"key") if hidden else None,
    )
    assert written
    for path in written:
        done = subprocess.run(
            ["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        assert "ComprehensiveSR" in said or "SCImage" in said
        assert not [line for line in said.splitlines() if line.startswith("Error")], said
