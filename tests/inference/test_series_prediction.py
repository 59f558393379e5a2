"""Many slices become one answer, decided by the most suspicious place."""

from typing import Any

import pytest

from tumorscope.images.slice_header import SliceHeader
from tumorscope.inference import Failure, Prediction
from tumorscope.inference.decision import OUT_OF_DISTRIBUTION
from tumorscope.inference.series_prediction import predict_series
from tumorscope.series.rule import SeriesRule


def answer(
    path: str, glioma: float, number: int | None = None, series: str = "", **more: Any
) -> Prediction:
    """An answer of a model that knows glioma and no tumour."""
    header = SliceHeader(
        file=path, frame=number, is_volume=path.endswith(".nii"), series=series, instance=number
    )
    probabilities = {"glioma": glioma, "notumor": 1 - glioma}
    label = max(probabilities, key=probabilities.__getitem__)
    return Prediction(
        **{
            "path": path,
            "header": header,
            "slice": number,
            "label": label,
            "probability": probabilities[label],
            "probabilities": probabilities,
            "verdict": "confident",
            "reason": "",
            "model": "m 1",
            "milliseconds": 2.0,
            **more,
        }
    )


def refusal(path: str, number: int | None = None, reason: str = "blank") -> Prediction:
    return answer(
        path, 0, number, label=None, probability=None, probabilities={}, reason=reason,
        verdict="unsupported", milliseconds=0.0,
    )  # fmt: skip


def test_the_most_suspicious_slices_decide() -> None:
    shares = [0.1, 0.9, 0.1, 0.1, 0.8, 0.95, 0.98, 0.2]
    (patient,) = predict_series(
        [answer("v.nii", p, n) for n, p in enumerate(shares)], confident=[0.9] * 4
    )
    assert not isinstance(patient, Failure)
    assert patient.label == "glioma"
    assert patient.probability == pytest.approx(0.881, abs=1e-3)
    assert patient.decided_by == (("v.nii", 4), ("v.nii", 5), ("v.nii", 6))
    assert (patient.verdict, patient.slices, patient.milliseconds) == ("uncertain", 8, 16)


def test_a_single_slice_that_stands_alone_does_not_decide() -> None:
    shares = [0.02, 0.01, 0.99, 0.01, 0.02]
    (patient,) = predict_series(
        [answer("v.nii", p, n) for n, p in enumerate(shares)], confident=[0.9] * 4
    )
    assert not isinstance(patient, Failure)
    assert patient.label == "notumor"
    assert patient.verdict == "uncertain"
    assert patient.probabilities["notumor"] > 0.7


def test_the_rule_of_the_model_file_decides() -> None:
    answers = [answer("v.nii", 0.8, n) for n in range(8)]
    rule = SeriesRule(slope=2.0, offset=-4.0, confident=0.7)
    (patient,) = predict_series(answers, confident=[0.99] * 4, rule=rule)
    assert not isinstance(patient, Failure)
    assert (patient.label, patient.verdict) == ("notumor", "confident")


@pytest.mark.parametrize(
    ("count", "verdict"), [(1, "uncertain"), (6, "uncertain"), (7, "confident")]
)
def test_the_rule_s_threshold_is_for_whole_scans(count: int, verdict: str) -> None:
    rule = SeriesRule(confident=0.7)
    answers = [answer("v.nii", 0.05, n) for n in range(count)]
    (patient,) = predict_series(answers, confident=[0.99] * 4, rule=rule)
    assert not isinstance(patient, Failure)
    assert (patient.label, patient.verdict) == ("notumor", verdict)


def test_what_belongs_together() -> None:
    answers = [
        answer("a/1.jpg", 0.1),
        Failure("a/2.jpg", "damaged"),
        answer("b/1.dcm", 0.9, series="1.2"),
        answer("a/3.jpg", 0.2),
        answer("b/2.dcm", 0.1, series="1.3"),
        answer("b/v.nii", 0.7, 3),
        refusal("b/m.nii", None),
    ]
    summed = predict_series(answers, confident=[0.9] * 4)
    found = [
        item.error if isinstance(item, Failure) else (item.path, item.series, item.slices)
        for item in summed
    ]
    series = [("b", "1.2", 1), ("b", "1.3", 1)]
    assert found == [("a", "", 2), "damaged", *series, ("b/v.nii", "", 1), ("b/m.nii", "", 0)]


def test_slices_that_cannot_be_judged_are_passed_over() -> None:
    answers = [answer("v.nii", 0.9, 0), refusal("v.nii", 1), answer("v.nii", 0.7, 2)]
    (patient,) = predict_series(answers, confident=[0.9] * 4)
    assert not isinstance(patient, Failure)
    assert patient.slices == 2
    assert 0.7 < (patient.probability or 0) < 0.9
    (nothing,) = predict_series(
        [refusal("v", 0), refusal("v", 1, "colour"), refusal("v", 2)], confident=[0.9] * 4
    )
    assert not isinstance(nothing, Failure)
    assert (nothing.verdict, nothing.label, nothing.reason) == ("unsupported", None, "blank")
    assert nothing.to_json()["probabilities"] is None


