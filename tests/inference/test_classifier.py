"""Answers are those of the network, in order, with failures in their place."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, RLELossless

from dicom_files import picture, write_dicom, write_encapsulated
from heads import head
from small_model import SIDE, write_model
from tumorscope.classes import CLASSES
from tumorscope.errors import ArgumentError
from tumorscope.images import prepare, read_slice
from tumorscope.images.slices import SliceChoice
from tumorscope.images.zooms import zoomed
from tumorscope.inference import Classifier, Failure, InputError, Prediction
from tumorscope.inference.decision import NOT_FINITE
from tumorscope.inference.model_file import open_model
from tumorscope.inference.runtimes import Runtime


def phantom(seed: int, size: int = 80) -> NDArray[np.uint8]:
    return head(seed, label=CLASSES[seed % 4], size=size)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures, of which the third is damaged and the sixth blank."""
    where = tmp_path_factory.mktemp("pictures")
    for number in range(8):
        grey = phantom(number) if number != 5 else np.full((80, 80), 30, np.uint8)
        Image.fromarray(grey).save(where / f"{number}.png")
    (where / "2.png").write_bytes((where / "2.png").read_bytes()[:400])
    return where


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "m.onnx", sharpness=3)


@pytest.fixture(scope="module")
def classifier(model: Path) -> Classifier:
    return Classifier.load(model)


