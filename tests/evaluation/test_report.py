"""The report: what it says, that it needs nothing else, and that files come whole or not at all."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tumorscope.classes import CLASSES, TUMOUR_CLASSES
from tumorscope.datasets.catalogue import Skipped, Slice
from tumorscope.evaluation import (
    Evaluation,
    Predictions,
    score_predictions,
    write_evaluation,
    write_report,
)
from tumorscope.evaluation.predictions import pool
from tumorscope.evaluation.predictor import LEAKED
from tumorscope.evaluation.report import summarise
from tumorscope.evaluation.wording import decimal, percent, percent_interval

HISTORY = [{"epoch": 1, "train_loss": 1.0}, {"epoch": 2, "train_loss": 0.5}]


def table(
    target: list[int], predicted: list[int], *, groups: int = 0, classes: tuple[str, ...] = CLASSES
) -> Predictions:
    count = len(target)
    return Predictions(
        classes=classes,
        names=tuple(f"{row}.jpg" for row in range(count)),
        labels=tuple(classes[column] for column in target),
        groups=tuple(f"p{row % (groups or count)}" for row in range(count)),
        clusters=tuple(f"s{row}" for row in range(count)),
        probabilities=0.9 * np.eye(len(classes))[predicted] + 0.1 / len(classes),
    )


def scored(predictions: Predictions, **facts: str | float) -> Evaluation:
    return score_predictions(predictions, title="quick <on> phantoms", facts=facts, resamples=50)


MIXED = table([0, 1, 2, 3] * 10, [0, 1, 2, 3] * 9 + [2, 1, 0, 3])


class _Checker(HTMLParser):
    """Collects the text and makes sure that every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read(path: Path) -> tuple[str, list[str]]:
    """Return the page's text, spaces made single, and what it loads."""
    checker = _Checker()
    checker.feed(path.read_text("utf-8"))
    checker.close()
    assert checker.open == []
    return " ".join(" ".join(checker.text).split()), checker.sources


def test_the_page_tells_everything(tmp_path: Path) -> None:
    evaluation = scored(MIXED, **{"test images with a twin in training": 12345, "seed": 0.5})
    write_report(
        tmp_path / "report.html",
        evaluation,
        MIXED,
        history=HISTORY,
        protocol_text="The publisher's split.\n\nIt cannot show new patients.",
        recipe_text='network = "plain"',
        environment={"python": "3.11", "gpu": False},
        skipped=[Skipped("<b>.jpg", "damaged picture")],
    )
    text, _ = read(tmp_path / "report.html")
    for words in (
        "quick <on> phantoms",
        "Of 40 test images 38 are right: 95.0 %, 95 % interval",
        "Of 30 tumour images 1 was missed (predicted as no tumour): 3.3 %",
        "The publisher's split.",
        "It cannot show new patients.",
        "test images with a twin in training 12,345",
        "seed 0.5",
        "Files left out: 1",
        "<b>.jpg damaged picture",
        'network = "plain"',
        "gpu no",
        "Research use only: not a medical device, not for diagnosis.",
        "Learning curves",
    ):
        assert words in text
    for name, figure in evaluation.images.metrics.items():
        assert figure is not None
        shown = decimal(figure) if name in ("macro_auc", "ece", "brier", "nll") else percent(figure)
        assert shown in text


def test_the_page_needs_nothing_else_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    write_report(
        tmp_path / "report.html",
        scored(MIXED, note="<script>alert(1)</script>"),
        MIXED,
        history=HISTORY,
        recipe_text="</pre><script>",
    )
    page = (tmp_path / "report.html").read_text("utf-8")
    _, sources = read(tmp_path / "report.html")
    assert len(sources) == 5
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "<script" not in page
    assert not re.search(r"url\(|@import|https?:", page)


def test_what_is_not_given_leaves_no_hole(tmp_path: Path) -> None:
    predictions = table([0, 1] * 4, [0, 1] * 4, classes=TUMOUR_CLASSES)  # no pituitary
    write_report(tmp_path / "report.html", scored(predictions), predictions)
    text, sources = read(tmp_path / "report.html")
    assert len(sources) == 4
    assert "miss rate" not in text
    assert "What was tested" not in text
    assert "No file was left out." in text
    assert "pituitary 0 — " in text
    assert "None" not in text
    assert "nan" not in text.split()


