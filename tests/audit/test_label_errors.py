"""Planted label errors stand at the top of the ranking, and leaky predictions are told."""

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tumorscope.audit.audit import Audit, audit
from tumorscope.audit.findings import findings
from tumorscope.audit.label_errors import LabelErrors, rank_label_errors
from tumorscope.audit.out_of_fold import find_label_errors
from tumorscope.classes import CLASSES
from tumorscope.cli.main import main
from tumorscope.datasets.catalogue import Slice
from tumorscope.errors import DataError
from tumorscope.evaluation.predictions import Predictions
from tumorscope.phantoms.drawing import draw_phantom

Draw = Callable[..., Path]


def write_table(path: Path, answers: Mapping[str, NDArray[np.float64]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["file", *CLASSES], *([name, *values] for name, values in answers.items())]
        )
    return path


def test_planted_swaps_head_the_ranking(tmp_path: Path) -> None:
    """Phantoms as bright as their class; some are called by another, and a classifier learns so."""
    items, shown, features = [], [], []
    for number, label in enumerate(CLASSES):
        for place in range(9):
            swapped = place == number
            seed = 50 * number + place
            head = draw_phantom(label, plane="axial", patient_seed=seed, slice_number=2, size=64)
            grey = head.image * 0.4 ** (3 - number)
            features.append([np.log(grey.mean()), np.log(np.percentile(grey, 90))])
            given = CLASSES[(number + 2) % 4] if swapped else label
            name = f"{given}/{seed}.png"
            items.append(Slice(path=tmp_path / name, name=name, label=given, source="set"))
            shown.append(label)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    labels = [item.label for item in items]
    honest = cross_val_predict(model, features, labels, cv=8, method="predict_proba")
    names = [item.name for item in items]
    table = write_table(tmp_path / "answers.csv", dict(zip(names, honest, strict=True)))
    found = find_label_errors(table, items, range(36), names)
    wrong = [given != right for given, right in zip(labels, shown, strict=True)]
    top = found.ranked[: sum(wrong)]
    assert np.mean([wrong[item.place] for item in top]) >= 0.75
    assert all(item.likely == shown[item.place] for item in top if wrong[item.place])
    scores = np.full(len(items), -1.0)
    scores[[item.place for item in found.ranked]] = [item.score for item in found.ranked]
    assert roc_auc_score(wrong, scores) > 0.9
    assert found.predicted == 36
    assert [item.score for item in found.ranked] == sorted(
        (item.score for item in found.ranked), reverse=True
    )


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, draw: Draw) -> Audit:
    """Two pictures."""
    folder = tmp_path_factory.mktemp("two")
    for seed, label in enumerate(CLASSES[:2]):
        draw(folder / label / f"{seed}.png", seed)
    return audit(folder)


def test_without_predictions_nothing_is_said_of_labels(audited: Audit) -> None:
    assert audited.as_dict()["label_errors"] is None
    assert not any("label error" in item.what for item in findings(audited))


@pytest.mark.parametrize(
    ("found", "warned"),
    [
        ({"agreeing": 80, "learned_from": 3}, True),
        ({"agreeing": 100, "learned_from": None}, True),
        ({"agreeing": 100, "learned_from": 0}, False),
        ({"agreeing": 90, "learned_from": None}, False),
    ],
)
def test_predictions_that_may_know_the_labels_are_a_finding(
    audited: Audit, found: dict[str, int | None], *, warned: bool
) -> None:
    errors = LabelErrors(ranked=(), predicted=100, **found)  # type: ignore[arg-type]
    titles = {item.what for item in findings(replace(audited, label_errors=errors))}
    assert ("predictions that may know the labels" in titles) == warned


@pytest.mark.parametrize("seed", range(4))
def test_swaps_among_unsure_predictions_are_ranked_above_the_rest(seed: int) -> None:
    random = np.random.default_rng(seed)
    true = random.integers(0, 4, 400)
    logits = random.normal(0, 1, (400, 4)) + 3 * np.eye(4)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    swapped = np.arange(400) < 40
    given = np.where(swapped, (true + random.integers(1, 4, 400)) % 4, true)
    ranked = rank_label_errors(
        given, probabilities, clusters=range(400), groups=[place // 5 for place in range(400)]
    )
    score = np.full(400, -1.0)
    for row, likely, margin in ranked:
        score[row] = margin
        assert likely != given[row]
    assert roc_auc_score(swapped, score) > 0.75
    assert np.mean([swapped[row] for row, _, _ in ranked[:20]]) > 0.9


def test_copies_share_a_score_and_a_patient_with_many_slices_does_not_decide() -> None:
    sure, unsure = [0.9, 0.1], [0.55, 0.45]
    # One patient's ten unsure slices; nine patients' sure ones; a suspect, twice.
    probabilities = np.array(
        [unsure] * 10 + [sure] * 9 + [[0.1, 0.9]] * 9 + [[0.7, 0.3], [0.9, 0.1]]
    )
    labels = np.array([0] * 19 + [1] * 11)
    clusters = [*range(28), 28, 28]
    groups = ["many"] * 10 + [f"p{number}" for number in range(18)] + ["suspect"] * 2
    ranked = rank_label_errors(labels, probabilities, clusters=clusters, groups=groups)
    assert [(row, likely) for row, likely, _ in ranked] == []
    probabilities[28] = sure
    ranked = rank_label_errors(labels, probabilities, clusters=clusters, groups=groups)
    assert [(row, likely) for row, likely, _ in ranked] == [(28, 0), (29, 0)]
    assert ranked[0][2] == ranked[1][2] == pytest.approx(0.8)


def slices(count: int = 8) -> list[Slice]:
    labels = [CLASSES[number % 2] for number in range(count)]
    return [
        Slice(path=Path(f"{number}.png"), name=f"{number}.png", label=label, source="set")
        for number, label in enumerate(labels)
    ]


def predicted(items: list[Slice], *, folds: tuple[int, ...] = ()) -> Predictions:
    sure = np.array([[0.9, 0.1] if item.label == CLASSES[0] else [0.1, 0.9] for item in items])
    return Predictions.of_slices(items, sure, classes=CLASSES[:2], folds=folds)


def write_parts(path: Path, tested: list[Slice], learned: list[Slice]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "class", "source", "group", "twin_cluster", "part"))
        for part, items in (("test", tested), ("train", learned)):
            writer.writerows((item.name, item.label, item.source, "", "", part) for item in items)


