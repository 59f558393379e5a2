"""The control by shuffled labels: chance where no group is on both sides, more where one is."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorscope.cli.main import main
from tumorscope.datasets.sources import read_data
from tumorscope.errors import ArgumentError
from tumorscope.evaluation.controls import random_labels


@pytest.fixture(scope="module")
def leaky(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms, each once in training and once, mirrored, in the test."""
    folder = tmp_path_factory.mktemp("leaky")
    with (phantoms / "slices.csv").open() as file:
        rows = list(csv.DictReader(file))
    written = []
    for number, row in enumerate(rows):
        with Image.open(phantoms / row["file"]) as picture:
            grey = np.asarray(picture.convert("L"))
        for split, pixels in (("train", grey), ("test", grey[:, ::-1])):
            name = f"{split}-{number}.png"
            Image.fromarray(pixels).save(folder / name)
            written.append([name, row["class"], row["patient"] or row["group"], split])
    with (folder / "slices.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "class", "group", "split"], *written])
    return folder


def test_a_split_with_copies_on_both_sides_remembers_labels_that_mean_nothing(leaky: Path) -> None:
    found = random_labels(read_data([leaky]), "published-split", shuffles=200)
    assert found.n == 40
    assert found.accuracy == pytest.approx(1.0)
    assert found.chance == pytest.approx(0.25, abs=0.02)


def test_folds_by_group_show_chance_and_the_seed_repeats(phantoms: Path) -> None:
    catalogue = read_data([phantoms])
    found = random_labels(catalogue, "grouped-folds", shuffles=300, seed=4)
    assert found.n == 40
    low, high = found.range
    assert low < found.chance < high
    assert abs(found.accuracy - found.chance) < 0.08
    assert random_labels(catalogue, "grouped-folds", shuffles=300, seed=4) == found


def test_a_seed_below_zero_is_refused(leaky: Path) -> None:
    with pytest.raises(ArgumentError, match="seed is a whole number of 0 or more"):
        random_labels(read_data([leaky]), "published-split", seed=-1)


def test_the_command_trains_nothing(leaky: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["crossval", "--control", "random-labels", "--data", str(leaky)]
    assert main([*words, "--split", "published-split", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1.0
    assert main([*words, "--split", "published-split"]) == 0
    assert "chance 25" in capsys.readouterr().out.replace("\n", " ")
