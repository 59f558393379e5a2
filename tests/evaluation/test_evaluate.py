"""Any model is evaluated: model files, other ONNX files, functions, modules, CSV files."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from small_model import write_model
from tumorscope.classes import CLASSES
from tumorscope.cli.main import main
from tumorscope.datasets.catalogue import Slice
from tumorscope.datasets.sources import read_data
from tumorscope.datasets.splits import partition
from tumorscope.errors import ArgumentError, DataError, ModelError
from tumorscope.evaluation import InputSpec, evaluate
from tumorscope.evaluation.predictions_table import read_predictions
from tumorscope.evaluation.predictor import LEAKED
from tumorscope.inference import Classifier

SPLIT = "grouped-folds"


def slices_of(phantoms: Path, *folds: int) -> list[Slice]:
    catalogue = read_data([phantoms])
    return [item for fold in folds for item in partition(catalogue, split=SPLIT, fold=fold).test]


def write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def probabilities(item: Slice, sure: float = 0.7) -> list[float]:
    return [sure if name == item.label else (1 - sure) / 3 for name in CLASSES]


def test_a_model_file_is_evaluated_without_torch(phantoms: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx", sharpness=9.0)
    program = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('torch', 'lightning', 'monai'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from tumorscope.cli.main import main\n"
        "raise SystemExit(main(sys.argv[1:]))"
    )
    words = ["evaluate", str(model), "--data", str(phantoms), "--split", SPLIT, "--fold", "2"]
    words += ["--json", str(tmp_path / "metrics.json"), "--out", str(tmp_path / "report")]
    subprocess.run([sys.executable, "-c", program, *words], check=True)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    slices = slices_of(phantoms, 2)
    assert metrics["n"] == len(slices)
    assert metrics["facts"][LEAKED].startswith("not known")
    answers = {
        answer.path: answer.label
        for answer in Classifier.load(model).predict([item.path for item in slices])
    }
    with (tmp_path / "report" / "predictions.csv").open() as file:
        rows = {row["name"]: row["predicted"] for row in csv.DictReader(file)}
    for item in slices:  # evaluated as `predict` answers
        assert answers[str(item.path)] in (rows[f"{item.source}/{item.name}"], None)
    assert metrics["localisation"]["n"] == sum(item.label != "notumor" for item in slices)
    assert sum(part["n"] for part in metrics["verdicts"].values()) == len(slices)


def test_a_model_that_gives_no_numbers_is_refused(phantoms: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx", sharpness=float("nan"))
    with pytest.raises(
        ModelError, match=r"small 0\.1: its outputs for 8 of 8 slices are not numbers"
    ):
        evaluate(model, split=SPLIT, data=phantoms, fold=1)


def test_what_shows_nothing_is_unsupported_as_in_prediction(phantoms: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx", thresholds={"confident": [0.0] * 4})
    data = tmp_path / "clinic" / "notumor"
    data.mkdir(parents=True)
    heads = [item for item in slices_of(phantoms, 1) if item.label == "notumor"]
    for number, item in enumerate(heads):
        (data / f"{number}.png").write_bytes(item.path.read_bytes())
    Image.new("L", (80, 80), 30).save(data / "blank.png")
    answers = {
        Path(answer.path).name: answer.verdict
        for answer in Classifier.load(model).predict(sorted(data.iterdir()))
    }
    assert answers["blank.png"] == "unsupported"
    result = evaluate(model, data=data.parent, split="external")
    found = result.predictions
    names = [Path(name).name for name in found.names]
    assert dict(zip(names, found.verdicts, strict=True)) == answers
    assert result.to_json()["verdicts"]["confident"]["n"] == len(heads)
    assert (
        "1 image is called unsupported; the other metrics count such images, too, by the most "
        "probable class." in result.summary
    )


def test_ood_scores_that_are_no_numbers_are_unsupported(phantoms: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx", ood_score=float("nan"))
    result = evaluate(model, split=SPLIT, data=phantoms, fold=1)
    assert set(result.predictions.verdicts) == {"unsupported"}
    json.dumps(result.to_json(), allow_nan=False)


def test_a_model_of_the_same_fold_counts_its_leaks(phantoms: Path, tmp_path: Path) -> None:
    data = {"fingerprint": read_data([phantoms]).fingerprint(), "split": SPLIT, "fold": 1}
    model = write_model(tmp_path / "model.onnx", data=data)
    first = evaluate(model, data=phantoms, split=SPLIT, fold=1)
    assert first.evaluation.facts[LEAKED] == 0
    second = evaluate(model, data=phantoms, split=SPLIT, fold=2)
    assert "another fold" in str(second.evaluation.facts[LEAKED])


def test_a_model_file_promises_nothing_of_a_threshold_that_is_not_its_own(
    phantoms: Path, tmp_path: Path
) -> None:
    thresholds = {"confident": [0.9] * 4, "risk": 0.02}
    model = write_model(tmp_path / "model.onnx", sharpness=9.0, thresholds=thresholds)

    def told(classifier: Classifier) -> str | None:
        facts = evaluate(classifier, data=phantoms, split=SPLIT).evaluation.facts
        return str(facts["confident and wrong"]) if "confident and wrong" in facts else None

    assert told(Classifier.load(model)) == "at most 2% of a new patient's slices, expected"
    assert told(Classifier.load(model, confident=0.5)) is None
    del thresholds["risk"]
    other = write_model(tmp_path / "other.onnx", sharpness=9.0, thresholds=thresholds)
    assert told(Classifier.load(other)) == "not known: too few validation patients"


def test_a_table_of_probabilities_scores_or_labels_gives_the_same_report(
    phantoms: Path, tmp_path: Path
) -> None:
    slices = slices_of(phantoms, 1, 2, 3, 4, 5)
    spellings = ["Glioma_tumor", "meningioma", "No Tumor", "pituitary"]
    rows = [[item.name, *probabilities(item)] for item in slices]
    whole = write_csv(tmp_path / "p.csv", ["file", *spellings], rows)
    found = evaluate(whole, data=phantoms, split=SPLIT)
    metrics = found.to_json()
    assert metrics["n"] == 40
    assert metrics["accuracy"] == 1.0
    assert metrics["ece"] == pytest.approx(0.3, abs=1e-6)
    assert sorted(metrics["by_fold"]) == ["1", "2", "3", "4", "5"]
    assert metrics["facts"][LEAKED] == 0
    assert "reliability" in found.save(tmp_path / "report").read_text().lower()
    saved = evaluate(tmp_path / "report" / "predictions.csv", data=phantoms, split=SPLIT).to_json()
    assert (saved["ece"], saved["interval"]) == (metrics["ece"], metrics["interval"])

    scores = [[f"C:\\data\\{item.name}", *np.log(probabilities(item))] for item in slices[::-1]]
    scored = write_csv(tmp_path / "s.csv", ["file", *(f"score_{n}" for n in CLASSES)], scores)
    again = evaluate(scored, data=phantoms, split=SPLIT).to_json()
    assert repr(found).startswith(f"<EvaluationResult p on {SPLIT}, 5 folds pooled: Of 40 test ")
    assert again["confusion"] == metrics["confusion"]
    assert again["ece"] == metrics["ece"]

    labels = [[Path(item.name).name, item.label] for item in slices]
    named = write_csv(tmp_path / "l.csv", ["file", "label"], labels)
    result = evaluate(named, data=phantoms, split=SPLIT)
    told = result.to_json()
    assert told["confusion"] == metrics["confusion"]
    assert told["ece"] is told["macro_auc"] is told["selective_accuracy"] is None
    # Where the truth stands beside the prediction, the latter is what is evaluated.
    both = [[name, label, "glioma"] for name, label in labels]
    told = evaluate(
        write_csv(tmp_path / "b.csv", ["file", "label", "predicted"], both),
        data=phantoms,
        split=SPLIT,
    ).to_json()
    assert told["accuracy"] == sum(item.label == "glioma" for item in slices) / len(slices)
    page = result.save(tmp_path / "labels").read_text()
    assert "calibration error (ECE)</" not in page.split("What the metrics mean")[0]


def test_a_table_of_one_fold_is_evaluated_by_the_command(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    slices = slices_of(phantoms, 3)
    rows = [[str(item.path), *probabilities(item)] for item in slices]
    write_csv(tmp_path / "mine.csv", ["file", *(f"probability_{n}" for n in CLASSES)], rows)
    words = ["evaluate", "mine.csv", "--data", str(phantoms), "--split", SPLIT, "--fold", "3"]
    assert main(words) == 0
    (folder,) = (tmp_path / "evaluations").iterdir()
    assert folder.name == f"mine-on-{SPLIT}-fold-3"
    assert (folder / "report.html").is_file()


def test_a_report_does_not_take_the_place_of_another_one(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = write_model(tmp_path / "model.onnx", sharpness=9.0)
    second = write_model(tmp_path / "other.onnx", sharpness=3.0)
    other = of_classes(phantoms, tmp_path / "other" / "phantoms", glioma="glioma", notumor="no")

    def found(model: Path, data: Path) -> set[str]:
        words = ["evaluate", str(model), "--data", str(data), "--split", "external"]
        assert main(words) == 0
        return {folder.name for folder in (tmp_path / "evaluations").iterdir()}

    name = f"small-0.1-on-external-{phantoms.name}"
    assert found(first, phantoms) == {name}
    before = (tmp_path / "evaluations" / name / "predictions.csv").read_bytes()
    assert found(second, phantoms) == {name, f"{name}-2"}
    assert (tmp_path / "evaluations" / name / "predictions.csv").read_bytes() == before
    assert found(first, phantoms) == {name, f"{name}-2"}  # the same again takes its own place
    assert found(first, other.parent) == {name, f"{name}-2", f"{name}-3"}


def of_classes(phantoms: Path, folder: Path, **classes: str) -> Path:
    """The phantoms of some classes, each called something else."""
    with (phantoms / "slices.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["class"] in classes]
    kept = [[phantoms / row["file"], classes[row["class"]], row["patient"]] for row in rows]
    folder.mkdir(parents=True)
    return write_csv(folder / "slices.csv", ["file", "class", "patient"], kept)


def test_a_set_from_elsewhere_tests_whole_whatever_classes_it_has(
    phantoms: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    data = of_classes(phantoms, tmp_path / "clinic", glioma="glioma", notumor="healthy")
    model = write_model(tmp_path / "model.onnx", sharpness=9.0)
    words = [str(model), "--data", str(data), "--split", "external", "--json", "found.json"]
    assert main(["evaluate", *words]) == 0
    assert "Test images whose patient or near-duplicate is in training: not known" in (
        capsys.readouterr().out
    )
    found = json.loads(Path("found.json").read_text())
    assert (found["n"], found["groups"], found["classes"]) == (20, 10, list(CLASSES))
    assert [found["per_class"][name]["n"] for name in CLASSES] == [10, 0, 10, 0]
    (folder,) = (tmp_path / "evaluations").iterdir()
    assert folder.name == "small-0.1-on-external-clinic"
    assert (folder / "report.html").is_file()
    with pytest.raises(SystemExit):
        main(["train", "--data", str(data), "--split", "external"])
    assert "invalid choice: 'external'" in capsys.readouterr().err


def test_where_kinds_are_not_known_tumours_are_told_from_none(
    phantoms: Path, tmp_path: Path
) -> None:
    kinds = dict.fromkeys(("glioma", "meningioma", "pituitary"), "yes") | {"notumor": "no"}
    data = of_classes(phantoms, tmp_path / "clinic", **kinds)
    catalogue = read_data([phantoms])
    model = write_model(tmp_path / "model.onnx", sharpness=9.0)
    told = evaluate(model, data=data, split="external")
    assert told.evaluation.classes == ("notumor", "tumour")
    assert told.summary[0].startswith("The kind of some tumours is not known")
    assert "tumour" in told.save(tmp_path / "report").read_text()

    rows = [[item.path.name, *probabilities(item, sure=0.4)] for item in catalogue.slices]
    table = write_csv(tmp_path / "kinds.csv", ["file", *CLASSES], rows)
    by_kind = evaluate(table, data=data, split="external")
    # Each tumour has 0.4 for its kind and 0.2 for "no tumour"; the others 0.4 for that.
    assert by_kind.evaluation.images.metrics["miss_rate"] == 0
    assert by_kind.evaluation.images.metrics["false_positive_rate"] == 1
    assert by_kind.predictions.probabilities[:, 1].min() == pytest.approx(0.6)
    assert by_kind.evaluation.images.metrics["macro_auc"] == 1
    assert str(by_kind.evaluation.facts[LEAKED]).startswith("not known")

    said = {"notumor": "no"}
    answers = [[item.path.name, said.get(item.label, "yes")] for item in catalogue.slices]
    table = write_csv(tmp_path / "answers.csv", ["file", "label"], answers)
    assert evaluate(table, data=data, split="external").evaluation.images.metrics["accuracy"] == 1
    with pytest.raises(DataError, match="says no class; say which tumour"):
        evaluate(table, data=phantoms, split="external")
    spec = InputSpec(size=32, channels=1, classes=("glioma", "meningioma", "pituitary"))
    with pytest.raises(ModelError, match="does not know the class 'notumor' of external, clinic"):
        evaluate(lambda batch: np.ones((len(batch), 3)), data=data, split="external", spec=spec)


def test_a_model_says_where_it_may_have_met_an_external_set(phantoms: Path, tmp_path: Path) -> None:
    recipe = {"training": {"shares": {"clinic": 0.5}}}
    model = write_model(tmp_path / "model.onnx", recipe=recipe, data={"split": "kaggle-patient"})

    def told(name: str) -> str:
        data = of_classes(phantoms, tmp_path / name, glioma="glioma", notumor="no")
        return str(evaluate(model, data=data, split="external").evaluation.facts[LEAKED])

    assert told("clinic") == "not known, perhaps all: the model was trained on a set called clinic"
    assert "perhaps all" in told("kaggle")
    assert "does not list" in told("elsewhere")
    other = write_model(tmp_path / "other.onnx", recipe={"training": 3})
    data = tmp_path / "clinic" / "slices.csv"
    assert "does not list" in str(
        evaluate(other, data=data, split="external").evaluation.facts[LEAKED]
    )


def _without_a_row(rows: list[list[Any]]) -> list[list[Any]]:
    return rows[1:]


def _with_another_file(rows: list[list[Any]]) -> list[list[Any]]:
    return [*rows, ["images/other.png", 1, 0, 0, 0]]


def _with_a_row_twice(rows: list[list[Any]]) -> list[list[Any]]:
    return [*rows, rows[0]]


def _with_half_a_probability(rows: list[list[Any]]) -> list[list[Any]]:
    return [[rows[0][0], 0.2, 0.1, 0.1, 0.1], *rows[1:]]


def _with_a_word(rows: list[list[Any]]) -> list[list[Any]]:
    return [[rows[0][0], "much", 0, 0, 0], *rows[1:]]


def _with_nothing(rows: list[list[Any]]) -> list[list[Any]]:
    return [[rows[0][0], "", "", "", ""], *rows[1:]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_a_row, r"no row for .* of the test part"),
        (_with_another_file, r"'images/other.png' is not in the test part of 8 images"),
        (_with_a_row_twice, "has two rows"),
        (_with_half_a_probability, "sum to 1"),
        (_with_a_word, "is 'much', not a number"),
        (_with_nothing, "glioma is empty: .* refused has none"),
    ],
)
def test_wrong_rows_are_told_in_one_line(
    change: Callable[[list[list[Any]]], list[list[Any]]],
    words: str,
    phantoms: Path,
    tmp_path: Path,
) -> None:
    rows = change([[item.name, *probabilities(item)] for item in slices_of(phantoms, 1)])
    path = write_csv(tmp_path / "p.csv", ["file", *CLASSES], rows)
    with pytest.raises(DataError, match=rf"p\.csv: .*{words}") as error:
        evaluate(path, data=phantoms, split=SPLIT, fold=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (["name", *CLASSES], "no column 'file'"),
        (["file", "glioma", "meningioma", "pituitary", "age"], "no column for the class 'notumor'"),
        (["file", "a", "b", "c", "d"], "neither a column a class"),
        (["file", "glioma", "Glioma", "notumor", "pituitary"], "there twice"),
        (["file", "tumor", "no_tumor", "b", "c"], "tells kinds of tumours apart"),
    ],
)
def test_wrong_columns_are_told(
    header: list[str], words: str, phantoms: Path, tmp_path: Path
) -> None:
    rows = [[item.name, *probabilities(item)] for item in slices_of(phantoms, 1)]
    with pytest.raises(DataError, match=words):
        evaluate(write_csv(tmp_path / "p.csv", header, rows), data=phantoms, split=SPLIT, fold=1)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_tables_of_office_programs_are_read(delimiter: str, phantoms: Path, tmp_path: Path) -> None:
    slices = slices_of(phantoms, 1)
    rows = [[item.name, *map(str, probabilities(item))] for item in slices]
    plain = write_csv(tmp_path / "p.csv", ["file", *CLASSES], rows)
    path = tmp_path / "office.csv"
    lines = [["File", *CLASSES], *([cell.replace("0.", "0,") for cell in row] for row in rows)]
    path.write_text("\n".join(delimiter.join(line) for line in lines), encoding="utf-8-sig")
    found = evaluate(path, data=phantoms, split=SPLIT, fold=1).predictions
    asked = evaluate(plain, data=phantoms, split=SPLIT, fold=1).predictions
    np.testing.assert_array_equal(found.probabilities, asked.probabilities)
    labels = [[item.name, item.label] for item in slices]
    named = write_csv(tmp_path / "l.csv", ["Image path", "Predicted"], labels)
    right = evaluate(named, data=phantoms, split=SPLIT, fold=1).evaluation.images
    assert right.metrics["accuracy"] == 1


def test_a_whole_name_is_told_from_longer_ones_that_end_with_it(tmp_path: Path) -> None:
    slices = [
        Slice(path=tmp_path / name, name=name, label=label, source="set")
        for name, label in (("a/1.png", "glioma"), ("more/a/1.png", "notumor"))
    ]
    rows = [["a/1.png", "glioma"], ["more/a/1.png", "notumor"]]
    path = write_csv(tmp_path / "l.csv", ["file", "label"], rows)
    found = read_predictions(path, slices, folded=False)
    assert found.predicted.tolist() == found.target.tolist()
    write_csv(path, ["file", "label"], [["1.png", "glioma"]])
    with pytest.raises(DataError, match=r"'1\.png' may be set/a/1\.png or set/more/a/1\.png: gi"):
        read_predictions(path, slices, folded=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,path,label\n", "the columns image and path may both name the files"),
        ("file,label\na.png,glioma,0.9\n", "row 2 has more values than columns"),
        ('file,glioma,notumor\n1.png,"0,9","0,1"\n', "glioma is '0,9', not a number"),
    ],
)
def test_what_may_mean_two_things_is_not_guessed(text: str, words: str, tmp_path: Path) -> None:
    item = Slice(path=tmp_path / "1.png", name="1.png", label="glioma", source="set")
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read_predictions(tmp_path / "p.csv", [item], folded=False)


def test_labels_of_one_class_are_evaluated_where_all_are_right(
    phantoms: Path, tmp_path: Path
) -> None:
    data = of_classes(phantoms, tmp_path / "clinic", glioma="glioma")
    rows = [[item.name, item.label] for item in read_data([data]).slices]
    path = write_csv(tmp_path / "l.csv", ["file", "label"], rows)
    found = evaluate(path, data=data, split="external").evaluation
    assert found.images.metrics["accuracy"] == 1
    assert found.images.metrics["miss_rate"] == 0


def test_unknown_classes_missing_files_and_pictures_are_told(
    phantoms: Path, tmp_path: Path
) -> None:
    rows = [[item.name, "cyst"] for item in slices_of(phantoms, 1)]
    path = write_csv(tmp_path / "p.csv", ["file", "label"], rows)
    with pytest.raises(DataError, match="unknown class 'cyst'"):
        evaluate(path, data=phantoms, split=SPLIT, fold=1)
    with pytest.raises(DataError, match="no such file of predictions"):
        evaluate(tmp_path / "none.csv", data=phantoms, split=SPLIT)
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\r\n\xff")
    with pytest.raises(DataError, match="not a CSV table"):
        evaluate(tmp_path / "picture.csv", data=phantoms, split=SPLIT)


def colour_network(path: Path) -> Path:
    """Write a Keras-like classifier: batches of one, channels last, logits of the mean grey."""
    weight = np.array([[4.0, -4.0, 1.0]] * 3, dtype=np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colour",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 24, 24, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(weight, "weight")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path
    )
    return path


TOML = """
classes = ["Meningioma", "glioma", "pituitary_tumor"]
size = 24
mean = 0.5
std = [0.5, 0.5, 0.5]
layout = "NHWC"
"""


def tumours_only(phantoms: Path, folder: Path) -> Path:
    """The phantoms without those that have no tumour."""
    with (phantoms / "slices.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["class"] != "notumor"]
    for row in rows:
        row["file"] = str(phantoms / row["file"])
        row["mask"] = str(phantoms / row["mask"]) if row["mask"] else ""
    with (folder / "tumours.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "tumours.csv"


def test_another_onnx_classifier_is_fed_as_its_toml_says(phantoms: Path, tmp_path: Path) -> None:
    model = colour_network(tmp_path / "colour.onnx")
    with pytest.raises(ModelError, match=r"needs colour\.toml beside it"):
        evaluate(model, data=phantoms, split=SPLIT)
    (tmp_path / "colour.toml").write_text(TOML)
    data = tumours_only(phantoms, tmp_path)
    found = evaluate(str(model), data=data, split=SPLIT, fold=1)
    assert found.predictions.classes == ("meningioma", "glioma", "pituitary")
    assert found.evaluation.facts["preparation"] == "plain resizing"

    def by_hand(batch: np.ndarray) -> np.ndarray:
        assert batch.shape[1:] == (24, 24, 3)
        mean = batch.mean(axis=(1, 2))
        return mean @ np.array([[4.0, -4.0, 1.0]] * 3)

    spec = InputSpec(
        classes=("meningioma", "glioma", "pituitary"),
        size=24,
        mean=(0.5,),
        std=(0.5,),
        layout="NHWC",
    )
    again = evaluate(by_hand, data=data, split=SPLIT, fold=1, spec=spec)
    np.testing.assert_allclose(
        found.predictions.probabilities, again.predictions.probabilities, atol=1e-6
    )
    assert again.evaluation.title == "by_hand on grouped-folds, fold 1"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("size = 24\nnormalise = true", "unknown field 'normalise'"),
        ('classes = ["glioma", "cyst"]', "unknown class 'cyst'"),
        ('classes = ["glioma", "yes"]', "is none of"),
        ("std = 0", "above 0"),
        ("mean = [0.1, 0.2]", "one a channel"),
        ("channels = 4", "channels 1 or 3"),
        ('layout = "CHW"', "NCHW or NHWC"),
        ("size = 'large'", "wrong type"),
        ("size = ", "not a TOML file"),
        ("size = 24", "does not take what its TOML file says"),
    ],
)
def test_a_toml_that_cannot_be_used_is_named(
    line: str, words: str, phantoms: Path, tmp_path: Path
) -> None:
    model = colour_network(tmp_path / "colour.onnx")
    (tmp_path / "colour.toml").write_text(line)
    with pytest.raises(ModelError, match=words) as error:
        evaluate(model, data=phantoms, split=SPLIT, fold=1)
    assert "\n" not in str(error.value)


def test_a_torch_module_is_evaluated_as_it_would_predict(phantoms: Path) -> None:
    import torch  # noqa: PLC0415  (slow to import)

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Dropout(0.5),
        torch.nn.Linear(16, 4),
    )  # fmt: skip
    spec = InputSpec(size=32, channels=1, preparation="tumorscope")
    first = evaluate(module, data=phantoms, split=SPLIT, spec=spec)
    second = evaluate(module, data=phantoms, split=SPLIT, spec=spec)
    assert first.to_json() == second.to_json()  # no dropout
    assert module.training
    module[2].eval()  # (As somebody does who freezes a layer.)
    evaluate(module, data=phantoms, split=SPLIT, spec=spec)
    assert [part.training for part in module] == [True, True, False, True]
    assert first.evaluation.images.n == 8


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda batch: np.zeros((len(batch), 3)), "4 classes are named"),
        (lambda batch: np.full((len(batch), 4), np.nan), "not all numbers"),
        (lambda batch: np.full((len(batch), 4), 0.25), "softmax = false"),
    ],
)
def test_a_function_with_odd_outputs_is_told(
    function: Callable[[np.ndarray], np.ndarray], words: str, phantoms: Path
) -> None:
    with pytest.raises(ModelError, match=words):
        evaluate(function, data=phantoms, split=SPLIT)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fold": 0}, "fold is a whole number of 1 or more, not 0"),
        ({"fold": "1"}, "fold is a whole number of 1 or more, not '1'"),
        ({"fold": 6}, "there is no fold 6: the folds are 1, 2, 3, 4, 5"),
        ({"seed": -1}, "seed is a whole number of 0 or more, not -1"),
        ({"split": "by-patient"}, "unknown split 'by-patient'"),
        ({"tta": True}, r"tta belongs to the classifier: tumorscope\.load\(\.\.\., tta=True\)"),
        ({"spec": InputSpec()}, "spec is of a module or a function"),
    ],
)
def test_arguments_that_mean_nothing_are_told(
    given: dict[str, Any], words: str, phantoms: Path, tmp_path: Path
) -> None:
    model = Classifier.load(write_model(tmp_path / "model.onnx"))
    with pytest.raises((ArgumentError, DataError), match=words) as error:
        evaluate(model, **({"data": phantoms, "split": SPLIT} | given))
    assert "\n" not in str(error.value)


def test_a_classifier_loaded_with_zooms_is_evaluated_with_them(
    phantoms: Path, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "model.onnx", sharpness=9.0)
    loaded = evaluate(Classifier.load(model, tta=True), data=phantoms, split=SPLIT, tta=True)
    asked = evaluate(model, data=phantoms, split=SPLIT, tta=True)
    assert loaded.to_json() == asked.to_json()
    table = write_csv(tmp_path / "p.csv", ["file", "label"], [])
    with pytest.raises(ModelError, match="own model files only"):
        evaluate(table, data=phantoms, split=SPLIT, tta=True)


def test_numbers_of_a_spec_may_stand_alone() -> None:
    grey = np.full((1, 2, 2), 255, np.uint8)
    assert InputSpec(size=2, channels=1, mean=0.5, std=0.5).array(grey).max() == 1
    for wrong in ({"std": 0.0}, {"mean": float("nan")}, {"size": 1.5}):
        with pytest.raises(ModelError):
            InputSpec(**wrong)  # type: ignore[arg-type]


def test_what_is_no_model_is_told(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a int cannot be evaluated"):
        evaluate(3, data=phantoms, split=SPLIT)
    with pytest.raises(ModelError, match="own model files only"):
        evaluate(np.mean, data=phantoms, split=SPLIT, tta=True)
    with pytest.raises(DataError, match="name the test with --split"):
        main(["evaluate", str(write_model(tmp_path / "m.onnx")), "--debug"])