def by_hand(model: Path, grey: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
    session = onnxruntime.InferenceSession(model)
    inputs = grey[None, None].astype(np.float32)
    probabilities, maps = session.run(["probabilities", "heatmap"], {"grey": inputs})
    return probabilities[0], maps[0]


def test_answers_are_those_of_the_network(
    folder: Path, model: Path, classifier: Classifier
) -> None:
    answers = [
        answer
        for answer in classifier.predict(folder)
        if isinstance(answer, Prediction) and answer.label is not None
    ]
    assert len(answers) == 6
    for answer in answers:
        probabilities, maps = by_hand(model, prepare(read_slice(answer.path), SIDE))
        assert list(answer.probabilities) == list(CLASSES)
        assert list(answer.probabilities.values()) == pytest.approx(probabilities, abs=1e-5)
        assert answer.label == CLASSES[int(np.argmax(probabilities))]
        assert answer.probability == max(answer.probabilities.values())
        assert answer.heatmap is not None
        assert answer.heatmap == pytest.approx(maps[int(np.argmax(probabilities))], abs=1e-4)
        assert answer.model == "small 0.1"
        assert answer.milliseconds > 0
        assert answer.picture is None


@pytest.mark.parametrize("batch_size", [1, 3, 32])
@pytest.mark.parametrize("threads", [1, 4])
def test_order_is_kept_and_failures_stand_in_their_place(
    folder: Path, model: Path, batch_size: int, threads: int
) -> None:
    answers = Classifier.load(model, threads=threads).predict(folder, batch_size=batch_size)
    assert [Path(answer.path).stem for answer in answers] == list("01234567")
    failure, blank = answers[2], answers[5]
    assert isinstance(failure, Failure)
    assert "damaged picture" in failure.error
    assert failure.path not in failure.error
    assert isinstance(blank, Prediction)
    assert (blank.verdict, blank.label, blank.probability) == ("unsupported", None, None)
    assert "blank" in blank.reason
    expected = Classifier.load(model).predict([answer.path for answer in answers])
    for answer, other in zip(answers, expected, strict=True):
        if isinstance(answer, Prediction) and isinstance(other, Prediction):
            assert list(answer.probabilities.values()) == pytest.approx(
                list(other.probabilities.values()), abs=1e-5
            )


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("count", [3, 40])
def test_answers_before_an_error_of_the_inputs_are_given(
    model: Path, threads: int, count: int
) -> None:
    def inputs() -> Iterator[NDArray[np.uint8]]:
        for number in range(count):
            yield phantom(number)
        raise ConnectionError

    answers = Classifier.load(model, threads=threads).stream(inputs())
    given = []
    with pytest.raises(ConnectionError):
        given.extend(answers)
    assert len(given) == count


def test_fixed_batch_gives_the_same_answers(folder: Path, tmp_path: Path) -> None:
    fixed = Classifier.load(write_model(tmp_path / "f.onnx", sharpness=3, batch=4))
    free = Classifier.load(write_model(tmp_path / "g.onnx", sharpness=3))
    compared = 0
    for first, second in zip(fixed.predict(folder), free.predict(folder), strict=True):
        assert type(first) is type(second)
        if isinstance(first, Prediction) and isinstance(second, Prediction):
            assert first.label == second.label
            assert first.probability == pytest.approx(second.probability, abs=1e-5)
            compared += 1
    assert compared == 7


def test_model_without_maps(folder: Path, tmp_path: Path) -> None:
    classifier = Classifier.load(write_model(tmp_path / "m.onnx", heatmap=False))
    answer = classifier.predict(folder / "0.png")[0]
    assert isinstance(answer, Prediction)
    assert answer.label is not None
    assert answer.heatmap is None


def test_a_name_that_no_file_can_have_costs_the_others_nothing(
    folder: Path, classifier: Classifier
) -> None:
    answer, failure = classifier.predict([folder / "0.png", "n" * 300])
    assert isinstance(answer, Prediction)
    assert failure == Failure("n" * 300, "cannot be read (File name too long)")


def test_prepared_inputs(folder: Path, classifier: Classifier) -> None:
    inputs = np.stack([prepare(phantom(number), SIDE) for number in range(5)])
    probabilities = classifier.probabilities(inputs, batch_size=2)
    assert probabilities.shape == (5, 4)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    answer = classifier.predict(folder / "1.png")[0]
    assert isinstance(answer, Prediction)
    assert list(answer.probabilities.values()) == pytest.approx(probabilities[1], abs=1e-5)
    assert classifier.probabilities(inputs[:0]).shape == (0, 4)
    for wrong in (inputs[0], inputs[:, :10], inputs.astype(np.float32)):
        with pytest.raises(InputError, match=r"uint8 of shape \[N, 32, 32\]"):
            classifier.probabilities(wrong)


def test_arrays_and_files_give_the_same_answer(folder: Path, classifier: Classifier) -> None:
    from_array, from_file = classifier.predict([phantom(1), folder / "1.png"])
    assert isinstance(from_array, Prediction)
    assert isinstance(from_file, Prediction)
    assert from_array.path == "array 0"
    assert from_array.probabilities == pytest.approx(from_file.probabilities, abs=1e-5)
    (single,) = classifier.predict(phantom(1))
    assert isinstance(single, Prediction)
    assert single.label == from_array.label


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            phantom(0).astype(np.float32) / 255,
            r"uint8.*not float32 from 0 to 0\.\d+; .*value_range",
        ),
        (phantom(0).astype(np.uint16), "not uint16 from"),
        (np.stack([phantom(0)] * 3, axis=-1), r"not of shape \[80, 80, 3\]; give colour as PIL"),
        (phantom(0)[0], r"\[height, width\], not of shape \[80\]$"),
        ((phantom(0) > 99).astype(np.uint8), "0 and 1 only"),
        (phantom(0)[:20], "80x20 pixels are too few"),
        (np.zeros((0, 80), np.float64), "not float64;"),
    ],
)
def test_wrong_arrays_are_refused(
    classifier: Classifier, wrong: NDArray[Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"array 1: .*{message}"):
        classifier.predict([phantom(0), wrong])
    with pytest.raises(ValueError, match=message):
        list(classifier.stream([wrong]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int16])
def test_arrays_with_a_value_range_are_scaled(classifier: Classifier, dtype: type) -> None:
    grey = phantom(1).copy()
    low, high = (0, 1) if np.issubdtype(dtype, np.floating) else (100, 3160)
    values = (low + grey.astype(np.float64) * (high - low) / 255).astype(dtype)
    values[0, 0] = high + 10  # (cut off)
    grey[0, 0] = 255
    plain, scaled = classifier.predict(grey) + classifier.predict(values, value_range=(low, high))
    assert isinstance(plain, Prediction)
    assert isinstance(scaled, Prediction)
    assert scaled.probabilities == pytest.approx(plain.probabilities, abs=1e-5)


@pytest.mark.parametrize(
    ("values", "span", "message"),
    [
        (np.zeros((80, 80)), (1, 0), "a value range is two numbers"),
        (np.zeros((80, 80)), (0, math.nan), "a value range is two numbers"),
        (np.zeros((80, 80)), (1,), "a value range is two numbers"),
        (np.zeros((80, 80)), 255, "a value range is two numbers"),
        (np.full((80, 80), math.nan), (0, 1), "array 0: holds NaN or infinity"),
        (
            np.zeros((80, 80, 3)),
            (0, 1),
            r"array 0: .*not of shape \[80, 80, 3\]; give colour as PIL",
        ),
        (np.full((80, 80), "x"), (0, 1), "array 0: expected grey values"),
    ],
)
def test_value_ranges_that_mean_nothing(
    classifier: Classifier, values: NDArray[Any], span: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        classifier.predict(values, value_range=span)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "I;16", "I", "F", "CMYK", "1"])
