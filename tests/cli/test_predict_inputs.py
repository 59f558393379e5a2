"""`tumorscope predict` reads what people have, whatever it is called, and names the rest."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence

from dicom_files import write_dicom, write_series
from png_files import deep_png
from small_model import write_model
from tumorscope.cli.main import main
from tumorscope.images.listing import list_files
from tumorscope.inference import DEFAULT_MODEL, Classifier
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.serve import create_app

GREY = draw_phantom("glioma", plane="axial", patient_seed=3, slice_number=2, size=72).image
DEEP = GREY.astype(np.uint16) * 16


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("model") / "m.onnx", sharpness=3))


def answers(
    capsys: pytest.CaptureFixture[str], path: Path, model: str, *words: str, status: int = 0
) -> list[dict[str, Any]]:
    assert main(["predict", str(path), "--model", model, "--json", *words]) == status
    result = json.loads(capsys.readouterr().out)
    assert isinstance(result, list)
    return result


def test_f5_magnitude_of_magnitude_and_field_map(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = []
    for flavour in ["M"] * 4 + ["FIELD_MAP"] * 4:
        kind, group = Dataset(), Dataset()
        kind.FrameType = ["ORIGINAL", "PRIMARY", flavour, "NONE"]
        group.MRImageFrameTypeSequence = Sequence([kind])
        groups.append(group)
    noise = np.random.default_rng(1).integers(0, 4096, (4, *DEEP.shape)).astype(np.uint16)
    path = write_dicom(
        tmp_path / "a.dcm",
        np.concatenate([np.stack([DEEP] * 4), noise]),
        PerFrameFunctionalGroupsSequence=Sequence(groups),
    )
    found = answers(capsys, path, model)
    assert [item["slice"] for item in found] == [0, 1, 2, 3]
    assert all(item["label"] for item in found)


def test_f10c_and_reports_beside_images(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_series(tmp_path / "in", count=6, size=72)
    for number, path in enumerate(paths):
        content = path.read_bytes()
        (tmp_path / "in" / f"IM{number}").write_bytes(content if number < 3 else content[132:])
        path.unlink()
    write_dicom(
        tmp_path / "in" / "SR1",
        GREY,
        PixelData=None,
        Modality="SR",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33",
    )
    found = answers(capsys, tmp_path / "in", model)
    assert sum(item["label"] is not None for item in found) == 6
    (report,) = (item for item in found if item["label"] is None)
    assert "Comprehensive SR" in report["reason"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("P", "phase, not the magnitude"),
        ("R", "real part, not the magnitude"),
        ("I", "imaginary part, not the magnitude"),
        ("MOSAIC", "a mosaic of many slices"),
    ],
)
def test_what_is_no_slice_by_its_image_type(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], kind: str, reason: str
) -> None:
    write_dicom(tmp_path / "a.dcm", DEEP, ImageType=["ORIGINAL", "PRIMARY", kind])
    (found,) = answers(capsys, tmp_path, model)
    assert (found["verdict"], found["label"]) == ("unsupported", None)
    assert found["reason"].startswith(reason)


def test_channels_that_stand_first_are_refused_by_name(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    channels = np.zeros((4, 72, 72, 6), np.int16)
    nibabel.save(nibabel.Nifti1Image(channels, np.eye(4)), tmp_path / "a.nii.gz")
    (found,) = answers(capsys, tmp_path, model, status=1)
    assert found["error"] == "its channels stand first (4 x 72 x 72 x 6): put them last"


def test_a_header_and_its_voxels_are_one_file_everywhere(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = np.stack([GREY.T[::-1, ::-1]] * 3, axis=-1).astype(np.int16)
    folder = tmp_path / "in"
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Pair(volume, np.diag([1, 1, 5, 1])), folder / "pair.img")
    text = "NRRD0004\ntype: short\ndimension: 3\nsizes: 72 72 3\nendian: little\nencoding: raw\n"
    (folder / "other.nhdr").write_text(f"{text}data file: other.raw\n\n")
    (folder / "other.raw").write_bytes(volume.astype("<i2").tobytes(order="F"))
    plain = answers(capsys, folder, model)
    assert len(plain) == 6
    shutil.make_archive(str(tmp_path / "in"), "zip", folder)
    zipped = answers(capsys, tmp_path / "in.zip", model)
    client = TestClient(create_app({"m": Classifier.load(model, threads=1)}, hosts=None))
    files = [("files", (path.name, path.read_bytes())) for path in sorted(folder.iterdir())]
    sent = client.post("/v1/classify", files=files).json()
    for other in (zipped, sent):
        assert [Path(item["path"]).name for item in other] == [
            Path(item["path"]).name for item in plain
        ]
        for mine, reference in zip(other, plain, strict=True):
            assert mine["probabilities"] == pytest.approx(reference["probabilities"], abs=1e-5)
    (alone,) = client.post("/v1/classify", files=[files[1]]).json()
    assert "other.raw, which cannot be read" in client.post("/v1/classify", files=files[:1]).text
    assert alone["error"]


@pytest.mark.parametrize("slope", [None, 0])
def test_f17_a_slope_that_says_nothing(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], slope: int | None
) -> None:
    path = write_dicom(tmp_path / "a.dcm", DEEP, RescaleSlope=1, RescaleIntercept=0)
    (plain,) = answers(capsys, path, model)
    dataset = dcmread(path)
    dataset.RescaleSlope = slope
    dataset.save_as(path)
    (found,) = answers(capsys, path, model)
    assert found["probabilities"] == plain["probabilities"]


@pytest.mark.parametrize("kind", ["grey and alpha", "colour", "colour and alpha"])
def test_f19_twelve_bits_in_pngs_of_sixteen(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    grey = [GREY.astype(np.uint16) * 16]  # (12 bits in 16)
    channels = grey * (3 if "colour" in kind else 1)
    if "alpha" in kind:
        channels.append(np.full_like(grey[0], 65535))
    (tmp_path / "grey.png").write_bytes(deep_png(np.dstack(grey)))
    (tmp_path / "other.png").write_bytes(deep_png(np.dstack(channels)))
    plain, found = answers(capsys, tmp_path, model)
    assert found["label"] == plain["label"]
    assert found["probabilities"] == pytest.approx(plain["probabilities"], abs=0.01)


def framed(kind: str) -> NDArray[np.uint8]:
    """A picture as a screenshot or a viewer leaves it."""
    picture = Image.fromarray(GREY).resize((216, 216))
    if kind == "grey bar at the right":
        whole = Image.new("L", (266, 216), 128)
    elif kind == "grey bar above":
        whole = Image.new("L", (216, 270), 90)
        whole.paste(picture, (0, 54))
        return np.asarray(whole)
    elif kind == "window":
        whole = Image.new("L", (300, 300), 240)
        whole.paste(picture, (40, 60))
        return np.asarray(whole)
    else:
        whole = Image.new("L", (216, 246), 0)
        ImageDraw.Draw(whole).text((6, 226), "T1 AX  2019-03-04  1.5 T", fill=255)
    whole.paste(picture, (0, 0))
    return np.asarray(whole)


@pytest.mark.parametrize("kind", ["grey bar at the right", "grey bar above", "window", "caption"])
def test_f23_what_stands_round_a_slice_changes_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    Image.fromarray(GREY).resize((216, 216)).save(tmp_path / "a.png")
    Image.fromarray(framed(kind)).save(tmp_path / "b.png")
    plain, found = answers(capsys, tmp_path, DEFAULT_MODEL)
    assert plain["label"] == found["label"]
    assert found["probabilities"] == pytest.approx(plain["probabilities"], abs=0.02)


def test_f21_litter_is_passed_over(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.jpg")
    (tmp_path / "__MACOSX").mkdir()
    for name in ("__MACOSX/._a.jpg", "._a.jpg", "Thumbs.db", ".DS_Store", "desktop.ini"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    assert [item["path"] for item in answers(capsys, tmp_path, model)] == [str(tmp_path / "a.jpg")]
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    assert main(["predict", *paths, "--model", model, "--json"]) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)) == 1
    assert captured.err.startswith("tumorscope: ignored 5 files")


KINDS = {
    "png": lambda path: Image.fromarray(GREY).save(path, "PNG"),
    "tif": lambda path: Image.fromarray(DEEP).save(path, "TIFF"),
    "dicom": lambda path: write_dicom(path, DEEP),
    "text": lambda path: path.write_text("no image"),
    "empty": lambda path: path.touch(),
}
NAMES = ["a.png", "b.dcm", "c", "d.xyz", "e.txt", "._f.jpg", "Thumbs.db", "in/g.png", ".h/i.png"]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(sorted(KINDS)), min_size=1))
def test_used_named_and_ignored_are_all(
    tmp_path_factory: pytest.TempPathFactory,
    model: str,
    capsys: pytest.CaptureFixture[str],
    tree: dict[str, str],
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    for name, kind in tree.items():
        (folder / name).parent.mkdir(exist_ok=True)
        KINDS[kind](folder / name)
    ignored = [Path(item.path) for item in list_files(folder).ignored]
    rest = {
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and not {path, *path.parents} & set(ignored)
    }
    status = main(["predict", str(folder), "--model", model, "--json"])
    named = {item["path"]: item for item in json.loads(capsys.readouterr().out)}
    assert set(named) == (rest or {str(folder)})
    for path, item in named.items():
        fine = tree.get(Path(path).relative_to(folder).as_posix()) in ("png", "tif", "dicom")
        assert fine == ("error" not in item)
    assert status == int(any("error" in item for item in named.values()))
    found = Classifier.load(model, threads=1).predict(folder)
    assert {item.path for item in found} == set(named)


def test_a_name_that_no_file_can_have_costs_the_others_nothing(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    (tmp_path / "itself.png").symlink_to("itself.png")
    long = "n" * 300
    assert main(["predict", str(tmp_path), long, "--model", model, "--json"]) == 1
    answer, circle, impossible = json.loads(capsys.readouterr().out)
    assert answer["label"]
    assert circle["error"] == "cannot be read (Too many levels of symbolic links)"
    assert impossible == {"path": long, "error": "cannot be read (File name too long)"}
