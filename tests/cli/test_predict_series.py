"""One answer a series, whatever the files are called, where they lie and in what order they come.

Each case is held to a reference that says the same without the difficulty: through the command,
the service and the listener.
"""

import csv
import io
import json
import random
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread

from dicom_files import write_dicom, write_enhanced
from small_model import write_model
from tumorscope.cli.main import main
from tumorscope.inference import Classifier
from tumorscope.pacs.answering import Answering, Delivery
from tumorscope.pacs.listener_metrics import ListenerMetrics
from tumorscope.pacs.spool import Spool
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.serve import create_app

PLACES = 6
HEADS = [
    draw_phantom("glioma", plane="axial", patient_seed=seed, slice_number=2, size=72).image
    for seed in (0, 2, 4, 5, 3, 1)  # (The most suspicious stands in the middle.)
]
OBJECTS = [
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
    "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State
    "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection
    "1.2.840.10008.5.1.4.1.1.66",  # Raw Data
    "1.3.12.2.1107.5.9.1",  # CSA Non-Image (Siemens)
]
AXIAL, CORONAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "m.onnx", sharpness=0.2)


@pytest.fixture(scope="module")
def classifier(model: Path) -> Classifier:
    return Classifier.load(model, threads=1)


@pytest.fixture(scope="module")
def client(classifier: Classifier) -> TestClient:
    return TestClient(create_app({"small": classifier}, hosts=None))


def write(path: Path, place: int, **tags: Any) -> Path:
    """Write a slice of a series of heads, 5 mm above the one before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    instance = tags.get("InstanceNumber", place + 1)
    facts = {
        "PatientName": "A^B", "PatientID": "1", "PatientBirthDate": "", "PatientSex": "",
        "StudyDate": "", "StudyTime": "", "AccessionNumber": "", "StudyID": "",
        "ReferringPhysicianName": "", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4",
        "SOPInstanceUID": f"1.2.3.4.{instance}", "InstanceNumber": instance,
        "ImagePositionPatient": [0, 0, 5 * place], "ImageOrientationPatient": AXIAL,
        "PixelSpacing": [1, 1], **tags,
    }  # fmt: skip
    facts = {key: value for key, value in facts.items() if value is not None}
    return write_dicom(path, HEADS[place].astype(np.uint16) * 8, **facts)


def stack(folder: Path, **tags: Any) -> Path:
    for place in range(PLACES):
        write(folder / f"IM{place}.dcm", place, **tags)
    return folder


def names_in_no_order(folder: Path) -> Path:
    for name, place in enumerate((3, 0, 5, 1, 4, 2)):
        write(folder / f"IM{name}.dcm", place)
    return folder


def repeated(**differing: list[Any]) -> Callable[[Path], Path]:
    """Three volumes at the same places, which differ in these tags; or in nothing."""

    def write_all(folder: Path) -> Path:
        for place in range(PLACES):
            for volume in range(3):
                tags = {keyword: values[volume] for keyword, values in differing.items()}
                instance = PLACES * volume + place + 1
                write(folder / f"IM{instance}.dcm", place, InstanceNumber=instance, **tags)
        return folder

    return write_all


def position_missing_on_one(folder: Path) -> Path:
    for place in range(PLACES):
        tags = {"ImagePositionPatient": None} if place == 2 else {}
        write(folder / f"IM{(place * 5) % PLACES}.dcm", place, **tags)
    return folder


def without_uids(folder: Path) -> Path:
    none = {"StudyInstanceUID": None, "SeriesInstanceUID": None, "SeriesNumber": 3}
    for place in range(PLACES):
        write(folder / f"disc {place % 2}" / f"{place}.dcm", place, **none)
    return folder


def slice_locations_only(folder: Path) -> Path:
    none = {"ImagePositionPatient": None, "InstanceNumber": None}
    for place in range(PLACES):
        uid = f"1.2.3.4.{place}"
        path = folder / f"IM{(place * 5) % PLACES}.dcm"
        write(path, place, **none, SliceLocation=5 * place, SOPInstanceUID=uid)
    return folder


def over_folders_with_copies(folder: Path) -> Path:
    stack(folder / "in")
    for place in range(PLACES):
        path = folder / "in" / f"IM{place}.dcm"
        target = folder / f"ST{place % 2}" / f"SE{place % 3}" / f"{99 - place}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
        shutil.copy(target, folder / f"again{place}")
    return folder


def report_objects_beside(folder: Path) -> Path:
    for number, kind in enumerate(OBJECTS):
        path = write(
            folder / f"{number}.dcm", number, SOPClassUID=kind, SeriesInstanceUID=f"1.2.9{number}"
        )
        dataset = dcmread(path)
        del dataset.PixelData, dataset.Rows, dataset.Columns, dataset.ImagePositionPatient
        dataset.save_as(path)
    stack(folder / "images")
    return folder


def enhanced(
    order: list[int], times: int = 1, missing: int | None = None
) -> Callable[[Path], Path]:
    def write_one(folder: Path) -> Path:
        folder.mkdir(parents=True)
        frames, facts = [], []
        for place in order:
            for moment in range(times):
                frames.append(HEADS[place])
                facts.append({"position": 5 * place, "time": moment + 1})
                if place == missing:
                    del facts[-1]["position"]
        write_enhanced(folder / "enhanced.dcm", frames, facts)
        return folder

    return write_one


CASES = {
    "names in no order": names_in_no_order,
    "time points": repeated(TemporalPositionIdentifier=[1, 2, 3]),
    "echoes": repeated(EchoNumbers=[1, 2, 3], EchoTime=[10, 20, 30]),
    "b-values": repeated(DiffusionBValue=[0.0, 500.0, 1000.0]),
    "image types": repeated(
        ImageType=[["ORIGINAL", "PRIMARY", "M", kind] for kind in ("ND", "SE", "IR")]
    ),
    "acquisitions": repeated(AcquisitionNumber=[1, 2, 3]),
    "copies with other numbers": repeated(),
    "position missing on one": position_missing_on_one,
    "without UIDs": without_uids,
    "over folders, with copies": over_folders_with_copies,
    "slice locations only": slice_locations_only,
    "report objects beside": report_objects_beside,
    "enhanced, shuffled": enhanced([3, 0, 5, 1, 4, 2]),
    "enhanced, time points": enhanced(list(range(PLACES)), times=3),
    "enhanced, position missing": enhanced(list(range(PLACES)), missing=3),
}


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main(["predict", *words, "--series", "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def deciding(answer: dict[str, Any], folder: Path) -> list[NDArray[Any]]:
    """The pixels of the slices that decided."""
    return [
        np.atleast_3d(dcmread(folder / item["path"]).pixel_array.T)[:, :, item["slice"] or 0]
        for item in answer["decided_by"]
    ]


def zipped_with_litter(paths: list[Path]) -> list[tuple[str, tuple[str, bytes]]]:
    """Files as people send them: packed by a Mac, beside what it and Windows leave in folders."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, path in enumerate(paths):
            archive.writestr(f"exam/{number % 3}/{path.parent.name} {path.name}", path.read_bytes())
            archive.writestr(f"__MACOSX/exam/{number % 3}/._{path.name}", b"\0\5\26\7")
        archive.writestr("exam/.DS_Store", b"Bud1")
        archive.writestr("exam/DICOMDIR", b"")
    litter = [("files", (name, b"\xd0\xcf")) for name in ("Thumbs.db", ".DS_Store", "desktop.ini")]
    return [*litter, ("files", ("exam.zip", buffer.getvalue()))]


