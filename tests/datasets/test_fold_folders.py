"""Folds written for other tools: complete, disjoint, and readable again."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tumorscope.classes import CLASSES
from tumorscope.cli.main import main
from tumorscope.datasets.sources import read_set


@pytest.fixture(scope="module")
def folds(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds") / "out"
    words = ["crossval", "--data", str(phantoms), "--split", "grouped-folds"]
    assert main([*words, "--folds-out", str(folder)]) == 0
    return folder


def test_names_that_are_long_or_no_utf8_are_listed(
    draw: Callable[..., Path], tmp_path: Path
) -> None:
    data, long = tmp_path / "data", "\N{CJK UNIFIED IDEOGRAPH-8111}" * 70
    odd = b"caf\xe9 ".decode("utf-8", "surrogateescape")
    for label in CLASSES:
        for number in range(5):
            stem = odd if label == "glioma" else long
            seed = 10 * CLASSES.index(label) + number
            draw(data / label / f"{stem}{number}.png", seed, label=label)
    groups = tmp_path / "groups.csv"
    assert main(["audit", str(data), "--groups", str(groups)]) == 0
    assert b"glioma/caf\xe9 4.png,glioma," in groups.read_bytes()
    words = ["crossval", "--data", str(data), "--split", "grouped-folds"]
    assert main([*words, "--folds-out", str(tmp_path / "out")]) == 0
    lists = [path.read_bytes() for path in (tmp_path / "out").glob("*/*.csv")]
    listed = [line for content in lists for line in content.splitlines() if b"caf\xe9" in line]
    assert len(listed) == 5 * 5


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_fold_has_three_lists_and_as_many_links(folds: Path) -> None:
    tested: list[str] = []
    for number in range(1, 6):
        fold = folds / f"fold-{number}"
        groups: dict[str, set[str]] = {}
        for part in ("train", "val", "test"):
            listed = rows(fold / f"{part}.csv")
            groups[part] = {row["group"] for row in listed}
            assert sorted(path.name for path in (fold / part).iterdir()) == list(CLASSES)
            for label in CLASSES:
                links = {str(link.resolve()) for link in (fold / part / label).iterdir()}
                assert links == {row["file"] for row in listed if row["class"] == label}
                assert all(Path(link).is_file() for link in links)
            tested += [row["file"] for row in listed if part == "test"]
        assert not groups["train"] & groups["test"]
        assert not groups["val"] & (groups["train"] | groups["test"])
    assert len(tested) == len(set(tested)) == 40


def test_what_was_written_is_a_data_set_with_three_parts(folds: Path) -> None:
    table = read_set(folds / "fold-1" / "train.csv")
    assert {item.split for item in table.slices} == {"train"}
    tree = read_set(folds / "fold-2")
    assert len(tree) == 40
    assert {item.split for item in tree.slices} == {"train", "validation", "test"}


def test_a_folder_that_holds_something_is_left_alone(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    words = ["crossval", "--data", str(phantoms), "--split", "grouped-folds"]
    assert main([*words, "--folds-out", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_is_in_no_fold_is_named(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    (data / "images" / "broken.png").write_text("no picture")
    (data / "notes.txt").write_text("about")
    words = ["crossval", "--data", str(data), "--split", "grouped-folds"]
    assert main([*words, "--folds-out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "left out: images/broken.png: not in" in said
    assert "ignored 1 file (1 text or document)" in said
