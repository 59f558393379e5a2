"""Pictures: whole PNG files that show what they should, also when data or files are missing."""

import io
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from tumorscope.classes import CLASSES, TUMOUR_CLASSES
from tumorscope.datasets.catalogue import Slice, slice_name
from tumorscope.datasets.pictures import cut_volume
from tumorscope.evaluation.plots import (
    confusion_plot,
    curves_plot,
    mistakes_plot,
    reliability_plot,
    roc_plot,
)
from tumorscope.evaluation.predictions import Predictions

pytestmark = pytest.mark.filterwarnings("error")


def table(
    target: list[int],
    predicted: list[int],
    *,
    classes: tuple[str, ...] = CLASSES,
    paths: tuple[Path, ...] = (),
    names: tuple[str, ...] | None = None,
    clusters: tuple[str, ...] | None = None,
) -> Predictions:
    count = len(target)
    sure = np.linspace(0.5, 0.99, count)[:, None]
    eye = np.eye(len(classes))[predicted]
    return Predictions(
        classes=classes,
        names=names or tuple(f"{row}.jpg" for row in range(count)),
        labels=tuple(classes[column] for column in target),
        groups=tuple(f"p{row}" for row in range(count)),
        clusters=clusters or tuple(f"s{row}" for row in range(count)),
        probabilities=sure * eye + (1 - sure) * (1 - eye) / (len(classes) - 1),
        paths=paths,
    )