def test_folds_have_a_table(tmp_path: Path) -> None:
    slices = [
        Slice(path=Path(f"{row}.jpg"), name=f"{row}.jpg", label=CLASSES[row % 4], source="x")
        for row in range(8)
    ]
    folds = [
        Predictions.of_slices(slices[:4], np.eye(4), classes=CLASSES, folds=(1,) * 4),
        Predictions.of_slices(slices[4:], np.eye(4)[[0, 1, 2, 2]], classes=CLASSES, folds=(2,) * 4),
    ]
    predictions = pool(folds)
    predictions = replace(predictions, verdicts=("confident",) * 6 + ("unsupported",) * 2)
    write_report(tmp_path / "report.html", scored(predictions), predictions)
    text, _ = read(tmp_path / "report.html")
    assert "Fold by fold" in text
    assert "2 4 75.0 % 75.0 %" in text
    assert "confident 6 75.0 % 100 %" in text
    assert "unsupported 2 25.0 % 50.0 %" in text


def test_hospitals_have_a_table(tmp_path: Path) -> None:
    slices = [
        Slice(path=Path("x"), name=f"{row}.jpg", label=CLASSES[row % 4], source="x", hospital=name)
        for row, name in enumerate(("HT",) * 4 + ("DU",) * 4)
    ]
    answers = np.eye(4)[[0, 1, 2, 3, 2, 1, 2, 3]]
    predictions = Predictions.of_slices(slices, answers, classes=CLASSES)
    found = score_predictions(predictions, title="", facts={}, slices=slices, resamples=50)
    write_report(tmp_path / "report.html", found, predictions)
    text, _ = read(tmp_path / "report.html")
    assert "hospital images groups accuracy miss rate false-positive rate" in text
    assert "DU 4 4 75.0 %" in text
    assert "HT 4 4 100 % 0 % 0 % 1.0000" in text


