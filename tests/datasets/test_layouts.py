"""Folders as people have them: patients, parts, masks, volumes, files of any kind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dicom_files import write_dicom
from heads import head
from tumorscope.audit.audit import audit
from tumorscope.classes import CLASSES, TUMOUR_CLASSES
from tumorscope.cli.main import main
from tumorscope.datasets.catalogue import Catalogue
from tumorscope.datasets.pictures import read_picture
from tumorscope.datasets.sources import read_data, read_set
from tumorscope.errors import DataError
from tumorscope.images import UnreadableImageError
from untraced import processor_seconds

Draw = Callable[..., Path]
Train = Callable[..., tuple[int, str, dict]]

CODES = {"glioma": "gl", "meningioma": "me", "notumor": "no", "pituitary": "pi"}


@pytest.fixture
def train(tmp_path: Path, small: list[str], capsys: pytest.CaptureFixture[str]) -> Train:
    """Trains for an epoch: the exit status, what it says, and what the run notes of its data."""

    def run(*words: str, split: str = "grouped-folds") -> tuple[int, str, dict]:
        folder = tmp_path / "run"
        given = ["train", *words, "--split", split, *small, "--set", "training.epochs=1"]
        given.append("--no-test")
        status = main([*given, "--out", str(folder)])
        facts = json.loads((folder / "data.json").read_text()) if status == 0 else {}
        return status, capsys.readouterr().err, facts

    return run


def audited(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    status = main(["audit", *words, "--json", "-"])
    return status, json.loads(capsys.readouterr().out)


def write_set(
    root: Path, draw: Draw, name: str, *, patients: int = 5, slices: int = 2, first: int = 0
) -> Path:
    """Draw a data set: `name` may use class, code, patient and slice."""
    for number, (label, code) in enumerate(CODES.items()):
        for patient in range(patients):
            for slice_ in range(slices):
                seed = first + 1000 * number + 10 * patient + slice_
                path = name.format(label=label, code=code, patient=patient, slice=slice_)
                draw(root / path, seed, label=label)
    return root


# Patients


def test_patient_folders_below_a_class_are_groups_and_said(
    tmp_path: Path, draw: Draw, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "set", draw, "{label}/P{code}{patient}/{slice}.jpg")
    status, said, facts = train("--data", str(root))
    assert status == 0
    assert "20 patients found in folder names" in said
    assert "--no-patients" in said
    assert "training slices" in said
    groups = {row.split(",")[3] for row in (tmp_path / "run" / "slices.csv").open()} - {"group"}
    assert len(groups) == 20
    rows = (tmp_path / "run" / "slices.csv").read_text().splitlines()[1:]
    parts: dict[str, set[str]] = {}
    for row in rows:
        name, *_, part = row.split(",")
        parts.setdefault(name.split("/")[1], set()).add(part)
    assert all(len(sides) == 1 for sides in parts.values())
    assert facts["notes"]
    _, found = audited(str(root), capsys=capsys)
    assert found["patients"] == 20
    assert any("20 patients found in folder names" in note for note in found["notes"])
    _, found = audited(str(root), "--no-patients", capsys=capsys)
    assert found["patients"] == 0


def test_no_patients_is_kept_when_a_run_goes_on(tmp_path: Path, draw: Draw, train: Train) -> None:
    root = write_set(tmp_path / "set", draw, "{label}/{patient}_{slice}.jpg", patients=6)
    status, said, facts = train("--data", str(root), "--no-patients")
    assert (status, facts["patients_from_names"]) == (0, False)
    assert "patients found" not in said
    assert main(["evaluate", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("name", "patients"),
    [
        ("{label}/{code}_{patient}_{slice}.jpg", 20),
        ("{label}/MR04{patient}B-{slice}.jpg", 5),
        ("{label}/TCGA_{code}_{patient}_{slice}_T1c.jpg", 20),
        ("train/{label}/sub-0{patient}/axial/{slice}.jpg", 5),
        ("patient_{code}{patient}/{label}/{slice}.jpg", 20),
        ("train/P0{patient}/{label}/{slice}.jpg", 5),
        ("archive2/{label}/{slice}{patient}x.jpg", 0),
        ("{label}/{code} ({slice}{patient}).jpg", 0),
        ("{label}/Tr-{code}_{patient}{slice}.jpg", 0),
        ("{label}/slice_{patient}_{slice}.jpg", 0),
        ("{label}/fold{patient}/{slice}.jpg", 0),
        ("{label}/T1/{patient}{slice}.jpg", 0),
    ],
)
def test_patients_are_taken_only_where_names_tell_them(
    tmp_path: Path, draw: Draw, name: str, patients: int
) -> None:
    catalogue = read_set(write_set(tmp_path / "set", draw, name, slices=3))
    assert len({item.group for item in catalogue.slices} - {""}) == patients
    if patients:
        assert f"{patients} patients found in" in catalogue.notes[0]


def test_folders_that_may_or_may_not_be_patients_are_named(tmp_path: Path, draw: Draw) -> None:
    catalogue = read_set(write_set(tmp_path / "set", draw, "{label}/fold{patient}/{slice}.jpg"))
    assert "fold0, fold1, fold2, … are not taken" in catalogue.notes[0].replace(")", "").replace(
        "(", ""
    )


# The name of the root


@pytest.mark.parametrize("above", ["", "archive/brain_tumor/"])
def test_the_name_of_the_data_set_is_no_class(
    tmp_path: Path, draw: Draw, train: Train, above: str
) -> None:
    root = write_set(tmp_path / "brain_tumor", draw, above + "{label}/{patient}{slice}.jpg")
    draw(root / above / "healthy_controls" / "1.jpg", 5)
    status, said, _ = train("--data", str(root))
    assert status == 2
    assert "healthy_controls/1.jpg: stands in no folder called like a class" in said
    assert "healthy_controls (1)" in said


def test_pictures_without_class_folders_point_to_the_table_beside_them(
    tmp_path: Path, draw: Draw
) -> None:
    draw(tmp_path / "glioma_set" / "1.jpg", 1)
    (tmp_path / "glioma_set" / "labels.csv").write_text("image,label\n1.jpg,glioma\n")
    with pytest.raises(DataError, match=r"give it: --data .*labels\.csv"):
        read_set(tmp_path / "glioma_set")
    (item,) = read_set(tmp_path / "glioma_set" / "labels.csv").slices
    assert (item.label, item.source) == ("glioma", "glioma_set")


# Kinds of files


def test_a_class_of_files_that_cannot_be_read_does_not_vanish(
    tmp_path: Path, draw: Draw, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "set", draw, "{label}/{patient}{slice}.jpg")
    for path in sorted((root / "notumor").iterdir()):
        path.rename(path.with_suffix(".xyz"))
    status, said, _ = train("--data", str(root))
    assert status == 2
    assert "none of the 10 files of class notumor can be used" in said
    assert ".xyz" in said
    status, found = audited(str(root), capsys=capsys)
    assert status == 1
    assert sum("notumor/" in item["name"] for item in found["unreadable"]) == 10


def test_an_empty_class_folder_is_named(tmp_path: Path, draw: Draw) -> None:
    root = write_set(tmp_path / "set", draw, "{label}/{patient}{slice}.jpg")
    shutil.rmtree(root / "notumor")
    (root / "no_tumor").mkdir()
    with pytest.raises(DataError, match="no_tumor: this folder of class notumor holds no picture"):
        read_set(root)


def test_what_operating_systems_leave_is_ignored_and_listed(
    tmp_path: Path, draw: Draw, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "set", draw, "brains/{label}/{patient}{slice}.jpg")
    for path in sorted((root / "brains").rglob("*.jpg")):
        twin = root / "__MACOSX" / path.relative_to(root).with_name(f"._{path.name}")
        twin.parent.mkdir(parents=True, exist_ok=True)
        twin.write_bytes(b"\0\5\26\7")
    (root / "brains" / "glioma" / "Thumbs.db").write_bytes(b"x")
    (root / "brains" / ".DS_Store").write_bytes(b"x")
    (root / "desktop.ini").write_bytes(b"x")
    status, found = audited(str(root), capsys=capsys)
    assert (status, found["files"], found["unreadable"]) == (0, 40, [])
    listed = {item["name"] for item in found["ignored"]}
    assert listed == {
        "__MACOSX",
        "brains/glioma/Thumbs.db",
        "brains/.DS_Store",
        "desktop.ini",
    }
    status, _, facts = train("--data", str(root))
    assert status == 0
    assert {item["name"] for item in facts["ignored"]} == listed


# Three parts


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_a_validation_part_is_chosen_by(
    tmp_path: Path, draw: Draw, train: Train, name: str
) -> None:
    root = tmp_path / "set"
    for number, part in enumerate(("train", name, "test")):
        layout = part + "/{label}/{patient}{slice}.jpg"
        write_set(root, draw, layout, patients=2, first=10_000 * number)
    status, said, facts = train("--data", str(root), split="published-split")
    assert status == 0
    counts = {part: sum(numbers.values()) for part, numbers in facts["counts"].items()}
    assert counts == {"train": 16, "validation": 16, "test": 16}
    assert "16 validation" in said


def test_slices_of_no_part_are_counted(tmp_path: Path, draw: Draw, train: Train) -> None:
    root = tmp_path / "set"
    for number, part in enumerate(("train", "test", "extra")):
        layout = part + "/{label}/{patient}{slice}.jpg"
        write_set(root, draw, layout, patients=2, first=10_000 * number)
    status, said, facts = train("--data", str(root), split="published-split")
    assert (status, facts["left_out_of_every_part"]) == (0, 16)
    assert "16 slices left out, the split has no part" in said


# Names of sets


def test_own_sets_are_called_as_their_folders_or_as_somebody_says(
    tmp_path: Path, draw: Draw, train: Train
) -> None:
    name = "{label}_tumor/{code}_{patient}_{slice}.jpg"
    first = write_set(tmp_path / "hospital_a", draw, name, patients=4)
    second = write_set(tmp_path / "hospital_b", draw, name, patients=4, first=10_000)
    for root in (first, second):
        (root / "notumor_tumor").rename(root / "no_tumor")
    status, _, _ = train("--data", str(first), "--data", str(second))
    assert status == 0
    rows = (tmp_path / "run" / "slices.csv").read_text()
    assert ",hospital_a," in rows
    assert ",hospital_b," in rows
    # Both number their patients alike: they are others.
    assert "hospital_a/gl_0" in rows
    assert "hospital_b/gl_0" in rows


def test_two_tables_of_one_file_name_keep_their_patients_apart(tmp_path: Path, draw: Draw) -> None:
    for number, folder in enumerate(("berlin", "paris")):
        write_set(tmp_path / folder, draw, "{code}{patient}{slice}.jpg", first=10_000 * number)
        rows = [
            f"{code}{patient}{slice_}.jpg,{label},{patient}"
            for label, code in CODES.items()
            for patient in range(5)
            for slice_ in range(2)
        ]
        (tmp_path / folder / "table.csv").write_text("\n".join(["file,class,patient_id", *rows]))
    sources = [tmp_path / folder / "table.csv" for folder in ("berlin", "paris")]
    catalogue = read_data(sources)
    assert {item.source for item in catalogue.slices} == {"berlin", "paris"}
    assert len({item.group for item in catalogue.slices}) == 10
    with pytest.raises(DataError, match=r"two data sets are called 'berlin': .* --data NAME=PATH"):
        read_data([sources[0], sources[0].parent / "table.csv"])
    again = read_data([sources[0], f"again={sources[0]}"])
    assert {item.source for item in again.slices} == {"berlin", "again"}


# Masks


@pytest.mark.parametrize(
    "mask",
    [
        "{label}/{patient}{slice}_mask.png",
        "masks/{label}/{patient}{slice}.png",
        "{label}/masks/{patient}{slice}.png",
        "{label}/{patient}{slice}_tumour-outline.png",
    ],
)
def test_masks_beside_pictures_are_outlines_not_slices(
    tmp_path: Path, draw: Draw, mask: str
) -> None:
    root = write_set(tmp_path / "set", draw, "{label}/{patient}{slice}.jpg")
    for label in CLASSES:
        path = root / mask.format(label=label, patient=0, slice=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        square = np.zeros((72, 72), dtype=np.uint8)
        square[30:40, 30:40] = 255
        Image.fromarray(square).save(path)
    catalogue = read_set(root)
    assert len(catalogue) == 40
    outlined = {item.name: item.mask for item in catalogue.slices if item.mask}
    assert set(outlined) == {f"{label}/01.jpg" for label in CLASSES}
    assert catalogue.skipped == ()
    assert "4 masks beside the pictures; 4 are used as outlines" in catalogue.notes[0]


def test_masks_without_a_picture_and_pictures_of_two_values_are_named(
    tmp_path: Path, draw: Draw
) -> None:
    root = write_set(tmp_path / "set", draw, "{label}/{patient}{slice}.jpg")
    square = np.zeros((72, 72), dtype=np.uint8)
    square[30:40, 30:40] = 255
    for name in ("elsewhere_mask.png", "outline 7.png", "black-and-white.jpg"):
        Image.fromarray(square).save(root / "glioma" / name, quality=95)
    catalogue = read_data([root])
    assert len(catalogue) == 40
    reasons = {item.name: item.reason for item in catalogue.skipped}
    assert set(reasons) == {
        "glioma/elsewhere_mask.png",
        "glioma/outline 7.png",
        "glioma/black-and-white.jpg",
    }
    assert all("mask" in reason for reason in reasons.values())


def test_a_table_written_on_windows(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "train" / "glioma" / "a.png", 1)
    (tmp_path / "t.csv").write_text("image;label\ntrain\\glioma\\a.png;Glioma\n")
    (item,) = read_set(tmp_path / "t.csv").slices
    assert (item.name, item.label) == ("train/glioma/a.png", "glioma")


def test_a_missing_mask_of_a_table_does_not_cost_its_slice(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "a.png", 1)
    (tmp_path / "t.csv").write_text("file,class,mask\na.png,glioma,gone.png\n")
    catalogue = read_set(tmp_path / "t.csv")
    assert [item.mask for item in catalogue.slices] == [None]
    (skipped,) = catalogue.skipped
    assert skipped.name == "gone.png"
    assert "no such outline; a.png is used without it" in skipped.reason


# Volumes


def test_dicom_files_are_named_with_what_to_do(tmp_path: Path, draw: Draw) -> None:
    root = write_set(tmp_path / "set", draw, "{label}/{patient}.png", slices=1)
    scan = write_dicom(root / "glioma" / "scan.dcm", head(1).astype(np.uint16))
    shutil.copy(scan, root / "glioma" / "IM_0001")
    said = "a DICOM file: save its slices as pictures first (docs/data.md)"
    skipped = {item.name: item.reason for item in read_set(root).skipped}
    assert skipped == {"glioma/scan.dcm": said, "glioma/IM_0001": said}
    (tmp_path / "mine.csv").write_text("file,class\nset/glioma/scan.dcm,glioma\n")
    (item,) = read_set(tmp_path / "mine.csv").slices
    with pytest.raises(UnreadableImageError, match="a DICOM file: save its slices"):
        read_picture(item)
    shutil.rmtree(root / "meningioma")
    (root / "meningioma").mkdir()
    shutil.copy(scan, root / "meningioma")
    with pytest.raises(DataError, match=r"class meningioma can be used; .*a DICOM file: save"):
        read_set(root)


def test_healthy_volumes_are_cut_at_every_level_in_three_planes(tmp_path: Path, draw: Draw) -> None:
    root = write_set(tmp_path / "set", draw, "{label}/{patient}{slice}.jpg")
    grid = np.indices((40, 44, 48)).transpose(1, 2, 3, 0) - np.array([20, 22, 24])
    head = (np.linalg.norm(grid / np.array([16, 18, 20]), axis=-1) < 1).astype(np.float32)
    head *= 200 + 10 * np.random.default_rng(0).standard_normal(head.shape).astype(np.float32)
    for label in ("glioma", "notumor"):
        nibabel.save(nibabel.Nifti1Image(head, np.eye(4)), root / label / "P1.nii.gz")
    catalogue = read_set(root)
    cut = [item for item in catalogue.slices if item.number is not None]
    assert {item.label for item in cut} == {"notumor"}
    levels = {plane: [i.number for i in cut if i.plane == plane] for plane in ("axial", "sagittal")}
    assert len(levels["axial"]) > 30
    assert len(levels["sagittal"]) > 25
    assert len({item.name for item in catalogue.slices}) == len(catalogue)
    (group,) = {item.group for item in cut}  # (One head, one group.)
    assert group
    (skipped,) = catalogue.skipped
    assert skipped.name == "glioma/P1.nii.gz"
    assert "which of its slices show the tumour is not known" in skipped.reason
    # The audit sees the same, and a file that has changed is read anew.
    before = {item.name: read_picture(item).mean() for item in cut}
    (root / "glioma" / "P1.nii.gz").unlink()
    coarse = np.random.default_rng(1).uniform(0.1, 1, (10, 11, 12)).astype(np.float32)
    spotted = head * coarse.repeat(4, 0).repeat(4, 1).repeat(4, 2)
    nibabel.save(nibabel.Nifti1Image(spotted, np.eye(4)), root / "notumor" / "P1.nii.gz")
    again = read_set(root)
    both = [item for item in again.slices if item.name in before]
    assert len(both) > 30
    assert all(read_picture(item).mean() != before[item.name] for item in both)
    assert len(audit(root).files) == len(again)


# Speed and completeness


def test_the_time_of_listing_grows_as_the_number_of_files(tmp_path: Path, draw: Draw) -> None:
    """About 0.4 s for 20,000 files on an idle core; a busy one is given more."""
    first = draw(tmp_path / "first.jpg", 1)

    def seconds(folder: Path, files: int) -> float:
        for label in CLASSES:
            (folder / label).mkdir(parents=True)
            for number in range(files // 4):
                (folder / label / f"{number}.jpg").hardlink_to(first)
        assert len(read_set(folder)) == files
        return processor_seconds(lambda: read_set(folder))

    few, many = seconds(tmp_path / "few", 4_000), seconds(tmp_path / "many", 20_000)
    assert many < 2
    assert many < 12 * few


NAMES = st.sampled_from(
    [
        *("1.jpg", "2.png", "1_mask.png", "3.JPEG", "x.tif", "scan.dcm", "P1_2.jpg", "noending"),
        *("README.md", "Thumbs.db", "._1.jpg", ".hidden.png", "data.csv", "v.nii.gz", "f.mat"),
    ]
)
FOLDERS = st.sampled_from(
    [
        *("", "glioma", "no tumour", "glioma/P1", "train/Meningiomas", "val/yes", "masks/glioma"),
        *("__MACOSX/glioma", ".git", "pituitary/masks", "odd", "brain_tumor/odd"),
    ]
)
CONTENTS = st.sampled_from(["head", "mask", "text", "nothing"])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=st.dictionaries(st.tuples(FOLDERS, NAMES), CONTENTS, min_size=1, max_size=12))
def test_every_file_is_used_named_or_listed_as_ignored(
    tmp_path_factory: pytest.TempPathFactory, draw: Draw, tree: dict[tuple[str, str], str]
) -> None:
    root = tmp_path_factory.mktemp("trees") / "set"
    root.mkdir()
    for number, ((folder, name), content) in enumerate(tree.items()):
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content == "head":
            drawn = draw(root.parent / "drawn.png", number)
            path.write_bytes(drawn.read_bytes())
        elif content == "mask":
            square = np.zeros((72, 72), dtype=np.uint8)
            square[30:40, 30:40] = 255
            Image.fromarray(square).save(root.parent / "drawn.png")
            path.write_bytes((root.parent / "drawn.png").read_bytes())
        else:
            path.write_bytes(b"no picture" if content == "text" else b"")
    for strict in (True, False):
        try:
            catalogue = read_set(root, strict=strict)
        except DataError:
            continue  # refused in a line: nothing was passed over
        assert accounted_for(catalogue, root) == everything(root)


def everything(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def accounted_for(catalogue: Catalogue, root: Path) -> set[str]:
    used = {item.path.relative_to(root).as_posix() for item in catalogue.slices}
    outlines = {item.mask.relative_to(root).as_posix() for item in catalogue.slices if item.mask}
    named = {item.name for item in catalogue.skipped}
    ignored = {
        name
        for name in everything(root)
        for item in catalogue.ignored
        if name == item.path or name.startswith(f"{item.path}/")
    }
    found = [used, outlines, named & everything(root), ignored]
    assert sum(map(len, found)) == len(set().union(*found))  # each file is in one of them only
    return set().union(*found)


def test_files_that_are_called_otherwise_do_not_cost_the_others_their_patients(
    tmp_path: Path,
) -> None:
    for label in ("glioma", "notumor"):
        (tmp_path / label).mkdir()
        for patient in range(6):
            for number in range(3):
                Image.new("L", (64, 64), 10 * patient + number).save(
                    tmp_path / label / f"P{patient:03}_{number:02}.png"
                )
    Image.new("L", (64, 64), 200).save(tmp_path / "glioma" / "overview.png")
    catalogue = read_set(tmp_path)
    groups = {item.name: item.patient for item in catalogue.slices}
    assert groups["glioma/P003_01.png"] == groups["glioma/P003_02.png"] != ""
    assert groups["glioma/overview.png"] == ""
    assert any("1 slices are called otherwise" in note for note in catalogue.notes)


def test_a_number_before_or_after_a_class_is_no_patient(tmp_path: Path, draw: Draw) -> None:
    for number, label in enumerate(CODES):
        for name in (f"train/{number}_{label}/1.jpg", f"test/{label}-{number}/P1/2.jpg"):
            draw(tmp_path / "set" / name, number)
    catalogue = read_set(tmp_path / "set")
    assert {item.label for item in catalogue.slices} == set(CLASSES)
    assert {item.patient for item in catalogue.slices} == {"", "P1"}


@pytest.mark.parametrize("folder", ["glioma/glioma_{}", "glioma/tumor{}", "glioma/No {}"])
def test_a_class_with_a_number_below_a_class_is_a_patient(
    tmp_path: Path, draw: Draw, folder: str
) -> None:
    names = [f"{folder.format(number)}/1.jpg" for number in (1, 2)]
    for number, name in enumerate(names):
        draw(tmp_path / "set" / name, number)
    slices = read_set(tmp_path / "set").slices
    assert {item.label for item in slices} == {"glioma"}
    assert len({item.patient for item in slices} - {""}) == 2


def test_several_numbered_folders_of_one_class_are_refused(tmp_path: Path, draw: Draw) -> None:
    for number in (1, 2):
        draw(tmp_path / "set" / f"glioma_{number}" / "1.jpg", number)
    with pytest.raises(
        DataError, match=r"glioma_1/1\.jpg: stands in no folder called like a class"
    ):
        read_set(tmp_path / "set")


@pytest.mark.parametrize("above", ["", "archive/", "train/"])
def test_the_audit_takes_unknown_classes_with_a_number_for_classes(
    tmp_path: Path, draw: Draw, above: str
) -> None:
    for number, name in enumerate(("0_ependymoma", "1_glioma", "2_astrocytoma")):
        for patient in range(2):
            draw(tmp_path / f"set/{above}{name}/P{number}{patient}/1.jpg", 10 * number + patient)
            draw(tmp_path / f"set/{above}{name}/{patient}.jpg", 100 + 10 * number + patient)
    found = audit(tmp_path / "set")
    assert found.labels == ("glioma", "0_ependymoma", "2_astrocytoma")
    assert {item.group for item in found.files} == {"", *(f"P{n}{p}" for n in "012" for p in "01")}
    assert any("0_ependymoma, 2_astrocytoma: no class" in note for note in found.notes)


@pytest.mark.parametrize(
    "names",
    [
        ("batch1/P{}_01", "batch2/P{}_02"),
        ("P{}_ses-1/01", "P{}_ses-2/01"),
        ("P{}_20180712/01", "P{}_2021-05-06/01"),
        ("P{}_T1/01", "P{}_FLAIR/01"),
        ("P{}a/01", "P{}b/01"),
        ("P{}/01", "p{}/02"),
        ("P{}a_01", "P{}b_01"),
        ("P{}_01", "P{}_02", "P{}_flair", "P{}"),
        ("P{}_flair", "P{}_ax"),
        ("T1_P{}_01", "T2_P{}_01"),
        ("BraTS-GLI-{}-000/01", "BraTS-GLI-{}-001/01"),
        ("site1_P{}_01", "site1_P{}_02"),
        ("TCGA_DU_A{}TP_01", "TCGA_DU_A{}TP_02"),
    ],
)
def test_the_scans_of_one_patient_are_one_group(
    tmp_path: Path, draw: Draw, names: tuple[str, ...]
) -> None:
    patients = {label: range(300 + 10 * n, 306 + 10 * n) for n, label in enumerate(TUMOUR_CLASSES)}
    for label, numbers in patients.items():
        for patient in numbers:
            for number, name in enumerate(names):
                seed = 10 * patient + number
                draw(tmp_path / "set" / label / f"{name.format(patient)}.jpg", seed)
    catalogue = read_set(tmp_path / "set")
    groups: dict[str, set[str]] = {}
    for item in catalogue.slices:
        number = next(str(n) for each in patients.values() for n in each if str(n) in item.name)
        groups.setdefault(number, set()).add(item.patient)
    assert all(len(each) == 1 for each in groups.values())
    assert len(set().union(*groups.values()) - {""}) == 18
    assert "18 patients found in" in catalogue.notes[0]


def test_names_that_count_files_in_each_class_are_no_patients(tmp_path: Path, draw: Draw) -> None:
    root = write_set(tmp_path / "set", draw, "{label}/{patient}{slice}_{code}.jpg")
    assert {item.patient for item in read_set(root).slices} == {""}


@pytest.mark.parametrize(
    "name", ["{label}/P{code}{patient}/{slice}.jpg", "{label}/{patient}_{slice}.jpg"]
)
def test_a_folder_without_patients_costs_the_others_nothing(
    tmp_path: Path, draw: Draw, name: str
) -> None:
    root = write_set(tmp_path / "set", draw, name)
    for number in range(30):
        draw(root / "notumor" / "volunteers" / f"x{number}.jpg", 9000 + number)
    catalogue = read_set(root)
    nobodys = {item.name for item in catalogue.slices if not item.patient}
    assert nobodys == {f"notumor/volunteers/x{number}.jpg" for number in range(30)}
    assert "30 slices" in catalogue.notes[0]
    assert "folders below the classes (volunteers) are not taken" in catalogue.notes[1]


def test_a_volume_and_pictures_of_one_patient_are_one_group(tmp_path: Path, draw: Draw) -> None:
    root = write_set(tmp_path / "set", draw, "{label}/sub-{code}0{patient}_{slice}.jpg")
    head = np.zeros((40, 44, 48), dtype=np.float32)
    head[8:32, 8:36, 8:40] = np.random.default_rng(0).uniform(50, 200, (24, 28, 32))
    for name in ("sub-no01", "sub-no01_FLAIR"):
        nibabel.save(nibabel.Nifti1Image(head, np.eye(4)), root / "notumor" / f"{name}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(head, np.eye(4)), root / "notumor" / "sub-no01_seg.nii.gz")
    catalogue = read_set(root)
    cut = [item for item in catalogue.slices if item.number is not None]
    assert {item.patient for item in cut} == {"sub-no01"}
    (skipped,) = catalogue.skipped
    assert (skipped.name, skipped.reason) == (
        "notumor/sub-no01_seg.nii.gz",
        "a mask by its name, no head",
    )


def test_that_no_patient_is_known_is_said(tmp_path: Path, draw: Draw) -> None:
    root = write_set(tmp_path / "set", draw, "{label}/{patient}{slice}.jpg", patients=1)
    (note,) = read_set(root).notes
    assert "no patients found in folder or file names" in note
    (root / "t.csv").write_text("file,class,Patient Name\nglioma/00.jpg,glioma,Doe\n")
    (note,) = read_set(root / "t.csv").notes
    assert "t.csv names no patients (in a column 'patient')" in note
    assert note.endswith("columns that are not read: patient_name")


def test_empty_class_folders_are_said(tmp_path: Path, draw: Draw) -> None:
    root = write_set(tmp_path / "set", draw, "train/{label}/{patient}{slice}.jpg", patients=1)
    (root / "test" / "pituitary").mkdir(parents=True)
    (root / "__MACOSX" / "glioma").mkdir(parents=True)
    note, _ = read_set(root).notes
    assert note.endswith("class folders without a picture: test/pituitary")
    assert note in audit(root).notes


def test_the_audit_says_that_a_class_is_empty(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "set" / "glioma" / "1.jpg", 1)
    (tmp_path / "set" / "pituitary").mkdir()
    assert any("without a picture: pituitary" in note for note in audit(tmp_path / "set").notes)
