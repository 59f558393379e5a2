"""`tumorscope predict` answers for people and for programs, whatever it is given."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from dicom_files import write_dicom
from heads import head
from small_model import write_model
from tumorscope.classes import CLASSES
from tumorscope.cli.main import DISCLAIMER, main


def draw(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(head(seed)).save(path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("model") / "m.onnx", sharpness=3))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, one of them damaged, a CT slice and a volume."""
    folder = tmp_path_factory.mktemp("scans")
    for number in (1, 2, 10):
        draw(folder / "a" / f"{number}.png", number)
    (folder / "a" / "3.jpg").write_bytes(b"\xff\xd8\xff damaged")
    draw(folder / "b" / "1.png", 5)
    write_dicom(folder / "b" / "ct.dcm", head(7), Modality="CT")
    volume = np.stack([head(7).T[::-1, ::-1]] * 5, axis=-1)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "v.nii.gz")
    return folder


def answers(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    main(["predict", *words, "--json"])
    result = json.loads(capsys.readouterr().out)
    assert isinstance(result, list)
    return result


def test_json_of_a_slice(scans: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(scans / "a" / "1.png")
    assert main(["predict", path, "--model", model, "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert list(answer) == [
        "path", "slice", "label", "probability", "probabilities", "verdict", "reason", "model",
        "milliseconds",
    ]  # fmt: skip
    assert answer["path"] == path
    assert answer["slice"] is None
    assert answer["model"] == "small 0.1"
    assert tuple(answer["probabilities"]) == CLASSES
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["probability"] == answer["probabilities"][answer["label"]]


def test_order_is_kept_and_a_broken_file_is_reported_in_its_place(
    scans: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(scans / "b"), str(scans / "nowhere.png"), str(scans / "a"), "--model", model]
    assert main(["predict", *words, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [str(Path(item["path"]).relative_to(scans)) for item in found] == [
        "b/1.png", "b/ct.dcm", "nowhere.png", "a/1.png", "a/2.png", "a/3.jpg", "a/10.png",
    ]  # fmt: skip
    assert found[1]["verdict"] == "unsupported"
    assert found[1]["label"] is None
    assert "CT" in found[1]["reason"]
    assert found[2] == {"path": str(scans / "nowhere.png"), "error": "no such file"}
    assert set(found[5]) == {"path", "error"}


def test_table_for_people(scans: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(scans), "--model", model, "--slices", "1:3"]
    assert main(["predict", *words]) == 1
    out = capsys.readouterr().out
    lines = out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.startswith(str(scans))}
    assert "cannot be read" in rows[f"{scans}/a/3.jpg"]
    assert "a CT scan" in rows[f"{scans}/b/ct.dcm"]
    assert sum(line.startswith(f"{scans}/v.nii.gz [") for line in lines) == 2
    assert any("72 x 72 x 5 voxels of 1 x 1 x 1 mm, 2 of 5 axial slices" in line for line in lines)
    assert "1 cannot be read" in lines[-2]
    assert lines[-1] == DISCLAIMER
    assert not any(line.endswith(" ") for line in lines)


def test_lines_of_json_are_the_same_answers(
    scans: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(scans), "--model", model]
    assert main([*words, "--jsonl"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main([*words, "--json", "--batch", "2", "--threads", "1"]) == 1
    for line, other in zip(lines, json.loads(capsys.readouterr().out), strict=True):
        assert line["path"] == other["path"]
        assert line.get("label") == other.get("label")
        assert line.get("error") == other.get("error")


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("words", [[], ["--series"], ["--tta"]])
def test_a_model_that_gives_no_numbers_gives_no_answer(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    model = str(write_model(tmp_path / "nan.onnx", sharpness=float("nan")))
    words = [str(scans / "b" / "1.png"), str(scans / "v.nii.gz"), "--model", model, *words]
    assert main(["predict", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=no_constant)
    assert len(found) == (2 if "--series" in words else 6)
    for answer in found:
        assert (answer["verdict"], answer["label"], answer["probabilities"]) == (
            "unsupported",
            None,
            None,
        )
        assert "NaN" in answer["reason"]
    assert main(["predict", *words]) == 0
    assert "NaN" in capsys.readouterr().out


def test_each_answer_has_a_picture_of_its_own(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [
        "a/1.png",
        "b/1.png",
        "c/1-2.png",
        "d/1.PNG",
        f"e/{'x' * 249}.png",
        f"f/{'x' * 249}.png",
    ]
    for seed, name in enumerate(names):
        draw(tmp_path / "in" / name, seed)
    words = [str(tmp_path / "in"), "--model", model, "--overlay", str(tmp_path / "out")]
    found = answers(capsys, *words)
    assert [Path(item["path"]).name for item in found] == [Path(name).name for name in names]
    assert all(item["label"] for item in found)
    written = [path.name for path in (tmp_path / "out").iterdir()]
    assert len({name.casefold() for name in written}) == len(names)
    assert {"1.png", "1-2.png"} <= set(written)


def test_csv(scans: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(scans), "--model", model, "--csv"]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 4 + 2 + 5
    good = rows[0]
    assert float(good[f"probability_{good['label']}"]) == float(good["probability"])
    failed = [row for row in rows if row["error"]]
    assert [Path(row["path"]).name for row in failed] == ["3.jpg"]
    assert [row["slice"] for row in rows if row["path"].endswith(".gz")] == list("01234")


def test_list_on_standard_input_and_patterns(
    scans: Path,
    model: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = f"\ufeff{scans}/a/10.png\n\n{scans}/b\n-\n"  # (as Windows begins a text)
    monkeypatch.setattr(sys, "stdin", io.StringIO(listed))
    found = answers(capsys, "-", f"{scans}/**/1*.png", f"{scans}/*.bmp", "--model", model)
    assert [item["path"].removeprefix(f"{scans}/") for item in found] == [
        "a/10.png", "b/1.png", "b/ct.dcm", "a/1.png", "a/10.png", "b/1.png", "*.bmp",
    ]  # fmt: skip
    assert found[-1]["error"] == "no such file"
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["predict", "-", "--model", model]) == 2
    assert "list on standard input is empty" in capsys.readouterr().err
    picture = (scans / "a" / "10.png").read_bytes().decode(errors="surrogateescape")
    monkeypatch.setattr(sys, "stdin", io.StringIO(picture))
    assert main(["predict", "-", "--model", model]) == 2
    assert "standard input is no list of paths" in capsys.readouterr().err


def test_overlays(
    scans: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(scans), "--model", model, "--overlay", str(tmp_path / "o"), "--slices", "2"]
    assert main(["predict", *words]) == 1
    capsys.readouterr()
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == ["1-2.png", "1.png", "10.png", "2.png", "v_2.png"]
    with Image.open(tmp_path / "o" / "v_2.png") as picture:
        assert picture.width > 800


@pytest.mark.parametrize("path", [".", "a.png"])
def test_no_overlay_takes_the_place_of_a_scan(
    tmp_path: Path,
    model: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    scan = draw(tmp_path / "a.png", 1).read_bytes()
    (tmp_path / "linked").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for folder in (".", str(tmp_path), "linked"):
        assert main(["predict", path, "--model", model, "--overlay", folder]) == 0
        capsys.readouterr()
        assert (tmp_path / "a.png").read_bytes() == scan
        (tmp_path / "a-2.png").unlink()


def test_series(scans: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = answers(capsys, str(scans), "--model", model, "--series")
    assert [item["path"].removeprefix(str(scans)) for item in found] == [
        "/v.nii.gz", "/a", "/a/3.jpg", "/b",
    ]  # fmt: skip
    volume, folder, failed, _ = found
    assert (volume["slices"], folder["slices"]) == (5, 3)
    assert len(volume["decided_by"]) == 3
    assert "error" in failed
    assert main(["predict", str(scans / "a"), "--model", model, "--series"]) == 1
    out = capsys.readouterr().out
    assert f"{scans}/a " in out
    assert DISCLAIMER in out
    assert main(["predict", str(scans / "a"), "--model", model, "--series", "--csv"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_min_confidence(scans: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(scans / "a" / "1.png")
    for confidence, verdict in (("0", "confident"), ("1", "uncertain")):
        (answer,) = answers(capsys, path, "--model", model, "--min-confidence", confidence)
        assert answer["verdict"] == verdict


def test_three_zooms(scans: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(scans / "a" / "1.png")
    (plain,) = answers(capsys, path, "--model", model)
    (careful,) = answers(capsys, path, "--model", model, "--tta")
    assert careful["model"] == f"{plain['model']} (tta)"
    assert careful["probabilities"] != plain["probabilities"]
    assert sum(careful["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--min-confidence", "1.5"], "--min-confidence: '1.5' is not a number between 0 and 1"),
        (["--min-confidence", "nan"], "--min-confidence: 'nan' is not a number between 0 and 1"),
        (["--min-confidence", "x"], "--min-confidence: 'x' is not a number between 0 and 1"),
        (["--threads", "two"], "--threads: 'two' is not a whole number of 1 or more"),
        (["--threads", "100000"], "--threads: 100000 are too many: at most 1,024"),
        (["--batch", "0"], "--batch: '0' is not a whole number of 1 or more"),
        (["--json", "--csv"], "not allowed with"),
    ],
)
def test_bad_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["predict", "x.png", *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nothing"], "no model 'nothing'"),
        (["--axis", "upwards"], "unknown axis"),
        (["--slices", "x"], "unknown slices"),
        (["--provider", "abacus"], "unknown execution provider"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], message: str, scans: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(scans / "a" / "1.png"), "--model", model, *words]
    assert main(["predict", *given]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1


def test_strange_names(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["a\nb.png", "\udcff.png", "[x].png"]
    for seed, name in enumerate(names):
        draw(tmp_path / name, seed)
    assert main(["predict", str(tmp_path), "--model", model]) == 0
    assert "a?b.png" in capsys.readouterr().out
    found = answers(capsys, *(str(tmp_path / name) for name in names), "--model", model)
    assert [Path(item["path"]).name for item in found] == names


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize("form", ["--csv", "--jsonl"])
def test_names_survive_in_every_output_and_locale(
    tmp_path: Path, model: str, form: str, encoding: str
) -> None:
    names = [
        "caf\u00e9.png",
        b"caf\xe9 latin.png".decode("utf-8", "surrogateescape"),
        "a\nb, c.png",
    ]
    for seed, name in enumerate(names):
        draw(tmp_path / name, seed)
    code = "import sys; from tumorscope.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(tmp_path), "--model", model, form],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("utf-8", "surrogateescape")
    rows = (
        csv.DictReader(io.StringIO(text, newline=""))
        if form == "--csv"
        else map(json.loads, text.splitlines())
    )
    assert sorted(Path(row["path"]).name for row in rows) == sorted(names)


def test_nothing_slow_is_imported_for_a_picture(scans: Path, model: str) -> None:
    code = (
        "import sys; from tumorscope.cli.main import main; status = main(sys.argv[1:]); "
        "slow = {'torch', 'rich', 'pydicom', 'nibabel', 'onnx', 'sklearn'} & set(sys.modules); "
        "assert not slow, slow; sys.exit(status)"
    )
    words = ["predict", str(scans / "a" / "1.png"), "--model", model]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert DISCLAIMER in done.stdout
