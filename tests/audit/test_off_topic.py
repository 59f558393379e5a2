"""Photographs among heads are found by the bundled model's OOD score."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import tumorscope
from tumorscope.audit.off_topic import find_off_topic
from tumorscope.cli.main import main
from tumorscope.datasets.catalogue import Slice
from tumorscope.phantoms.drawing import draw_phantom


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten heads and four pieces of photographs."""
    folder = tmp_path_factory.mktemp("mixed") / "glioma"
    folder.mkdir()
    for seed in range(10):
        head = draw_phantom("notumor", plane="axial", patient_seed=seed, slice_number=2).image
        Image.fromarray(head).save(folder / f"head-{seed}.png")
    for name in ("china", "flower"):
        photograph = load_sample_image(f"{name}.jpg")
        for number, first in enumerate((0, 250)):
            Image.fromarray(photograph[:, first : first + 390]).save(
                folder / f"photograph-{name}-{number}.png"
            )
    return folder


def test_photographs_are_the_first_of_what_is_off_topic(mixed: Path) -> None:
    paths = sorted(mixed.iterdir())
    items = [Slice(path=path, name=path.name, label="", source="set") for path in paths]
    found = find_off_topic(items, tumorscope.load())
    first = [paths[item.place].name for item in found[:4]]
    assert all(name.startswith("photograph") for name in first)
    assert len(found) <= 8
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
    assert all(item.reason for item in found)


def test_a_blank_picture_is_off_topic_too(tmp_path: Path) -> None:
    path = tmp_path / "blank.png"
    Image.fromarray(np.full((64, 64), 90, dtype=np.uint8)).save(path)
    item = Slice(path=path, name=path.name, label="", source="set")
    (found,) = find_off_topic([item], tumorscope.load())
    assert "blank" in found.reason
    assert find_off_topic([], tumorscope.load()) == ()


def test_the_command_lists_them_when_asked(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "audit.html"
    assert main(["audit", str(mixed), "--off-topic", "--json", "-", "--html", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["off_topic"][0]["name"].startswith("photograph")
    assert any(item["what"] == "off-topic pictures" for item in found["findings"])
    assert "Off-topic pictures" in page.read_text()
    main(["audit", str(mixed), "--json", "-"])
    assert json.loads(capsys.readouterr().out)["off_topic"] is None