def test_pictures_in_memory_are_read_as_those_on_a_disk(
    classifier: Classifier, tmp_path: Path, mode: str
) -> None:
    grey = Image.fromarray(phantom(1))
    deep = Image.fromarray(phantom(1).astype(np.uint16) * 200)
    picture = deep if mode == "I;16" else (deep if mode in "IF" else grey).convert(mode)
    assert picture.mode == mode
    path = tmp_path / ("p.jpg" if mode == "CMYK" else "p.tif")
    picture.save(path, **({"quality": 100} if mode == "CMYK" else {}))
    from_memory, from_file = classifier.predict([picture, path])
    assert isinstance(from_memory, Prediction)
    assert isinstance(from_file, Prediction)
    assert from_memory.path == "image 0"
    close = 0.02 if mode == "CMYK" else 1e-6
    assert from_memory.probabilities == pytest.approx(from_file.probabilities, abs=close)


def test_pictures_in_memory_are_put_upright(classifier: Classifier, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(phantom(1)).save(tmp_path / "p.png", exif=exif)
    with Image.open(tmp_path / "p.png") as picture:
        from_memory, from_file = classifier.predict([picture, tmp_path / "p.png"])
    assert from_memory.probabilities == from_file.probabilities  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"confident": 1.5}, "confident is a number between 0 and 1, not 1.5"),
        ({"confident": math.nan}, "confident is a number between 0 and 1, not nan"),
        ({"threads": 0}, "threads is a whole number of 1 or more, not 0"),
        ({"threads": 1.5}, "threads is a whole number of 1 or more, not 1.5"),
        ({"threads": 100_000}, "threads is at most 1,024, not 100000"),
        ({"providers": "cpu"}, r"providers is a list of names, as in \['cpu'\]"),
    ],
)
def test_a_model_is_not_loaded_with_settings_that_mean_nothing(
    model: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        Classifier.load(model, **given)
    assert Classifier.load(model, confident=1, threads=1).confident == (1,) * len(CLASSES)


def test_a_batch_holds_a_slice_or_more(classifier: Classifier) -> None:
    for asked in (
        lambda size: classifier.predict(phantom(0), batch_size=size),
        lambda size: classifier.predict_series([phantom(0)] * 2, batch_size=size),
        lambda size: classifier.probabilities(np.zeros((2, SIDE, SIDE), np.uint8), batch_size=size),
    ):
        with pytest.raises(ArgumentError, match="batch_size is a whole number of 1 or more, not 0"):
            asked(0)
    with pytest.raises(ArgumentError, match="volume is a whole number of 0 or more, not -1"):
        classifier.predict_series([phantom(0)] * 2, volume=-1)


def test_what_is_no_input_is_refused(classifier: Classifier) -> None:
    with pytest.raises(InputError, match="input 1: a float is no path, array of NumPy or PIL"):
        classifier.predict([phantom(0), 0.5])  # type: ignore[list-item]


def test_answers_are_readable(folder: Path, classifier: Classifier) -> None:
    answers = classifier.predict([folder / "0.png", folder / "5.png"])
    first, second = map(repr, answers)
    assert isinstance(answers[0], Prediction)
    assert first.startswith(f"<Prediction {folder / '0.png'}: {answers[0].label} ")
    assert " %, " in first
    assert second.startswith(f"<Prediction {folder / '5.png'}: unsupported, ")
    assert len(first) < 200 + len(str(folder))


def test_verdict_follows_the_threshold(folder: Path, model: Path) -> None:
    path = folder / "0.png"
    for confident, verdict in ((0.0, "confident"), (1.0, "uncertain")):
        (answer,) = Classifier.load(model, confident=confident).predict(path)
        assert isinstance(answer, Prediction)
        assert answer.verdict == verdict
        assert bool(answer.reason) == (verdict == "uncertain")
        first, second = sorted(answer.probabilities.values(), reverse=True)[:2]
        if answer.reason.startswith("between "):
            assert f"({100 * first:.0f} %)" in answer.reason
            assert f"({100 * second:.0f} %)" in answer.reason


@pytest.mark.parametrize("options", [{}, {"tta": True}])
@pytest.mark.parametrize(
    "broken", [{"sharpness": math.nan}, {"ood_score": math.nan}, {"ood_score": math.inf}]
)
def test_outputs_that_are_no_numbers_are_no_answer(
    folder: Path, tmp_path: Path, broken: dict[str, float], options: dict[str, bool]
) -> None:
    classifier = Classifier.load(write_model(tmp_path / "m.onnx", **broken), **options)
    (answer,) = classifier.predict(folder / "0.png")
    assert isinstance(answer, Prediction)
    assert (answer.verdict, answer.label, answer.heatmap) == ("unsupported", None, None)
    assert answer.reason == NOT_FINITE
    json.dumps(answer.to_json(), allow_nan=False)


def test_ood_scores_above_the_threshold_are_unsupported(folder: Path, tmp_path: Path) -> None:
    thresholds = {"confident": [0.2] * 4, "ood_threshold": 2.0}
    for score, verdict in ((2.5, "unsupported"), (1.5, "confident")):
        path = write_model(tmp_path / "m.onnx", ood_score=score, thresholds=thresholds)
        (answer,) = Classifier.load(path).predict(folder / "0.png")
        assert isinstance(answer, Prediction)
        assert answer.verdict == verdict


def test_three_zooms_answer_with_their_mean(folder: Path, model: Path) -> None:
    careful = Classifier.load(model, tta=True)
    spread = 0.0
    for plain, answer in zip(
        Classifier.load(model).predict(folder), careful.predict(folder), strict=True
    ):
        if isinstance(plain, Failure) or isinstance(answer, Failure) or plain.label is None:
            assert type(plain) is type(answer)
            continue
        grey = prepare(read_slice(plain.path), SIDE)
        views = [grey, *(view[0] for view in zoomed(grey[None]))]
        each = np.array([by_hand(model, view)[0] for view in views])
        spread = max(spread, float(np.ptp(each, axis=0).max()))
        assert list(answer.probabilities.values()) == pytest.approx(each.mean(axis=0), abs=1e-5)
        assert answer.label == CLASSES[int(each.mean(axis=0).argmax())]
        assert answer.model == "small 0.1 (tta)"
        if answer.label == plain.label:
            assert np.array_equal(answer.heatmap, plain.heatmap)
    assert spread > 1e-3


def test_many_slices_are_answered_as_few_are(
    folder: Path, model: Path, classifier: Classifier
) -> None:
    files = [folder / f"{number}.png" for number in range(8)]
    few = classifier.predict(files)
    many = Classifier.load(model, threads=3).predict(files * 25)
    for answer, expected in zip(many, few * 25, strict=True):
        assert (answer.path, type(answer)) == (expected.path, type(expected))
        if isinstance(answer, Prediction) and isinstance(expected, Prediction):
            assert (answer.verdict, answer.label) == (expected.verdict, expected.label)
            assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


def test_files_of_a_fixed_batch_are_filled_up_at_the_end_alone(
    folder: Path, tmp_path: Path
) -> None:
    calls = []

    def counted(runtime: Runtime) -> Runtime:
        def call(values: NDArray[Any]) -> Any:
            calls.append(len(values))
            return runtime.call(values)

        assert runtime.on_one_core is not None
        return replace(runtime, call=call, on_one_core=lambda: counted(runtime))

    opened = open_model(write_model(tmp_path / "m.onnx", batch=16))
    classifier = Classifier(replace(opened, runtime=counted(opened.runtime)), threads=2)
    assert len(classifier.predict([folder / "0.png"] * 160)) == 160
    assert calls == [16] * 10


def test_a_model_file_that_is_replaced_meanwhile_changes_no_answer(
    folder: Path, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "model.onnx", sharpness=3)
    classifier = Classifier.load(path, threads=2)
    write_model(path, sharpness=0.5)
    answers = classifier.predict([folder / "0.png"] * 200)
    probabilities = [item.probability for item in answers if isinstance(item, Prediction)]
    assert probabilities == pytest.approx([probabilities[0]] * 200, abs=1e-5)


def test_stream_takes_inputs_as_it_goes(folder: Path, classifier: Classifier) -> None:
    taken = []

    def endless() -> Any:
        while True:
            taken.append(1)
            yield folder / "0.png"

    stream = classifier.stream(endless(), batch_size=4, keep_pictures=True)
    for _ in range(20):
        answer = next(stream)
    assert isinstance(answer, Prediction)
    assert np.array_equal(answer.picture, phantom(0))
    stream.close()
    assert 20 <= len(taken) < 60


def test_same_slice_in_every_format(tmp_path: Path, classifier: Classifier) -> None:
    grey = phantom(6, size=128)
    deep = grey.astype(np.uint16) * 13 + 100
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey).save(tmp_path / "b.jpg", quality=95)
    write_dicom(tmp_path / "c.dcm", grey)
    window = {"WindowCenter": 1700, "WindowWidth": 3400, "RescaleSlope": 1, "RescaleIntercept": 0}
    write_dicom(tmp_path / "d.dcm", deep, **window)
    code = picture(deep, "JPEG2000", irreversible=False, no_jp2=True)
    write_encapsulated(tmp_path / "e.dcm", deep, JPEG2000Lossless, [code])
    dataset = dcmread(tmp_path / "d.dcm")
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "f.dcm")
    # Stored so that the axial slice looks as the picture does.
    volume = grey.T[::-1, ::-1, None]
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "g.nii.gz")
    nibabel.save(nibabel.Nifti1Image(volume.astype(np.int16), np.eye(4)), tmp_path / "h.nii")
    answers = classifier.predict(sorted(tmp_path.iterdir()))
    assert len(answers) == 8
    first = answers[0]
    assert isinstance(first, Prediction)
    for answer in answers:
        assert isinstance(answer, Prediction)
        assert answer.label == first.label, answer.path
        assert answer.probabilities == pytest.approx(first.probabilities, abs=0.02), answer.path