def test_a_figure_is_not_parted_from_its_sign(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", scored(MIXED), MIXED)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "95.0\N{NO-BREAK SPACE}%" in page
    assert "0 %" not in page


def test_no_mistake_is_not_called_certainty() -> None:
    sentence = summarise(scored(table([0, 1, 2, 3] * 25, [0, 1, 2, 3] * 25)))[0]
    assert sentence == (
        "Of 100 test images 100 are right: 100 %; over 100 groups that leaves room for "
        "mistakes in up to 3.0 % of groups (95 %, rule of three)."
    )


def test_one_group_is_said_to_have_no_interval() -> None:
    sentences = summarise(scored(table([0, 1, 2, 2], [0, 1, 2, 0], groups=1)))
    assert sentences == (
        "Of 4 test images 3 are right: 75.0 %; all are of one group, so there is no interval.",
        "Counting a slice once, however many copies there are: 75.0 % of 4; "
        "counting patients: 66.7 % of 3.",
        "None of the 2 tumour images was missed.",
        "Of 2 images without a tumour 1 was called one: 50.0 %.",
    )


def test_where_no_resample_differs_no_interval_is_said() -> None:
    wrong = summarise(scored(table([0, 1, 2, 3] * 5, [1, 2, 3, 0] * 5)))[0]
    assert wrong == (
        "Of 20 test images 0 are right: 0 %; the 20 groups do not differ, so there is no interval."
    )


def test_one_of_a_kind_is_told_in_the_singular() -> None:
    one = replace(table([0, 2], [0, 2]), verdicts=("confident", "uncertain"))
    assert summarise(scored(one))[2:] == (
        "The 1 tumour image was not missed.",
        "The 1 image without a tumour was not called one.",
        "1 answer is confident, 50.0 % of all; 0 of them are wrong.",
    )
    assert summarise(scored(table([0], [2])))[0].startswith("Of 1 test image 0 are right: 0 %;")


def test_false_alarms_confident_mistakes_and_known_images_are_said() -> None:
    sure = replace(MIXED, verdicts=("confident",) * 30 + ("uncertain",) * 10)
    wrong = int((sure.target != sure.predicted)[:30].sum())
    said = " ".join(summarise(scored(sure, **{LEAKED: 3})))
    assert "Of them 3 show a patient, or a near-duplicate of a slice, that is in training." in said
    assert f"30 answers are confident, 75.0 % of all; {wrong} of them" in said
    assert re.search(r"Of 10 images without a tumour \d was called one: 10.0 %, 95 % inter", said)
    doubtful = replace(MIXED, verdicts=("uncertain",) * 40)
    said = " ".join(summarise(scored(doubtful, **{LEAKED: "not known"})))
    assert "Test images whose patient or near-duplicate is in training: not known." in said
    assert "None of the answers is confident." in said


def test_a_folder_holds_everything_and_all_of_it_agrees(tmp_path: Path) -> None:
    evaluation = scored(MIXED)
    report = write_evaluation(tmp_path / "run" / "test", evaluation, MIXED, history=HISTORY)
    assert report == tmp_path / "run" / "test" / "report.html"
    assert sorted(path.name for path in report.parent.iterdir()) == [
        "confusion.png", "curves.png", "evaluation.json", "mistakes.png", "predictions.csv",
        "reliability.png", "report.html", "roc.png",
    ]  # fmt: skip
    assert json.loads((report.parent / "evaluation.json").read_text()) == evaluation.to_json()
    with (report.parent / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["label"] == row["predicted"] for row in rows) == evaluation.images.right
    again = Predictions.load(report.parent / "predictions.csv")
    assert scored(again).to_json() == evaluation.to_json()


def test_plots_of_an_earlier_evaluation_do_not_stay(tmp_path: Path) -> None:
    write_evaluation(tmp_path, scored(MIXED), MIXED)
    labels = replace(MIXED, probabilities=np.eye(4)[MIXED.predicted], labels_only=True)
    write_evaluation(tmp_path, scored(labels), labels)
    assert {path.stem for path in tmp_path.glob("*.png")} == {"confusion", "mistakes"}


def test_a_file_that_cannot_be_written_leaves_nothing_half_done(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match=r"report\.html"):
        write_report(tmp_path / "report.html", scored(MIXED), MIXED)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_has_its_metrics_only_when_all_else_is_there(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match=r"report\.html"):
        write_evaluation(tmp_path, scored(MIXED), MIXED)
    assert not (tmp_path / "evaluation.json").exists()


def test_only_all_is_a_hundred_per_cent_and_only_none_is_zero() -> None:
    assert [percent(x) for x in (0, 0.0004, 0.5, 0.99951, 0.99996, 1)] == [
        "0 %", "0.04 %", "50.0 %", "99.95 %", "99.996 %", "100 %",
    ]  # fmt: skip
    assert percent_interval((0.0, 0.97911)) == "0 to 97.9"
    assert decimal(0.99996) == "> 0.9999"


def test_real_slices_make_a_whole_report(real_data: Path, tmp_path: Path) -> None:
    with (real_data / "kaggle" / "groups.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["official_split"] == "Testing"][::9]
    slices = [
        Slice(
            path=real_data / "kaggle" / row["file"],
            name=row["file"],
            label=row["class"],
            source="kaggle",
            group=row["group"],
            cluster=row["twin_cluster"],
        )
        for row in rows
    ]
    rng = np.random.default_rng(0)
    target = [CLASSES.index(item.label) for item in slices]
    logits = rng.normal(0, 1.5, (len(slices), 4)) + 4 * np.eye(4)[target]
    answers = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predictions = Predictions.of_slices(slices, answers, classes=CLASSES)
    evaluation = scored(predictions)
    report = write_evaluation(tmp_path, evaluation, predictions)
    text, _ = read(report)
    assert f"Of {len(slices)} test images" in text
    assert evaluation.images.groups <= evaluation.patients.n <= evaluation.slices.n <= len(slices)
    # The worst mistakes are real pictures, not empty places: they take room.
    without = Predictions.load(tmp_path / "predictions.csv")
    write_evaluation(tmp_path / "again", evaluation, without)
    mistakes = (tmp_path / "mistakes.png").stat().st_size
    assert mistakes > 3 * (tmp_path / "again" / "mistakes.png").stat().st_size
