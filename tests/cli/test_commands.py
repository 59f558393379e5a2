"""The commands end to end, as a person types them: what they write, say and return."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from small_model import write_model
from tumorscope.cli.main import main
from tumorscope.evaluation.predictor import LEAKED
from tumorscope.evaluation.wording import percent, percent_interval
from tumorscope.inference import Classifier
from tumorscope.inference.model_file import DEFAULT_MODEL
from tumorscope.phantoms.drawing import draw_phantom


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with a split, a mirrored twin across it, a label conflict and a broken file."""
    root = tmp_path_factory.mktemp("trees") / "tree"
    labels = ("glioma", "meningioma", "notumor", "pituitary")
    for number, label in enumerate(labels):
        for split, count in (("Training", 6), ("Testing", 3)):
            folder = root / split / label
            folder.mkdir(parents=True)
            for slice_ in range(count):
                seed = 1000 * number + 100 * (split == "Testing") + slice_
                image = draw_phantom(
                    label, plane="axial", patient_seed=seed, slice_number=1, size=160
                ).image
                Image.fromarray(image).save(folder / f"{slice_}.png")
    first = np.asarray(Image.open(root / "Training" / "glioma" / "0.png"))
    Image.fromarray(np.fliplr(first)).save(root / "Testing" / "glioma" / "twin.png")
    shutil.copy(root / "Training" / "glioma" / "1.png", root / "Training" / "pituitary" / "c.png")
    (root / "Training" / "notumor" / "text.jpg").write_text("no picture")
    return root


