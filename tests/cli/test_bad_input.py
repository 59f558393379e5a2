"""What people really give to the commands: each time one line that says what to do."""

import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from png_files import png_chunk
from tumorscope.classes import CLASSES
from tumorscope.cli.main import main

Say = Callable[..., str]

BROKEN = {
    "corrupt.jpg": "damaged picture",
    "truncated.jpg": "damaged picture, it ends too early",
    "text.jpg": "not a JPEG",
    "empty.jpg": "not a JPEG",
    "dot.png": "1x1 pixels are too few",
    "huge.png": "more than 50 million pixels",
}
"""Files that are no pictures, or none that can be judged, and what is said of them."""


def write_broken(folder: Path, whole: bytes) -> None:
    """Write the files of `BROKEN`; the damaged ones are made of a whole JPEG file."""
    half = len(whole) // 2
    scan = whole.index(b"\xff\xda") + 12
    (folder / "corrupt.jpg").write_bytes(whole[:scan] + b"\xff\xc0" * 40 + whole[scan:])
    (folder / "truncated.jpg").write_bytes(whole[:half])
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.jpg").touch()
    Image.new("L", (1, 1), 90).save(folder / "dot.png")
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(100_000)))
    (folder / "huge.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + pixels + png_chunk(b"IEND", b"")
    )


@pytest.fixture
def pictures(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    """A folder with six pictures of each class; to be spoilt."""
    folder = tmp_path / "pictures"
    for number, label in enumerate(CLASSES):
        for slice_ in range(6):
            draw(folder / label / f"{slice_}.jpg", 100 * number + slice_, label=label)
    return folder


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], tmp_path: Path, small: list[str]) -> Say:
    """Runs `train` on data that it must refuse, and returns the line that says why."""

    def run(data: Path, *words: str, split: str = "grouped-folds") -> str:
        given = ["train", "--data", str(data), "--split", split, *small, *words]
        assert main([*given, "--out", str(tmp_path / "run")]) == 2
        assert not (tmp_path / "run").exists()
        # What is trained may stand before it, where the fault shows only later.
        *before, error = capsys.readouterr().err.splitlines()
        assert not before
        return error.removeprefix("tumorscope: ")

    return run


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


# Data


