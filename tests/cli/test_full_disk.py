"""A disk that is full: one line with what to do, nothing half-written, what was there is whole."""

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from tumorscope.cli.main import main

Disk = Callable[[int], Path]
KIB = 1024


@pytest.fixture
def complaint(capfd: pytest.CaptureFixture[str]) -> Callable[[Sequence[str]], str]:
    """Runs a command that must fail and returns what it says; only epochs may stand before it."""

    def run(words: Sequence[str]) -> str:
        capfd.readouterr()
        assert main(words) == 2
        *before, last = capfd.readouterr().err.splitlines()
        assert all(line.startswith(("quick: ", "epoch ")) for line in before), before
        assert last.startswith("tumorscope: ")
        return last

    return run


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as file:
        return [{**row, "images_per_second": ""} for row in csv.DictReader(file)]


@pytest.fixture
def training(phantoms: Path, small: list[str]) -> list[str]:
    return ["train", "--data", str(phantoms), "--split", "grouped-folds", *small]


def test_training_keeps_its_checkpoints_and_goes_on_to_the_same_end(
    training: list[str],
    trained: Path,
    small_disk: Disk,
    complaint: Callable[[Sequence[str]], str],
) -> None:
    # Two checkpoints find room, but not the third, which is written before one of them goes.
    one = (trained / "checkpoints" / "last.ckpt").stat().st_size
    disk = small_disk(int(2.6 * one))
    run = disk / "run"
    said = complaint([*training, "--out", str(run)])
    assert "No space left on device" in said
    assert f"{run}/checkpoints/" in said
    assert said.endswith(f"then go on with: tumorscope train --resume {run}")
    assert not [name for name in names(run) if Path(name).name.startswith(".")]
    for name in ("best", "last"):
        torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    assert "weights.safetensors" not in names(run)
    small_disk(20 * one)
    assert main(["train", "--resume", str(run)]) == 0
    weights = "weights.safetensors"
    assert (run / weights).read_bytes() == (trained / weights).read_bytes()
    assert rows(run) == rows(trained)
    assert names(run) >= {"report.html", "evaluation.json"}


@pytest.mark.parametrize("size", [4, 8, 12, 16, 20, 24, 40])
def test_a_run_is_begun_whole_or_not_at_all(
    training: list[str],
    small_disk: Disk,
    complaint: Callable[[Sequence[str]], str],
    size: int,
) -> None:
    disk = small_disk(size * KIB)
    said = complaint([*training, "--out", str(disk / "run")])
    assert "No space left on device" in said
    begun = {"recipe.toml", "data.json", "slices.csv", "environment.json"}
    if size <= 12:
        assert list(disk.iterdir()) == []
        assert said.endswith("make room there, then run it again")
    else:
        assert names(disk / "run") >= begun
        assert f"--resume {disk / 'run'}" in said


@pytest.mark.parametrize(
    "target",
    ["onnx:m.onnx", "onnx-fp16:m.onnx", "onnx-int8:m.onnx", "torchscript:m.torchscript"],
)
def test_an_export_leaves_nothing(
    trained: Path,
    small_disk: Disk,
    complaint: Callable[[Sequence[str]], str],
    target: str,
) -> None:
    disk = small_disk(100 * KIB)
    name, _, file = target.partition(":")
    words = ["export", str(trained), "--format", name, "--out", str(disk / file)]
    assert "No space left on device" in complaint(words)
    assert list(disk.iterdir()) == []


def test_an_export_for_openvino_leaves_nothing(
    trained: Path, small_disk: Disk, complaint: Callable[[Sequence[str]], str]
) -> None:
    pytest.importorskip("openvino")
    disk = small_disk(100 * KIB)
    words = ["export", str(trained), "--format", "openvino", "--out", str(disk / "m")]
    assert "OpenVINO cannot write there" in complaint(words)
    assert list(disk.iterdir()) == []


def test_an_audit_keeps_the_page_that_was_there(
    phantoms: Path, small_disk: Disk, complaint: Callable[[Sequence[str]], str]
) -> None:
    disk = small_disk(8 * KIB)
    page = disk / "audit.html"
    page.write_text("an earlier one")
    said = complaint(["audit", str(phantoms), "--html", str(page)])
    assert said == (
        f"tumorscope: No space left on device ({page}): make room there, then run it again"
    )
    assert page.read_text() == "an earlier one"
    assert names(disk) == {"audit.html"}


def test_overlays_are_whole(
    phantoms: Path, small_disk: Disk, complaint: Callable[[Sequence[str]], str]
) -> None:
    from PIL import Image  # noqa: PLC0415

    folder = small_disk(400 * KIB) / "overlays"
    said = complaint(["predict", str(phantoms / "images"), "--overlay", str(folder)])
    assert f"No space left on device ({folder}/" in said
    written = list(folder.iterdir())
    assert written
    for path in written:
        with Image.open(path) as picture:
            picture.load()


def test_answers_that_find_no_room_are_not_passed_over(phantoms: Path) -> None:
    command = [sys.executable, "-m", "tumorscope.cli.main", "predict", "--csv"]
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    picture = shutil.copy(next((phantoms / "images").iterdir()), phantoms.parent / "one.png")
    with full.open("w") as out:
        done = subprocess.run(
            [*command, picture], stdout=out, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("tumorscope: No space left on device")
    assert done.stderr.count("\n") == 1