def test_audit_finds_leaks_conflicts_and_broken_files(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, figures, groups = tmp_path / "a.html", tmp_path / "a.json", tmp_path / "g.csv"
    words = ["audit", str(tree), "--html", str(page), "--json", str(figures)]
    assert main([*words, "--groups", str(groups)]) == 1
    shown = capsys.readouterr().out
    assert "text.jpg" in shown
    assert "Research use only" in shown
    found = json.loads(figures.read_text())
    assert any("mirrored" in json.dumps(item).lower() for item in found["findings"])
    rows = {row["file"]: row for row in csv.DictReader(groups.open())}
    twin = rows["Testing/glioma/twin.png"]["group"]
    assert twin == rows["Training/glioma/0.png"]["group"]
    assert rows["Training/glioma/1.png"]["group"] == rows["Training/pituitary/c.png"]["group"]
    assert len({row["group"] for row in rows.values()}) > 20
    text = page.read_text()
    assert "data:image/" in text
    assert 'src="http' not in text
    assert "Research use only" in text


def test_one_picture_is_told_in_the_singular(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "glioma").mkdir()
    shutil.copy(tree / "Training" / "glioma" / "0.png", tmp_path / "glioma")
    assert main(["audit", str(tmp_path)]) == 0
    assert f"{tmp_path}: 1 picture of 1 different slice\n" in capsys.readouterr().out


def test_audit_as_json_prints_nothing_else(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["audit", str(tree), "--json", "-"])
    assert json.loads(capsys.readouterr().out)["verdict"]


def test_run_is_evaluated_again_and_summed_up(
    trained: Path, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    before = json.loads((run / "evaluation.json").read_text())
    assert main(["evaluate", str(run), "--json", "-"]) == 0
    after = json.loads(capsys.readouterr().out)
    keys = {"n", "accuracy", "balanced_accuracy", "macro_f1", "ece", "confusion", "per_class"}
    assert keys | {"interval"} <= set(after)
    assert after["accuracy"] == before["accuracy"]
    assert main(["evaluate", str(run), "--split", "published-split"]) == 0
    assert (run / "evaluations" / "published-split" / "report.html").is_file()
    # What it learned from is no surprise to it, wherever it stands.
    clinic = tmp_path / "clinic"
    shutil.copytree(phantoms, clinic)
    # Other data has a report of its own, the run's stays.
    words = ["evaluate", str(run), "--split", after["facts"]["protocol"], "--data", str(clinic)]
    assert main(words) == 0
    assert json.loads((run / "evaluation.json").read_text()) == after
    (clinic / "images" / "broken.png").write_text("no picture")
    words = ["evaluate", str(run), "--split", "external", "--data", str(clinic)]
    capsys.readouterr()
    assert main(words) == 0
    shown = capsys.readouterr().out
    known = 40 - before["n"]
    assert f"Of them {known} show a patient, or a near-duplicate of a slice, that is in" in shown
    assert "1 file left out, listed in the report" in shown
    assert "left out: images/broken.png: not in" in shown
    external = json.loads((run / "evaluations/external-clinic/evaluation.json").read_text())
    assert (external["n"], external["facts"][LEAKED]) == (40, known)
    assert main(["info", str(run)]) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.strip() == str(run)
    facts = dict(re.split(r" +│ ", row.strip(), maxsplit=1) for row in rows[:-1])
    assert facts["state"] == "trained and evaluated"
    assert facts["test accuracy"] == percent(before["accuracy"])
    assert facts["95 % interval"] == f"{percent_interval(before['interval']['accuracy'])} %"
    assert main(["info", str(run), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["test accuracy"] == before["accuracy"]
    # Of 40 phantom patients a tenth validates.
    assert before["facts"]["confident and wrong"] == "not known: too few validation patients"
    (run / "evaluation.json").unlink()
    (run / "weights.safetensors").write_bytes(b"damaged")
    assert main(["evaluate", str(run)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_of_other_data_cannot_be_read_is_told_of_a_run_too(
    trained: Path, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clinic = tmp_path / "clinic"
    shutil.copytree(phantoms, clinic)
    facts = json.loads((trained / "data.json").read_text())
    rows = csv.DictReader((clinic / "slices.csv").open())
    broken = next(row["file"] for row in rows if int(row["fold"]) == facts["fold"])
    (clinic / broken).write_text("no picture")
    words = ["evaluate", str(trained), "--split", facts["split"], "--data", str(clinic)]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert f"left out: {broken}: " in capsys.readouterr().out
    assert broken in (tmp_path / "a" / "report.html").read_text()


def test_leaks_are_a_lower_bound_where_some_of_the_training_data_is_gone(
    trained: Path, phantoms: Path, tmp_path: Path
) -> None:
    run, clinic = tmp_path / "run", tmp_path / "clinic"
    shutil.copytree(trained, run)
    shutil.copytree(phantoms, clinic)
    left = tmp_path / "left" / phantoms.name
    shutil.copytree(phantoms, left)
    facts = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**facts, "data": [str(left)]}))
    learned = {
        row["file"] for row in csv.DictReader((run / "slices.csv").open()) if row["part"] != "test"
    }
    header, *rows = (left / "slices.csv").read_text().splitlines()
    kept = [row for row in rows if row.split(",")[0] in learned][:10]
    (left / "slices.csv").write_text("\n".join([header, *kept]) + "\n")
    words = ["evaluate", str(run), "--split", "external", "--data", str(clinic)]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    leaked = json.loads((tmp_path / "a" / "evaluation.json").read_text())["facts"][LEAKED]
    assert leaked.startswith("at least 10: of ")
    assert leaked.endswith(f"{len(learned)} slices that were learned from 10 are at hand")


def test_a_run_on_a_part_of_a_published_set_is_evaluated_on_more_of_it(
    real_data: Path, small: list[str], tmp_path: Path
) -> None:
    for folder, count in (("part", 4), ("more", 7)):
        for part in ("Training", "Testing"):
            for label in ("glioma", "meningioma", "notumor", "pituitary"):
                place = tmp_path / folder / part / label
                place.mkdir(parents=True)
                for path in sorted((real_data / "kaggle" / part / label).iterdir())[:count]:
                    shutil.copy(path, place)
    run = tmp_path / "run"
    split = ["--split", "kaggle-official"]
    words = ["train", "--data", str(tmp_path / "part"), *split, *small, "--out", str(run)]
    assert main([*words, "--set", "training.epochs=1", "--no-test"]) == 0
    words = ["evaluate", str(run), "--data", str(tmp_path / "more"), *split]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    found = json.loads((tmp_path / "a" / "evaluation.json").read_text())
    assert found["n"] == 28
    assert isinstance(found["facts"][LEAKED], int)


@pytest.mark.parametrize("command", ["evaluate run", "train", "tune"])
def test_folds_are_counted_from_one(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--fold", "0"])
    assert stopped.value.code == 2
    assert "--fold: '0' is not a whole number of 1 or more" in capsys.readouterr().err


def test_commands_that_are_named_can_be_typed(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "my runs" / "a & b"
    shutil.copytree(trained, run)
    (run / "evaluation.json").unlink()
    (run / "weights.safetensors").unlink()
    assert main(["evaluate", str(run)]) == 2
    said = capsys.readouterr().err
    assert shlex.split(said.partition("go on with: ")[2])[-1] == str(run)
    assert main(["info", str(run), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["state"].endswith(f"--resume '{run}'")


def test_brackets_and_colons_of_a_path_are_printed_as_they_are(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs [a]" / "of :brain: [/b]"
    shutil.copytree(trained, run)
    assert main(["evaluate", str(run)]) == 0
    assert f"report: {run}/report.html\n" in capsys.readouterr().out
    assert main(["info", str(run)]) == 0
    assert str(run) in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", ["evaluate RUN", "evaluate tumorscope-edge", "evaluate mine.csv", "train", "tune"]
)
def test_a_fold_of_a_split_without_folds_is_refused(
    command: str,
    trained: Path,
    phantoms: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_text("file,label\n")
    words = [*command.replace("RUN", str(trained)).split(), "--data", str(phantoms)]
    assert main([*words, "--split", "published-split", "--fold", "3"]) == 2
    said = "tumorscope: published-split has no folds: leave out fold 3, or use another split\n"
    assert capsys.readouterr().err == said
    assert [path.name for path in Path().iterdir()] == ["mine.csv"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("data", "scans", "data is 'scans'"),
        ("split", None, "split is None"),
        ("fold", "1", "fold is '1'"),
        ("counts", {"train": 5}, "counts.train is 5"),
        ("skipped", ["a.jpg"], "skipped.0 is 'a.jpg'"),
    ],
)
def test_a_run_whose_data_file_holds_other_types_is_named(
    name: str,
    value: object,
    words: str,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "evaluation.json").unlink()
    facts = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(facts | {name: value}))
    for command in (["train", "--resume"], ["evaluate"], ["info"]):
        assert main([*command, str(run)]) == 2
        assert capsys.readouterr().err == f"tumorscope: {run}/data.json: damaged, {words}\n"


def test_a_model_file_is_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = Classifier.load().facts
    assert main(["info", DEFAULT_MODEL, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == facts.title
    assert found["training slices"] == sum(facts.data["counts"]["train"].values())
    assert found["confident and wrong"] == "at most 2% of a new patient's slices, expected"
    sparse = write_model(tmp_path / "sparse.onnx")  # says nothing of training
    assert main(["info", str(sparse), "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["training slices"] is None
    assert found["confident and wrong"] == "not known: too few validation patients"
    assert main(["info", DEFAULT_MODEL]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert facts.title in said
    assert facts.license in said


@pytest.mark.parametrize(
    "damaged",
    [{"data": {"counts": {"train": {"glioma": 3}}}}, {"recipe": {"network": {"name": "lite"}}}],
)
def test_damaged_metadata_of_a_model_file_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damaged: dict[str, Any]
) -> None:
    path = write_model(tmp_path / "m.onnx", **damaged)
    assert main(["info", str(path)]) == 2
    out, complaint = capsys.readouterr()
    assert not out
    assert complaint.startswith(f"tumorscope: {path}: its metadata are damaged (")
    assert complaint.endswith("): export it again\n")


def test_run_is_judged_at_three_zooms(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    before = (run / "evaluation.json").read_bytes()
    assert main(["evaluate", str(run), "--tta"]) == 0
    assert (run / "evaluation.json").read_bytes() == before
    (folder,) = (run / "evaluations").iterdir()
    assert folder.name.endswith("-tta")
    careful, plain = json.loads((folder / "evaluation.json").read_text()), json.loads(before)
    assert careful["facts"]["test-time augmentation"] == "mean of three zooms"
    assert careful["n"] == plain["n"]
    assert careful["nll"] != plain["nll"]


def test_crossval_pools_folds_and_keeps_finished_ones(
    phantoms: Path, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, data = tmp_path / "folds", tmp_path / "data"
    shutil.copytree(phantoms, data)
    words = ["crossval", "--data", str(data), "--split", "grouped-folds", *small]
    words += ["--set", "training.epochs=1"]
    assert main([*words, "--out", str(folder)]) == 0
    pooled = json.loads((folder / "evaluation.json").read_text())
    assert pooled["n"] == 40
    assert pooled["facts"]["test images whose patient or near-duplicate is in training"] == 0
    weights = folder / "fold-2" / "weights.safetensors"
    stamp = weights.stat().st_mtime_ns
    assert main(["crossval", "--resume", str(folder)]) == 0
    assert weights.stat().st_mtime_ns == stamp
    assert json.loads((folder / "evaluation.json").read_text())["confusion"] == pooled["confusion"]
    # Nothing is pooled, or put in place of what is there, once the data has changed.
    rows = (data / "slices.csv").read_text().splitlines(keepends=True)
    (data / "slices.csv").write_text("".join(rows[:1] + rows[2:]))
    capsys.readouterr()
    assert main(["crossval", "--resume", str(folder)]) == 2
    said = f"tumorscope: {folder}/fold-1: this run was started on other data; it cannot go on\n"
    assert capsys.readouterr().err == said
    before = (folder / "fold-1" / "evaluation.json").read_bytes()
    assert main(["evaluate", str(folder / "fold-1")]) == 0
    assert (folder / "fold-1" / "evaluation.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit", "EMPTY"], "EMPTY"),
        (["audit", "EMPTY/nothing"], "no such"),
        (["train", "--data", "EMPTY", "--split", "grouped-folds"], "no picture found"),
        (["train", "--data", "EMPTY/nothing", "--split", "grouped-folds"], "no such"),
        (["train", "--set", "training.epoch=3"], "training.epochs"),
        (["info", "EMPTY"], "no run folder"),
        (["evaluate", "EMPTY"], "no run folder"),
        (["demo", "--out", "FULL"], "not empty"),
        (["export", "EMPTY", "--format", "onnx"], "is the run finished"),
    ],
)
def test_bad_input_gives_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, full = tmp_path / "EMPTY", tmp_path / "FULL"
    empty.mkdir()
    full.mkdir()
    (full / "mine.txt").write_text("keep")
    places = {"EMPTY": str(empty), "FULL": str(full), "EMPTY/nothing": str(empty / "nothing")}
    assert main([places.get(word, word) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tumorscope: ")
    assert error.count("\n") == 1
    assert said in error
    assert (full / "mine.txt").read_text() == "keep"


def test_what_one_fold_cannot_read_is_in_the_pooled_report(
    phantoms: Path, small: list[str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    rows = csv.DictReader((data / "slices.csv").open())
    broken = next(row["file"] for row in rows if row["fold"] == "1")
    (data / broken).write_text("no picture")
    words = ["crossval", "--data", str(data), "--split", "grouped-folds", *small]
    assert main([*words, "--set", "training.epochs=1", "--out", str(tmp_path / "a")]) == 0
    assert broken in (tmp_path / "a" / "report.html").read_text()


@pytest.mark.parametrize("kept", ["run/recipe.toml", "phantoms/mine.txt"])
def test_demo_takes_away_nothing_but_what_a_demo_left(
    kept: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / kept
    mine.parent.mkdir(parents=True)
    mine.write_text("keep")
    (tmp_path / "thesis.pdf").touch()
    assert main(["demo", "--out", str(tmp_path)]) == 2
    (tmp_path / "thesis.pdf").unlink()
    if kept.startswith("run"):
        assert main(["demo", "--out", str(tmp_path)]) == 2
    assert main(["demo", "--out", str(tmp_path), "--data", str(mine.parent)]) == 2
    assert "holds the data" in capsys.readouterr().err
    assert mine.read_text() == "keep"


@pytest.mark.parametrize(
    "words",
    [["--resume", "a", "--folds-out", "b"], ["--resume", "a", "--control", "random-labels"]],
)
def test_what_is_done_instead_of_a_crossval_is_refused_beside_another(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["crossval", *words])
    assert f"{words[2]}: not allowed with argument --resume" in capsys.readouterr().err


def test_demo_goes_the_whole_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tumorscope.cli import run_demo  # noqa: PLC0415

    monkeypatch.setattr(run_demo, "_PATIENTS", 5)
    monkeypatch.setattr(run_demo, "_SLICES", 2)
    recipe = run_demo.load_recipe
    monkeypatch.setattr(
        run_demo, "load_recipe", lambda name, fields: recipe(name, [*fields, "training.epochs=2"])
    )
    folder = tmp_path / "demo"
    assert main(["demo", "--out", str(folder)]) == 0
    shown = capsys.readouterr().out
    for name in ("audit.html", "model.onnx", "model.torchscript", "run/report.html", "overlay.png"):
        assert (folder / name).is_file()
    for planted in (
        "near-duplicates across the split",
        "one slice under two labels",
        "near copies",
    ):
        assert planted in shown
    assert "tumorscope-edge" in shown
    assert str(folder / "run" / "report.html") in shown.replace("\n", "")


@pytest.mark.parametrize("command", ["train", "crossval", "tune"])
@pytest.mark.parametrize(
    "words", [["--set", "training.epochs=9"], ["--seed", "0"], ["--split", "kaggle-patient"]]
)
def test_what_a_run_has_settled_is_refused_beside_resume(
    trained: Path, capsys: pytest.CaptureFixture[str], command: str, words: list[str]
) -> None:
    if command != "crossval":
        words = [*words, "--fold", "1"]
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    assert main([command, "--resume", str(trained), "--data", "elsewhere", *words]) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    named = {word for word in complaint.replace(",", "").split() if word.startswith("--")}
    assert named == {"--resume", "--data", *(word for word in words if word.startswith("--"))}
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before
