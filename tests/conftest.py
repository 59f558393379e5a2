"""Fixtures that several test modules share."""

import gc
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from browsing import BROWSER, FLAGS, MILLISECONDS
from heads import head
from tumorscope.cli.main import main
from tumorscope.phantoms.drawing import write_phantoms


def pytest_configure() -> None:
    """Let programs that tests start hear Ctrl-C, even where a shell began the tests with `&`."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Let the garbage collector look seldom, and not at what all tests share."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, or a skip with the reason."""
    named = os.environ.get("TUMORSCOPE_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not (folder / "kaggle" / "groups.csv").is_file():
        pytest.skip(f"the real data sets are not at hand ({folder})")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real browser, or a skip with the reason."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    driver.expect.set_options(timeout=MILLISECONDS)
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a disk of so many bytes, or gives the one that is there another size."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size: int) -> Path:
        change = "remount,size" if place.is_mount() else "size"
        command = ["mount", "-t", "tmpfs", "-o", f"{change}={size}", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("only root may mount a disk")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


Make = Callable[[Path], object]

SMALL = (
    "network.size=nano",
    "input.size=32",
    "optimizer.name=adamw",
    "optimizer.learning_rate=0.005",
    "training.batch_size=8",
    "training.precision=fp32",
    "training.epochs=3",
)
"""What makes a recipe small enough for a test."""


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Arguments of `train` that make it end in a second."""
    return [word for field in SMALL for word in ("--set", field)]


Draw = Callable[..., Path]


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Draws a small head slice to a path: another seed, another head."""

    def draw_to(path: Path, seed: int, *, label: str = "glioma", mirrored: bool = False) -> Path:
        image = head(seed, label=label)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.fliplr(image) if mirrored else image).save(path)
        return path

    return draw_to


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Make], Path]:
    """Makes a folder once for all processes that test: to be read or copied, not changed."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def make_once(name: str, make: Make) -> Path:
        folder, made = root / "shared" / name, root / f"{name}.made"
        with FileLock(root / f"{name}.lock"):
            if not made.is_file():
                make(folder)
                made.touch()
        return folder

    return make_once


@pytest.fixture(scope="session")
def phantoms(shared: Callable[[str, Make], Path]) -> Path:
    """A folder of 40 phantoms: four classes, five patients each, in five folds."""
    return shared(
        "phantoms",
        lambda folder: write_phantoms(folder, patients_per_class=5, slices_per_patient=2),
    )


@pytest.fixture(scope="session")
def trained(phantoms: Path, small: list[str], shared: Callable[[str, Make], Path]) -> Path:
    """A run of three epochs on the phantoms, trained and judged; to be copied, not changed."""
    import torch  # noqa: PLC0415  (slow to import, and most tests do without it)

    torch.set_num_threads(1)  # as in the processes that tests start

    def train(folder: Path) -> None:
        words = ["train", "--data", str(phantoms), "--split", "grouped-folds", *small]
        assert main([*words, "--out", str(folder)]) == 0

    return shared("trained", train)