def test_volumes_give_an_answer_a_slice(tmp_path: Path, classifier: Classifier) -> None:
    slices = [phantom(3).T[::-1, ::-1]] * 6
    nibabel.save(nibabel.Nifti1Image(np.stack(slices, -1), np.eye(4)), tmp_path / "v.nii.gz")
    answers = classifier.predict(tmp_path / "v.nii.gz", choice=SliceChoice.parse("axial", "2:5"))
    assert [answer.slice for answer in answers if isinstance(answer, Prediction)] == [2, 3, 4]
    nothing = classifier.predict(tmp_path / "v.nii.gz", choice=SliceChoice.parse("axial", "9"))
    assert len(nothing) == 1
    assert isinstance(nothing[0], Failure)


def test_folders_without_pictures_and_missing_files(tmp_path: Path, classifier: Classifier) -> None:
    answers = classifier.predict([tmp_path, tmp_path / "no.jpg", "nowhere"])
    errors = [answer.error for answer in answers if isinstance(answer, Failure)]
    assert errors == [
        "no image file in this folder",
        "no such file",
        "no such file",
    ]


def test_progress_counts_files(folder: Path, classifier: Classifier) -> None:
    seen = []

    def count(items: Any, *, total: int, label: str) -> Any:
        seen.append((total, label))
        return items

    classifier.predict(folder, progress=count)
    assert seen == [(8, "classifying")]