@pytest.mark.parametrize(
    ("strange", "blank", "verdict"), [(8, 0, "confident"), (9, 0, "uncertain"), (8, 9, "confident")]
)
def test_a_series_mostly_unlike_brain_mri_is_never_confident(
    strange: int, blank: int, verdict: str
) -> None:
    answers = [answer("v.nii", 0.99, number) for number in range(8)]
    reasons = [OUT_OF_DISTRIBUTION] * strange + ["blank"] * blank
    answers += [refusal("v.nii", 8 + number, reason) for number, reason in enumerate(reasons)]
    (found,) = predict_series(answers, confident=[0.9] * 4)
    assert not isinstance(found, Failure)
    assert (found.label, found.slices, found.verdict) == ("glioma", 8, verdict)
    told = f"{strange} of {8 + strange} slices are {OUT_OF_DISTRIBUTION}"
    assert found.reason == ("" if verdict == "confident" else told)


def test_model_that_knows_no_healthy_brain() -> None:
    answers = [
        answer("v", 0, n, probabilities={"glioma": p, "pituitary": 1 - p})
        for n, p in enumerate([0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.5])
    ]
    (patient,) = predict_series(answers, confident=[0.95] * 4)
    assert not isinstance(patient, Failure)
    assert (patient.label, patient.verdict) == ("pituitary", "uncertain")
    assert patient.to_json()["decided_by"][0] == {"path": "v", "slice": 3}


def dicom(number: int, **facts: Any) -> SliceHeader:
    return SliceHeader(
        file=f"b/{number}.dcm", study="1", series="1.2", instance=number,
        position=(0, 0, 5.0 * number), orientation=(1, 0, 0, 0, 1, 0), **facts,
    )  # fmt: skip


def asked(numbers: list[int], *failures: Failure) -> tuple[str, str, tuple[str, ...]]:
    """Verdict, reason and what lacks of a series of which these instances could be read."""
    slices = [answer(f"b/{n}.dcm", 0.01, header=dicom(n, digest=str(n))) for n in numbers]
    (series, *rest) = predict_series([*slices, *failures], confident=[0.5] * 4)
    assert rest == list(failures)
    assert not isinstance(series, Failure)
    return series.verdict, series.reason, series.missing


def test_a_series_that_lacks_slices_is_never_confident() -> None:
    assert asked([1, 2, 3, 4, 5, 6]) == ("confident", "", ())
    missing = "instance numbers 3 to 4 are missing and between the others 2 places are empty"
    reason = f"the series is incomplete ({missing})"
    assert asked([1, 2, 5, 6, 7, 8]) == ("uncertain", reason, (missing,))


def test_slices_that_cannot_be_read_are_missing_too() -> None:
    one, two = (Failure(f"b/{n}.dcm", "damaged", dicom(n)) for n in (3, 4))
    verdict, reason, missing = asked([1, 2, 5, 6, 7, 8], one, two)
    assert (verdict, missing) == ("uncertain", ("2 images cannot be read",))
    assert reason == "the series is incomplete (2 images cannot be read)"
    other = Failure("b/x.dcm", "damaged", SliceHeader(file="b/x.dcm", study="1", series="1.3"))
    nameless = Failure("b/y.dcm", "damaged", SliceHeader(file="b/y.dcm"))
    elsewhere = Failure("c/y.dcm", "damaged", SliceHeader(file="c/y.dcm"))
    assert asked([1, 2, 3], other, elsewhere, Failure("b/a.nii", "damaged"))[0] == "confident"
    assert asked([1, 2, 3], nameless)[2] == ("1 image cannot be read",)


def test_a_damaged_picture_beside_a_volume_does_not_matter() -> None:
    beside = Failure("v.jpg", "damaged", SliceHeader(file="v.jpg"))
    volume, _ = predict_series(
        [*(answer("v.nii", 0.01, n) for n in range(8)), beside], confident=[0.5] * 4
    )
    assert not isinstance(volume, Failure)
    assert volume.verdict == "confident"


def test_what_lacks_is_said_once() -> None:
    (whole,) = predict_series([answer("a/1.jpg", 0.01)], confident=[0.5] * 4)
    assert not isinstance(whole, Failure)
    assert whole.lacking("") is whole
    broken = whole.lacking("2 images were refused")
    assert broken.lacking("2 images were refused", "") is broken
    assert broken.lacking("the transfer was broken off").reason == (
        "the series is incomplete (2 images were refused; the transfer was broken off)"
    )


def test_an_object_of_another_study_is_no_note_of_this_one() -> None:
    scan = answer("a/1.dcm", 0.1, header=dicom(1))
    words = "no image: a DICOM object of another kind (Encapsulated PDF)"
    pdf, index = (
        answer(
            f"a/{name}", 0, label=None, probability=None, probabilities={}, reason=words,
            verdict="unsupported",
            header=SliceHeader(file=f"a/{name}", study=study, series=study, imageless=kind),
        )
        for name, study, kind in (("b", "2", "Encapsulated PDF"), ("DICOMDIR", "", "Directory"))
    )  # fmt: skip
    first, second = predict_series([pdf, scan, index], confident=[0.5] * 4)
    assert not isinstance(first, Failure)
    assert not isinstance(second, Failure)
    assert (first.series, first.verdict, first.note) == ("2", "unsupported", "")
    assert second.note == "1 DICOM object without an image left out (Directory)"