def same(answer: dict[str, Any], reference: dict[str, Any]) -> None:
    assert answer["label"] == reference["label"]
    assert answer["verdict"] == reference["verdict"]
    assert answer["probabilities"] == pytest.approx(reference["probabilities"], abs=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_command_and_service_answer_as_for_the_plain_series(
    case: str, tmp_path: Path, model: Path, client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    (reference,) = ask(capsys, str(stack(tmp_path / "plain")), "--model", str(model))
    folder = CASES[case](tmp_path / "case")
    (answer,) = ask(capsys, str(folder), "--model", str(model))
    same(answer, reference)
    three = deciding(reference, folder)
    for left, right in zip(deciding(answer, folder), three, strict=True):
        assert np.array_equal(left, right)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    random.Random(4).shuffle(paths)
    files = [("files", (path.name, path.read_bytes())) for path in paths]
    (served,) = client.post("/v1/classify/volume", files=files).json()
    same(served, reference)
    assert served["slices"] == answer["slices"] == len(served["answers"])
    assert served["note"] == answer["note"]
    (archived,) = client.post("/v1/classify/volume", files=zipped_with_litter(paths)).json()
    same(archived, reference)
    assert archived["slices"] == answer["slices"]


@pytest.mark.parametrize(
    "case",
    [
        *("names in no order", "time points", "position missing on one", "enhanced, shuffled"),
        "report objects beside",
    ],
)
def test_listener_answers_as_for_the_plain_series(
    case: str,
    tmp_path: Path,
    model: Path,
    classifier: Classifier,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (reference,) = ask(capsys, str(stack(tmp_path / "plain")), "--model", str(model))
    spool = Spool(tmp_path / "spool")
    for path in CASES[case](tmp_path / "case").rglob("*.dcm"):
        spool.keep(path.read_bytes(), series="s", instance=path.name)
    delivery = Delivery(folder=tmp_path / "out")
    worker = Answering(spool, classifier, delivery, ListenerMetrics(), quiet=0.0)
    worker.start()
    end = time.monotonic() + 20
    while not (reports := list((tmp_path / "out").rglob("report*"))) and time.monotonic() < end:
        time.sleep(0.02)
    worker.stop()
    spool.close()
    # (The group of the series as a whole stands before those of the slices.)
    said = [
        float(element.value[0].NumericValue)
        for element in dcmread(reports[0]).iterall()
        if element.keyword == "MeasuredValueSequence"
    ]
    expected = [100 * share for share in reference["probabilities"].values()]
    assert said[: len(expected)] == pytest.approx(expected, abs=1e-3)


def test_order_of_the_command_line_does_not_count(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = names_in_no_order(tmp_path / "in")
    (reference,) = ask(capsys, str(folder), "--model", str(model))
    paths = sorted(map(str, folder.iterdir()))
    (listed,) = ask(capsys, *reversed(paths), "--model", str(model))
    (matched,) = ask(capsys, f"{folder}/*.dcm", "--model", str(model))
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(paths)))
    (piped,) = ask(capsys, "-", "--model", str(model))
    for answer in (listed, matched, piped):
        same(answer, reference)
        assert answer["decided_by"] == reference["decided_by"]


def test_volumes_and_copies_are_said(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(model)]
    (answer,) = ask(capsys, str(CASES["echoes"](tmp_path / "a")), *words)
    assert answer["note"].startswith("the series holds 3 volumes, told apart by echo; number 0 (")
    (chosen,) = ask(capsys, str(tmp_path / "a"), *words, "--volume", "2")
    same(chosen, answer)
    assert chosen["slices"] == PLACES
    assert "number 2 (echo 3) was chosen" in chosen["note"]
    (none,) = ask(capsys, str(tmp_path / "a"), *words, "--volume", "3")
    assert none["reason"] == "the series holds 3 volumes (0 to 2), not a volume 3"
    (answer,) = ask(capsys, str(over_folders_with_copies(tmp_path / "b")), *words)
    assert answer["note"] == "6 copies of slices left out"
    assert answer["path"] == str(tmp_path / "b")
    assert main(["predict", str(tmp_path / "b"), *words, "--series"]) == 0
    assert "1.2.3.4: 6 copies of slices left out" in capsys.readouterr().out


def test_report_objects_are_said_with_the_series_of_their_study(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(model)]
    (answer,) = ask(capsys, str(report_objects_beside(tmp_path / "a")), *words)
    assert answer["note"].startswith("5 DICOM objects without an image left out (")
    assert "Comprehensive SR" in answer["note"]
    stack(tmp_path / "b", StudyInstanceUID="1.2.4", SeriesInstanceUID="1.2.4.4")
    both = [str(tmp_path / name) for name in "ba"]
    other, same_again = ask(capsys, *both, *words)
    assert other["note"] == ""
    assert same_again["note"] == answer["note"]
    only = ask(capsys, *map(str, (tmp_path / "a").glob("*.dcm")), *words)
    assert len(only) == len(OBJECTS)  # (Where there is no image, each is told what it is.)
    assert all(item["reason"].startswith("no image: a DICOM object") for item in only)
    series = Classifier.load(model, threads=1).predict_series(tmp_path / "a")
    assert (series.slices, series.note) == (PLACES, answer["note"])
    assert main(["predict", str(tmp_path / "a"), *words, "--json"]) == 0
    slices = json.loads(capsys.readouterr().out)
    assert sum(item["verdict"] == "unsupported" for item in slices) == len(OBJECTS)


def test_anonymous_patients_of_one_series_number_are_told_apart(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nameless = {"StudyInstanceUID": None, "SeriesInstanceUID": None, "SeriesNumber": 3,
                "PatientID": None, "PatientName": None}  # fmt: skip
    stack(tmp_path / "a", **nameless)
    for place in range(PLACES):
        other = {"ImagePositionPatient": [0, 0, 5 * (PLACES - 1 - place)], **nameless}
        write(tmp_path / "b" / f"{place}.dcm", place, **other)
    words = ["--model", str(model)]
    both = ask(capsys, str(tmp_path), *words)
    assert [item["path"] for item in both] == [str(tmp_path / name) for name in "ab"]
    assert [item["slices"] for item in both] == [PLACES, PLACES]
    for place in range(3, PLACES):  # (One series over two folders is still one.)
        shutil.move(tmp_path / "a" / f"IM{place}.dcm", tmp_path / f"IM{place}.dcm")
    shutil.rmtree(tmp_path / "b")
    (one,) = ask(capsys, str(tmp_path), *words)
    assert one["slices"] == PLACES


def test_series_of_a_folder_are_told_apart_in_every_output(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for series, places in ((1, range(3)), (2, range(2, 6))):
        for place in places:
            uid = f"1.2.3.{series}"
            write(tmp_path / f"{series}{place}.dcm", place, SeriesInstanceUID=uid)
    words = ["predict", str(tmp_path), "--model", str(model), "--series"]
    assert main([*words, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["series"], row["slices"]) for row in rows] == [("1.2.3.1", "3"), ("1.2.3.2", "4")]
    assert rows[0]["decided_by"] == "; ".join(str(tmp_path / f"1{n}.dcm") for n in range(3))
    assert main(words) == 0
    head, first, second, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["file", "series", "slices", "answer", "decided", "by", "verdict"]
    assert first.split()[1:3] == ["1.2.3.1", "3"]
    assert second.split()[1:3] == ["1.2.3.2", "4"]
    assert "10.dcm, 11.dcm, 12.dcm" in first


def test_planes_of_a_localiser_are_no_neighbours(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(PLACES):
        plane = AXIAL if number % 2 else CORONAL
        place = [0, 5 * number, 5 * number]
        write(
            tmp_path / f"{number}.dcm", number,
            ImageOrientationPatient=plane, ImagePositionPatient=place,
        )  # fmt: skip
    (answer,) = ask(capsys, str(tmp_path), "--model", str(model))
    decided = [int(Path(item["path"]).stem) for item in answer["decided_by"]]
    assert decided in ([0, 2, 4], [4, 2, 0], [1, 3, 5])
    assert "told apart by plane" in answer["note"]


def test_channels_of_a_volume_are_said_and_chosen(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upright = np.stack([head.T[::-1, ::-1] for head in HEADS], axis=-1).astype(np.int16)
    channels = np.stack([upright, upright[..., ::-1], np.zeros_like(upright)], axis=-1)
    path = str(tmp_path / "channels.nii.gz")
    nibabel.save(nibabel.Nifti1Image(channels, np.diag([1, 1, 5, 1])), path)
    words = [path, "--model", str(model)]
    (answer,) = ask(capsys, *words)
    assert answer["note"] == "the first of 3 volumes"
    (second,) = ask(capsys, *words, "--volume", "1")
    assert second["note"] == "number 1 of 3 volumes, counted from 0"
    assert [item["slice"] for item in second["decided_by"]] == [
        PLACES - 1 - item["slice"] for item in reversed(answer["decided_by"])
    ]
    assert main(["predict", *words, "--csv"]) == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert {row["note"] for row in rows} == {"the first of 3 volumes"}
    assert main(["predict", *words, "--json"]) == 0
    notes = {item["note"] for item in json.loads(capsys.readouterr().out)}
    assert notes == {"the first of 3 volumes"}
    for series in ([], ["--series"]):
        assert main(["predict", *words, *series]) == 0
        assert "the first of 3 volumes" in capsys.readouterr().out
    assert main(["predict", *words, "--volume", "3"]) == 1
    assert "it holds 3 volumes (0 to 2), not a volume 3" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["predict", *words, "--volume", "-1"])


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(chance=st.randoms(use_true_random=False), copies=st.integers(0, 5))
def test_permutations_folders_and_copies_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, model: Path, client: TestClient,
    capsys: pytest.CaptureFixture[str], chance: random.Random, copies: int,
) -> None:  # fmt: skip
    place = tmp_path_factory.mktemp("any")
    plain = repeated(TemporalPositionIdentifier=[1, 2, 3])(place / "plain")
    for number in range(3):
        write(plain / f"other{number}.dcm", number, SeriesInstanceUID="1.2.3.5")
    references = {item["series"]: item for item in ask(capsys, str(plain), "--model", str(model))}
    files = list(plain.iterdir())
    files += chance.choices(files, k=copies)
    chance.shuffle(files)
    moved = []
    for number, path in enumerate(files):
        target = place / "moved" / chance.choice("abc") / f"{chance.randrange(1000)} {number}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        moved.append(str(shutil.copy(path, target)))
    answers = ask(capsys, *moved, "--model", str(model))
    sent = [("files", (Path(path).name, Path(path).read_bytes())) for path in moved]
    served = client.post("/v1/classify/volume", files=sent).json()
    assert len(answers) == len(served) == 2
    for answer in served:
        same(answer, references[answer["series"]])
        assert answer["slices"] == references[answer["series"]]["slices"]
    for answer in answers:
        reference = references[answer["series"]]
        same(answer, reference)
        assert answer["slices"] == reference["slices"]
        decided = [dcmread(item["path"]).SOPInstanceUID for item in answer["decided_by"]]
        assert decided == [dcmread(item["path"]).SOPInstanceUID for item in reference["decided_by"]]