def decode(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        picture.load()
        assert picture.width >= 300
        return np.asarray(picture.convert("RGB")).astype(int)


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Count the pixels of nearly this colour."""
    return int((np.abs(picture - colour).max(axis=2) < 8).sum())


GLIOMA, MENINGIOMA, NO_TUMOUR, PITUITARY = (
    (0xD5, 0x5E, 0x00),
    (0x00, 0x72, 0xB2),
    (0x00, 0x9E, 0x73),
    (0xCC, 0x79, 0xA7),
)
ALARM = (0xB3, 0x26, 0x1E)

FOUR = table([0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 3, 1, 2, 3, 0])


@pytest.mark.parametrize("draw", [confusion_plot, roc_plot, reliability_plot])
@pytest.mark.parametrize(
    "predictions",
    [
        FOUR,
        table([0, 1, 2, 2], [0, 1, 2, 0], classes=TUMOUR_CLASSES),
        table([0, 0, 1], [0, 3, 1]),
        table([2], [2]),
    ],
    ids=["four", "three", "classes missing", "one image"],
)
def test_every_picture_is_drawn_from_any_test_part(draw: object, predictions: Predictions) -> None:
    picture = decode(draw(predictions))  # type: ignore[operator]
    assert near(picture, (255, 255, 255)) < picture.shape[0] * picture.shape[1]


def test_the_same_predictions_give_the_same_bytes() -> None:
    assert roc_plot(FOUR) == roc_plot(FOUR)


def test_a_right_diagonal_is_dark_and_a_wrong_one_pale() -> None:
    right = decode(confusion_plot(table([0, 1, 2, 3], [0, 1, 2, 3])))
    wrong = decode(confusion_plot(table([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 1, 2, 2, 3, 3, 0])))
    darkest = right.reshape(-1, 3)[right.sum(axis=2).ravel().argsort()[len(right) * 10]]
    assert near(right, tuple(darkest)) > near(wrong, tuple(darkest))


def test_each_class_that_is_there_has_its_colour_in_the_roc_curves() -> None:
    all_four = decode(roc_plot(FOUR))
    for colour in (GLIOMA, MENINGIOMA, NO_TUMOUR, PITUITARY):
        assert near(all_four, colour) > 50
    two = decode(roc_plot(table([0, 0, 1, 1], [0, 1, 1, 0])))
    assert near(two, GLIOMA) > 50
    assert near(two, NO_TUMOUR) == near(two, PITUITARY) == 0


def test_the_enlarged_corner_hides_no_roc_curve() -> None:
    draw = np.random.default_rng(0).integers(0, 2, (2, 300))
    picture = decode(roc_plot(table(*draw.tolist())))
    right, above_the_legend = picture.shape[1] // 2, 7 * picture.shape[0] // 10
    part = picture[:above_the_legend, right : right + 300]
    shown = [(np.abs(part - curve).max(axis=2) < 60).any(axis=0) for curve in (GLIOMA, MENINGIOMA)]
    assert np.logical_or(*shown).all()


def test_a_miss_rate_is_framed_in_red() -> None:
    assert near(decode(mistakes_plot(table([0, 1], [2, 1]))), ALARM) > 200
    assert near(decode(mistakes_plot(table([2, 1], [0, 1]))), ALARM) == 0


def test_a_mistake_shows_its_file(tmp_path: Path) -> None:
    half = np.full((64, 64), 200, dtype=np.uint8)
    half[:, :32] = 90
    Image.fromarray(half).save(tmp_path / "a.png")
    seen = decode(mistakes_plot(table([0], [1], paths=(tmp_path / "a.png",))))
    assert near(seen, (200, 200, 200)) > 5000
    assert near(seen, (90, 90, 90)) > 5000


def test_a_mistake_in_a_volume_shows_its_slice(tmp_path: Path) -> None:
    grid = np.indices((40, 44, 48)).transpose(1, 2, 3, 0) - np.array([20, 22, 24])
    head = (np.linalg.norm(grid / np.array([16, 18, 20]), axis=-1) < 1) * (100.0 + grid[..., 0])
    nibabel.save(nibabel.Nifti1Image(head, np.eye(4)), tmp_path / "head.nii.gz")
    (cut, *_), _ = cut_volume(
        Slice(path=tmp_path / "head.nii.gz", name="head.nii.gz", label="notumor", source="x")
    )
    here = replace(table([2], [1]), names=(slice_name(cut),))
    shown = decode(mistakes_plot(replace(here, paths=(cut.path,))))
    empty = decode(mistakes_plot(replace(here, paths=(tmp_path / "gone.nii.gz",))))
    assert near(empty, (232, 232, 232)) > 10_000 > near(shown, (232, 232, 232))


def test_files_that_are_gone_or_damaged_leave_an_empty_place(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    paths = (tmp_path / "gone.jpg", tmp_path / "text.jpg")
    seen = decode(mistakes_plot(table([0, 0], [1, 1], paths=paths)))
    assert near(seen, (232, 232, 232)) > 10_000


def test_of_a_slice_only_the_worst_copy_is_shown() -> None:
    apart = decode(mistakes_plot(table([0] * 7, [1] * 7)))
    together = decode(mistakes_plot(table([0] * 7, [1] * 7, clusters=("s",) * 7)))
    assert near(apart, (232, 232, 232)) > 6 * near(together, (232, 232, 232))


def test_no_more_than_asked_for_are_shown() -> None:
    target, predicted = [0] * 40, [1] * 40
    few = decode(mistakes_plot(table(target, predicted), most=6))
    more = decode(mistakes_plot(table(target, predicted)))
    assert more.shape[0] > 3 * few.shape[0]
    assert decode(mistakes_plot(table(target, target))).shape[0] < few.shape[0]


def test_odd_file_names_do_not_stop_the_picture() -> None:
    names = ("$\\frac$.jpg", b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), "x" * 300 + ".jpg")
    decode(mistakes_plot(table([0] * 3, [1] * 3, names=names)))


def test_captions_of_mistakes_do_not_meet(tmp_path: Path) -> None:
    tall = tmp_path / "tall.png"
    Image.fromarray(np.full((300, 60), 90, np.uint8)).save(tall)
    for paths in ((), (tall,) * 6):
        wrong = table([0] * 6, [1] * 6, names=("M" * 40,) * 6, paths=paths)
        seen = decode(mistakes_plot(wrong))
        empty = (seen == 255).all(axis=(0, 2))
        assert (np.diff(empty.astype(int)) == -1).sum() >= 6
    names = ("\N{CJK UNIFIED IDEOGRAPH-8111}.png", "two\nlines.png")  # (no warning)
    decode(mistakes_plot(table([0] * 2, [1] * 2, names=names)))


def test_curves_are_drawn_also_where_epochs_have_holes() -> None:
    full = [
        {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "train_accuracy": 1 - 0.5 / epoch,
            "validation_loss": 1.2 / epoch,
            "validation_accuracy": 1 - 0.6 / epoch,
            "learning_rate": 0.01 / epoch,
        }
        for epoch in range(1, 6)
    ]
    complete = decode(curves_plot(full))
    without = decode(
        curves_plot(
            [{"epoch": 1, "train_loss": 1.0}, {"epoch": 2, "train_loss": None, "learning_rate": 0}]
        )
    )
    assert near(complete, GLIOMA) > 2 * near(without, GLIOMA)