def test_one_answer_for_a_series(tmp_path: Path, classifier: Classifier) -> None:
    slices = [phantom(3)] * 4
    volume = np.stack([grey.T[::-1, ::-1] for grey in slices], -1)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "v.nii.gz")
    from_file = classifier.predict_series(tmp_path / "v.nii.gz")
    from_arrays = classifier.predict_series([phantom(number) for number in range(4)])
    for answer in (from_file, from_arrays):
        assert answer.slices == len(answer.answers) == 4
        assert answer.note == ""
        assert repr(answer).startswith(f"<SeriesPrediction {answer.path}: {answer.label} ")
        assert repr(answer).endswith(", 4 slices>")
    assert from_file.probabilities == pytest.approx(
        classifier.predict_series(tmp_path).probabilities, abs=1e-6
    )


def test_a_series_says_what_could_not_be_read(tmp_path: Path, classifier: Classifier) -> None:
    for number in range(4):
        Image.fromarray(phantom(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:400])
    answer = classifier.predict_series(tmp_path)
    assert answer.slices == 3
    assert "2.png cannot be read (damaged picture" in answer.note


def test_a_series_is_one_and_can_be_read(tmp_path: Path, classifier: Classifier) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(phantom(1)).save(tmp_path / folder / "1.png")
        Image.fromarray(phantom(2)).save(tmp_path / folder / "2.png")
    with pytest.raises(InputError, match=r"slices of 2 series \(.*\): give those of one"):
        classifier.predict_series(tmp_path)
    with pytest.raises(InputError, match=r"no slice can be read \(.*no\.png: no such file\)"):
        classifier.predict_series(tmp_path / "no.png")
    with pytest.raises(InputError, match=r"no slice can be read \(there are none\)"):
        classifier.predict_series([])
