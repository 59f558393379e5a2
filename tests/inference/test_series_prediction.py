"""Many slices become one answer, decided by the most suspicious place."""

from typing import Any

import pytest

from tumorscope.images.slice_header import SliceHeader
from tumorscope.inference import Failure, Prediction
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
    assert found == [("a", "", 2), "damaged", *series, ("b/v.nii", "", 1), ("b", "", 0)]


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


def test_model_that_knows_no_healthy_brain() -> None:
    answers = [
        answer("v", 0, n, probabilities={"glioma": p, "pituitary": 1 - p})
        for n, p in enumerate([0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.5])
    ]
    (patient,) = predict_series(answers, confident=[0.95] * 4)
    assert not isinstance(patient, Failure)
    assert (patient.label, patient.verdict) == ("pituitary", "uncertain")
    assert patient.to_json()["decided_by"][0] == {"path": "v", "slice": 3}