def test_folds_that_share_a_slice_or_a_patient_are_counted(tmp_path: Path) -> None:
    items, table = slices(), tmp_path / "predictions.csv"
    predicted(items, folds=(1, 1, 1, 1, 2, 2, 2, 2)).save(table)
    own = [str(number) for number in range(8)]
    assert find_label_errors(table, items, range(8), own).learned_from == 0
    assert find_label_errors(table, items, [0, 1, 2, 3, 0, 5, 6, 7], own).learned_from == 2
    shared = ["p", "1", "2", "3", "4", "p", "p", "7"]
    assert find_label_errors(table, items, range(8), shared).learned_from == 3
    predicted(items).save(table)
    assert find_label_errors(table, items, range(8), own).learned_from is None


def test_a_run_tells_what_it_learned_from(tmp_path: Path) -> None:
    items = slices()
    for fold in (1, 2):
        folder = tmp_path / f"fold-{fold}"
        folder.mkdir()
        tested = items[4 * fold - 4 : 4 * fold]
        learned = items[4:] if fold == 1 else items[:4]
        predicted(tested).save(folder / "predictions.csv")
        write_parts(folder / "slices.csv", tested, learned)
    predicted(items).save(tmp_path / "predictions.csv")
    clusters = [0, 1, 2, 3, 4, 5, 6, 0]
    groups = [str(number) for number in range(8)]
    assert find_label_errors(tmp_path, items, clusters, groups).learned_from == 2
    write_parts(tmp_path / "fold-2" / "slices.csv", [], items)
    with pytest.raises(DataError, match="4 predictions are of pictures that the model learned"):
        find_label_errors(tmp_path, items, clusters, groups)


def test_what_is_no_table_for_these_pictures_is_refused(tmp_path: Path) -> None:
    items, groups = slices(), [str(number) for number in range(8)]
    with pytest.raises(DataError, match="crossval"):
        find_label_errors(tmp_path, items, range(8), groups)
    answers = tmp_path / "predict.csv"
    answers.write_text("path,slice,label,probability,verdict,model\n0.png,,glioma,0.9,,edge\n")
    with pytest.raises(DataError, match="may have learned"):
        find_label_errors(answers, items, range(8), groups)
    other = tmp_path / "predictions.csv"
    predicted([replace(item, source="other") for item in items]).save(other)
    with pytest.raises(DataError, match=r"other/0\.png"):
        find_label_errors(other, items, range(8), groups)


def test_the_command_writes_the_ranking(
    tmp_path: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    data, ranking, figures = tmp_path / "data", tmp_path / "ranking.csv", tmp_path / "audit.json"
    answers = {}
    for seed in range(6):
        label = CLASSES[seed % 2]
        draw(data / label / f"{seed}.png", seed)
        answers[f"{label}/{seed}.png"] = np.array([0.8, 0.1, 0.1, 0] if seed != 4 else [0, 1, 0, 0])
        if seed % 2:
            answers[f"{label}/{seed}.png"] = np.array([0.1, 0.8, 0.1, 0])
    table = write_table(tmp_path / "answers.csv", answers)
    page = tmp_path / "audit.html"
    words = ["audit", str(data), "--predictions", str(table), "--label-errors", str(ranking)]
    assert main([*words, "--json", str(figures), "--html", str(page)]) == 0
    assert "likely label" in capsys.readouterr().out
    (row,) = csv.DictReader(ranking.open())
    assert row == {
        "file": "glioma/4.png",
        "class": "glioma",
        "likely": "meningioma",
        "score": "1.0",
    }
    assert json.loads(figures.read_text())["label_errors"]["ranked"][0]["file"] == row["file"]
    assert "glioma → meningioma" in page.read_text()
    assert main(["audit", str(data), "--label-errors", str(ranking)]) == 2
    assert "--predictions" in capsys.readouterr().err
