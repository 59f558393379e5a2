"""The wheel holds all that the package needs at work, and works where it is unpacked."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tumorscope.phantoms.drawing import draw_phantom

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    words = ["wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", *words, "--wheel-dir", str(folder)], check=True)
    (wheel,) = folder.glob("tumorscope-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_every_file_of_the_package_is_in_the_wheel(unpacked: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "src/tumorscope"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    if not tracked:
        pytest.skip("this is no git checkout, so it is not known which files belong to it")
    missing = [name for name in tracked if not (unpacked / name.removeprefix("src/")).is_file()]
    assert missing == []
    package = unpacked / "tumorscope"
    assert (package / "py.typed").is_file()
    tables = ("training/recipes/*.toml", "tuning/searches/*.toml", "datasets/manifests/*.csv")
    for pattern in (*tables, "*/templates/*.html"):
        assert list(package.glob(pattern)), pattern
    assert list(package.glob("weights/*.onnx"))
    assert sum(path.stat().st_size for path in package.rglob("*") if path.is_file()) < 20e6


def test_the_bundled_model_answers_from_there(unpacked: Path, tmp_path: Path) -> None:
    from PIL import Image  # noqa: PLC0415

    phantom = draw_phantom("glioma", plane="axial", patient_seed=1, slice_number=2, size=128)
    Image.fromarray(phantom.image).save(tmp_path / "scan.png")
    code = (
        "import sys, tumorscope; from tumorscope.cli.main import main\n"
        "print(tumorscope.__file__, file=sys.stderr); sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(tmp_path / "scan.png"), "--csv"],
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip() == str(unpacked / "tumorscope" / "__init__.py")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