def test_an_empty_folder(say: Say, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "a data set is a folder with one folder a class" in say(tmp_path / "empty")


def test_a_class_folder_is_missing(say: Say, pictures: Path) -> None:
    (pictures / "meningioma").rename(pictures.parent / "away")
    said = say(pictures)
    assert "no picture of class 'meningioma'" in said
    assert "add a folder" in said


def test_a_class_folder_is_empty_or_holds_only_broken_files(say: Say, pictures: Path) -> None:
    for path in (pictures / "meningioma").iterdir():
        path.write_text("no picture")
    assert "no picture of class 'meningioma'" in say(pictures)


def test_a_folder_of_an_unknown_class(say: Say, pictures: Path) -> None:
    (pictures / "glioma").rename(pictures / "schwannoma")
    said = say(pictures)
    assert "schwannoma/0.jpg: stands in no folder called like a class (glioma," in said


def test_an_unknown_label_in_a_table(say: Say, pictures: Path) -> None:
    path = table(pictures / "mine.csv", "file,class", "glioma/0.jpg,schwannoma")
    said = say(path)
    assert f"{path}, row 2: unknown class 'schwannoma': the classes are glioma, " in said


def test_a_fold_that_would_share_a_patient(say: Say, pictures: Path) -> None:
    lines = [
        f"{label}/{number}.jpg,{label},{label} {number // 2},{1 + number % 5}"
        for label in CLASSES
        for number in range(6)
    ]
    said = say(table(pictures / "mine.csv", "file,class,patient,fold", *lines))
    assert re.search(r"group '\w+ \d' stands in both test and train \(see \w+/\d\.jpg\)", said)
    assert "put all of a patient's slices on one side" in said


def test_a_published_split_that_shares_patients_is_named_for_what_it_is(
    pictures: Path, tmp_path: Path, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        f"{label}/{number}.jpg,{label},{label} {number // 2},{'train' if number else 'test'}"
        for label in CLASSES
        for number in range(6)
    ]
    path = table(pictures / "mine.csv", "file,class,patient,split", *lines)
    words = ["train", "--data", str(path), "--split", "published-split", *small, "--no-test"]
    run = tmp_path / "run"
    assert main([*words, "--set", "training.epochs=1", "--out", str(run)]) == 0
    assert "4 test slices show a patient or slice that is in training too: this split leaks" in (
        capsys.readouterr().err
    )
    assert json.loads((run / "data.json").read_text())["test_slices_whose_group_was_learned"] == 4


def test_a_class_that_nothing_validates_is_named(
    pictures: Path, tmp_path: Path, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        f"{label}/{number}.jpg,{label},{part}"
        for label in CLASSES
        for number, part in enumerate(("train", "train", "train", "test", "test", "validation"))
        if part != "validation" or label == "notumor"
    ]
    path = table(pictures / "mine.csv", "file,class,split", *lines)
    words = ["train", "--data", str(path), "--split", "published-split", *small, "--no-test"]
    assert main([*words, "--set", "training.epochs=1", "--out", str(tmp_path / "run")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "1 validation (no slice of: glioma, meningioma, pituitary), 8 test" in said


def test_own_data_is_told_which_splits_it_has(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--data", str(pictures)]) == 2
    assert "data of your own has --split grouped-folds or published-split" in (
        capsys.readouterr().err
    )


def test_broken_pictures_are_left_out_and_listed_and_the_others_used(
    pictures: Path, tmp_path: Path, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (pictures / "glioma" / "0.jpg").read_bytes()
    write_broken(pictures / "glioma", whole)
    run = tmp_path / "run"
    words = ["train", "--data", str(pictures), "--split", "grouped-folds", *small]
    assert main([*words, "--set", "training.epochs=1", "--out", str(run)]) == 0
    said = capsys.readouterr().err
    assert "6 files skipped (listed in data.json)" in said
    assert said.count("left out: glioma/") == 5
    assert "and 1 more (all in data.json)" in said
    facts = json.loads((run / "data.json").read_text())
    assert sum(sum(part.values()) for part in facts["counts"].values()) == 24
    listed = {item["name"]: item["reason"] for item in facts["skipped"]}
    assert set(listed) == {f"glioma/{name}" for name in BROKEN}
    page = (run / "report.html").read_text()
    for name, reason in BROKEN.items():
        assert reason in listed[f"glioma/{name}"]
        assert f"glioma/{name}" in page
        assert reason in page


@pytest.mark.parametrize("command", ["audit", "predict"])
def test_broken_pictures_are_named_and_the_others_judged(
    command: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (pictures / "glioma" / "0.jpg").read_bytes()
    write_broken(pictures / "glioma", whole)
    words = [command, str(pictures / "glioma"), *(["--json", "-"] if command == "audit" else [])]
    assert main([*words, *(["--json"] if command == "predict" else [])]) == 1
    said = capsys.readouterr()
    assert said.err == ""
    found = json.loads(said.out)
    if command == "audit":
        assert found["files"] == 6
        reasons = {item["name"]: item["reason"] for item in found["unreadable"]}
    else:
        assert sum("label" in item for item in found) == 6
        reasons = {Path(item["path"]).name: item["error"] for item in found if "error" in item}
    assert set(reasons) == set(BROKEN)
    assert all(reason in reasons[name] for name, reason in BROKEN.items() if "not a" not in reason)


# Recipes


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("training.epoch=3", "there is no field 'training.epoch'; did you mean 'training.epochs'?"),
        ("epochs=3", "there is no field 'epochs'"),
        ("training.epochs=many", "training.epochs is 'many': input should be a valid integer"),
        ("training.epochs=0", "training.epochs is 0: input should be greater than or equal to 1"),
        ("training=3", "training is 3: "),
        ("input.size=33", "input.size is 33: input should be a multiple of 32"),
        ("loss.class_weights=some", "input should be 'none' or 'balanced'"),
        ("training.epochs", "--set takes section.field=value, not 'training.epochs'"),
        (
            "network.name=monai:nothing",
            "input should be 'litenet', 'slicenet', 'plain', 'monai:dense",
        ),
    ],
)
def test_a_recipe_that_cannot_be(say: Say, pictures: Path, field: str, said: str) -> None:
    assert said in say(pictures, "--set", field)


def test_shares_of_sets_that_are_not_there_are_told(
    phantoms: Path, tmp_path: Path, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--data", f"mine={phantoms}", "--split", "grouped-folds", *small]
    fields = ["training.shares.mine=0.5", "training.shares.mien=0.5", "training.epochs=1"]
    more = [word for field in fields for word in ("--set", field)]
    assert main([*words, *more, "--no-test", "--out", str(tmp_path / "run")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "training.shares names mien, not among the data: the sets to train on are mine" in said


def test_a_recipe_file_with_a_misspelt_field(say: Say, pictures: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "mine.toml", "[optimizer]", "learning_rat = 0.1")
    said = say(pictures, "--recipe", str(path))
    assert said == (
        f"recipe {path}: there is no field 'optimizer.learning_rat'; "
        "did you mean 'optimizer.learning_rate'?"
    )


def test_a_recipe_file_that_is_no_toml(say: Say, pictures: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "mine.toml", "training: epochs 3")
    assert say(pictures, "--recipe", str(path)).startswith(f"{path}: not TOML (")
    assert "no recipe 'quik'" in say(pictures, "--recipe", "quik")
