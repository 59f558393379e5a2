"""What each layout of a data set becomes when it is read."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from tumorscope.classes import CLASSES
from tumorscope.datasets.catalogue import slice_name
from tumorscope.datasets.pictures import read_picture
from tumorscope.datasets.sources import join_sets, read_data, read_set
from tumorscope.errors import DataError

Draw = Callable[..., Path]


def tree(folder: Path, draw: Draw, *names: str) -> Path:
    for number, name in enumerate(names):
        draw(folder / name, 100 + number)
    return folder


def table(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("folders", "label"),
    [
        ("glioma", "glioma"),
        ("Glioma_tumour", "glioma"),
        ("no", "notumor"),
        ("Healthy", "notumor"),
        ("pituitary adenoma", "pituitary"),
        ("MENINGIOMA", "meningioma"),
        ("glioma/patient 7/first visit", "glioma"),
        ("some archive/v2/pituitary", "pituitary"),
    ],
)
def test_a_folder_called_like_a_class_gives_the_label(
    tmp_path: Path, draw: Draw, folders: str, label: str
) -> None:
    draw(tmp_path / "set" / folders / "1.png", 1)
    (item,) = read_set(tmp_path / "set").slices
    assert (item.label, item.source, item.split) == (label, "set", "")
    assert item.name == f"{folders}/1.png"


@pytest.mark.parametrize("above", ["", "archive/"])
def test_training_and_testing_folders_give_the_split(
    tmp_path: Path, draw: Draw, above: str
) -> None:
    names = [f"{above}{part}/glioma/1.png" for part in ("Training", "test", "extra")]
    catalogue = read_set(tree(tmp_path / "set", draw, *names))
    assert {item.name.split("/")[-3]: item.split for item in catalogue.slices} == {
        "Training": "train",
        "test": "test",
        "extra": "",
    }


def test_a_tree_is_sartaj_by_its_class_folders_in_every_part(tmp_path: Path, draw: Draw) -> None:
    parts = ("Training/glioma_tumor/gg (1)", "Training/no_tumor/1", "Testing/no_tumor/image(2)")
    catalogue = read_set(tree(tmp_path / "anything", draw, *(f"{name}.jpg" for name in parts)))
    assert {item.source for item in catalogue.slices} == {"sartaj"}
    # Somebody's own set with such class folders is called as its folder.
    own = ("Training/glioma_tumor/a1.jpg", "Training/no_tumor/b2.jpg", "Testing/no_tumor/c3.jpg")
    catalogue = read_set(tree(tmp_path / "hospital", draw, *own))
    assert {item.source for item in catalogue.slices} == {"hospital"}


def test_only_pictures_are_read(tmp_path: Path, draw: Draw) -> None:
    folder = tree(tmp_path / "set", draw, "no/a.JPG", "no/.hidden.png", "no/b.jpeg")
    (folder / "no" / "Thumbs.db").write_bytes(b"x")
    (folder / "README.txt").write_text("about")
    assert [item.name for item in read_set(folder).slices] == ["no/a.JPG", "no/b.jpeg"]


def test_a_set_without_groups_gets_them_and_says_what_it_skipped(
    tmp_path: Path, draw: Draw
) -> None:
    folder = tree(tmp_path / "set", draw, "glioma/a.png", "glioma/b.png", "no/c.png")
    draw(folder / "glioma" / "a mirrored.png", 100, mirrored=True)
    (folder / "no" / "broken.jpg").write_text("this is text")
    catalogue = read_data([folder])
    groups = {item.name: item.group for item in catalogue.slices}
    assert groups["glioma/a.png"] == groups["glioma/a mirrored.png"]
    assert len(set(groups.values())) == 3
    (skipped,) = catalogue.skipped
    assert skipped.name == "no/broken.jpg"
    assert "not a JPEG, PNG" in skipped.reason


def test_a_table_gives_all_that_it_knows(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "hospital" / "a.png", 1)
    draw(tmp_path / "hospital" / "outline.png", 2)
    path = table(
        tmp_path / "hospital" / "slices.csv",
        "\ufefffile,class,patient,twin_cluster,split,fold,mask,sequence,plane,site,remark",
        "a.png, Glioma ,P1,c1,Test,3,outline.png,T1c,Axial,DU,fine",
    )
    by_folder, by_file = read_set(path.parent), read_set(path)
    assert by_folder == by_file
    (item,) = by_file.slices
    assert (item.label, item.source, item.group) == ("glioma", "hospital", "P1")
    assert (item.cluster, item.split, item.fold) == ("c1", "test", 3)
    assert item.mask == path.parent / "outline.png"
    assert (item.sequence, item.plane, item.hospital) == ("T1c", "axial", "DU")


def test_a_table_is_called_as_its_folder_and_group_goes_before_patient(
    tmp_path: Path, draw: Draw
) -> None:
    draw(tmp_path / "a.png", 1)
    path = table(tmp_path / "mine.csv", "file,class,patient,group", "a.png,no,P1,G1")
    (item,) = read_set(path).slices
    assert (item.source, item.group, item.fold, item.split) == (tmp_path.name, "G1", 0, "")


def test_a_patient_in_two_groups_is_refused(tmp_path: Path, draw: Draw) -> None:
    for name in ("a.png", "b.png"):
        draw(tmp_path / name, 1)
    rows = ("file,class,patient,group", "a.png,no,1,x", "b.png,no,1,y")
    with pytest.raises(DataError, match="patient 1 is in the groups x and y"):
        read_set(table(tmp_path / "mine.csv", *rows))


def test_files_that_a_table_lists_in_vain_are_skipped(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "a.png", 1)
    path = table(tmp_path / "t.csv", "file,class", "a.png,no", "gone.png,no", ",no")
    catalogue = read_set(path)
    assert [item.name for item in catalogue.slices] == ["a.png"]
    assert [item.name for item in catalogue.skipped] == ["gone.png", "row 4"]
    assert "no such file" in catalogue.skipped[0].reason


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,kind", "a.png,no"], "no column 'class'; its columns are file, kind"),
        (["image,label,diagnosis", "a.png,no,no"], "label and diagnosis both stand for the class"),
        (["file,class,Class", "a.png,no,pituitary"], "two columns are called 'class'"),
        (["file,class,File", "a.png,no,b.png"], "two columns are called 'file'"),
        (["file,class", "a.png,no", "./a.png,glioma"], "a.png is glioma here and notumor further"),
        (["file,class", "a.png,schwannoma"], "row 2: unknown class 'schwannoma'"),
        (["file,class", "a.png"], "row 2: unknown class ''"),
        (["file,class,fold", "a.png,no,two"], "row 2: fold is 'two', not a whole number"),
        (["file,class,fold", "a.png,no,-1"], "row 2: fold is '-1', not a whole number"),
        (
            ["file,class,split", "a.png,no,later"],
            "row 2: split is 'later', not train",
        ),
        (["file,class", "gone.png,no"], "none of its 1 pictures can be used; gone.png"),
        (["file,class"], "no picture found"),
        ([""], "no column 'file'"),
        (["file,class", "a.png," + "n" * 200_000], "not a CSV table"),
    ],
)
def test_a_table_that_cannot_be_used_says_where_and_why(
    tmp_path: Path, draw: Draw, lines: list[str], message: str
) -> None:
    draw(tmp_path / "a.png", 1)
    path = table(tmp_path / "t.csv", *lines)
    with pytest.raises(DataError) as caught:
        read_set(path)
    assert message in str(caught.value)
    assert "t.csv" in str(caught.value)


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("file,class\nä.png,no\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"t\.csv: not a CSV table in UTF-8"):
        read_set(path)


def test_figshare_is_read_by_its_index(tmp_path: Path, draw: Draw) -> None:
    folder = tmp_path / "anywhere"
    draw(folder / "images" / "0007.jpg", 1)
    draw(folder / "masks" / "0007.png", 1)
    draw(folder / "images" / "0008.jpg", 2)
    table(
        folder / "index.csv",
        "index,class,patient,patient_prefix,fold",
        "7,glioma,MR040240B,MR040240,2",  # a patient whose published folds are known
        "8,pituitary,101,,5",
        "9,pituitary,102,,5",
    )
    catalogue = read_set(folder)
    first, second = catalogue.slices
    assert (first.name, first.source, first.label) == ("images/0007.jpg", "figshare", "glioma")
    assert (first.group, first.patient, first.cluster) == ("MR040240", "MR040240B", "figshare-7")
    assert (first.fold, first.cvind, second.fold, second.cvind) == (5, 3, 5, 0)
    assert first.mask == folder / "masks" / "0007.png"
    assert (second.group, second.mask) == ("101", None)
    assert [item.name for item in catalogue.skipped] == ["images/0009.jpg"]


def test_figshare_with_a_broken_index_says_where(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "images" / "0007.jpg", 1)
    table(tmp_path / "index.csv", "index,class,patient,fold", "seven,glioma,1,1")
    with pytest.raises(DataError, match=r"index\.csv, row 2: index is 'seven'"):
        read_set(tmp_path)


def test_an_empty_folder_and_a_missing_one_say_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no picture found .* one folder a class"):
        read_data([tmp_path])
    with pytest.raises(DataError, match=r"gone: no such folder or table; --data names a data set"):
        read_data([tmp_path / "gone"])


@pytest.mark.parametrize("name", ["1.png", "schwannoma/1.png"])
def test_a_picture_in_no_class_folder_is_named(tmp_path: Path, draw: Draw, name: str) -> None:
    draw(tmp_path / "no" / "2.png", 1)
    draw(tmp_path / name, 2)
    with pytest.raises(DataError, match=rf"{name}: stands in no folder called like a class"):
        read_data([tmp_path])


def test_twins_in_two_sets_are_put_in_one_group(tmp_path: Path, draw: Draw) -> None:
    hospital = table(
        tmp_path / "hospital" / "slices.csv", "file,class,patient", "a.png,no,P1", "b.png,no,P2"
    )
    draw(hospital.parent / "a.png", 1)
    draw(hospital.parent / "b.png", 2)
    web = draw(tmp_path / "web" / "no" / "copy.jpg", 1, mirrored=True).parents[1]
    draw(web / "no" / "other.jpg", 3)
    groups = {slice_name(item): item.group for item in read_data([hospital.parent, web]).slices}
    assert groups == {
        "hospital/a.png": "P1",
        "hospital/b.png": "P2",
        "web/no/copy.jpg": "P1",
        "web/no/other.jpg": "web/no/other.jpg",
    }


def test_two_sets_of_one_name_are_refused(tmp_path: Path, draw: Draw) -> None:
    folders = [tmp_path / place / "set" for place in "ab"]
    for number, folder in enumerate(folders):
        draw(folder / "no" / "1.png", number)
    with pytest.raises(DataError, match="two data sets are called 'set'"):
        join_sets([read_set(folder) for folder in folders])


def test_the_real_sets_are_told_apart_and_complete(real_data: Path) -> None:
    figshare = read_set(real_data / "figshare")
    assert (len(figshare), figshare.skipped) == (3064, ())
    assert figshare.counts() == {"glioma": 1426, "meningioma": 708, "pituitary": 930}
    # 233 patients as published; some numbers differ only in a letter.
    assert len({item.group for item in figshare.slices}) == 209
    assert {item.source for item in figshare.slices} == {"figshare"}
    assert all(item.mask and item.fold in range(1, 6) for item in figshare.slices)
    sartaj = read_set(real_data / "sartaj")
    assert Counter(item.split for item in sartaj.slices) == {"train": 2870, "test": 394}
    assert {item.source for item in sartaj.slices} == {"sartaj"}


@pytest.fixture
def some_of_kaggle(real_data: Path, tmp_path: Path) -> Path:
    """A copy of a few pictures of the Kaggle set in each class and part."""
    folder = tmp_path / "renamed"
    for part in ("Training", "Testing"):
        for label in CLASSES:
            source = real_data / "kaggle" / part / label
            (folder / part / label).mkdir(parents=True)
            for path in sorted(source.iterdir())[:3]:
                shutil.copy(path, folder / part / label)
    return folder


def test_kaggle_is_told_by_its_names_and_checked_by_its_pictures(some_of_kaggle: Path) -> None:
    wrong = sorted((some_of_kaggle / "Testing" / "glioma").iterdir())[0]
    shutil.copy(sorted((some_of_kaggle / "Testing" / "notumor").iterdir())[0], wrong)
    foreign = some_of_kaggle / "Training" / "glioma" / "my own.jpg"
    Image.fromarray(np.zeros((64, 64), dtype=np.uint8)).save(foreign)
    catalogue = read_set(some_of_kaggle)
    assert len(catalogue) == 23
    assert all(item.source == "kaggle" and item.group and item.fold for item in catalogue.slices)
    reasons = {item.name: item.reason for item in catalogue.skipped}
    assert "not in the manifest" in reasons["Training/glioma/my own.jpg"]
    assert "another picture" in reasons[f"Testing/glioma/{wrong.name}"]
    assert list(reasons.values())[-1] == "in the manifest, but not there, nor are 6,994 others"


def test_healthy_people_and_tumours_of_unknown_kind_are_told_by_their_layouts(
    tmp_path: Path, draw: Draw
) -> None:
    healthy, web = tmp_path / "volunteers", tmp_path / "web_tumour"
    table(
        healthy / "index.csv",
        "file,subject,plane",
        "a/1.png,S1,axial",
        "a/2.png,S1,axial",
        "b/3.png,S1,axial",
        "b/4.png,S2,axial",
    )
    for number, name in enumerate(("a/1.png", "a/2.png", "b/3.png")):
        draw(healthy / name, number)
    for number in (4, 5):
        draw(web / f"y{number}.jpg", number)
    first, second = read_set(healthy), read_set(web)
    assert {item.label for item in first.slices} == {"notumor"}
    assert [item.group for item in first.slices] == ["a/S1", "a/S1", "b/S1"]
    assert [item.name for item in first.skipped] == ["b/4.png"]
    assert second.counts() == {"tumour": 2}
    assert {item.source for item in second.slices} == {"web_tumour"}


def test_healthy_volumes_give_their_slices_at_every_level(tmp_path: Path, draw: Draw) -> None:
    healthy = tmp_path / "volunteers"
    table(healthy / "index.csv", "file,subject,plane", "a/1.png,S1,coronal")
    draw(healthy / "a/1.png", 1)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in (60, 64, 56)), indexing="ij")
    head = np.where(x**2 + y**2 + z**2 < 0.8, 100 + 50 * z + 30 * x, 0).astype(np.int16)
    (healthy / "volumes").mkdir()
    nibabel.save(nibabel.Nifti1Image(head, np.eye(4)), healthy / "volumes" / "S1.nii.gz")
    (healthy / "volumes" / "S2.nii.gz").write_bytes(b"no volume")
    catalogue = read_set(healthy)
    own, *cut = catalogue.slices
    assert (own.plane, own.hospital, own.sequence, own.number) == ("coronal", "a", "T1", None)
    assert {item.group for item in cut} == {own.group}
    assert Counter(item.plane for item in cut).keys() == {"axial", "coronal", "sagittal"}
    axial = [item for item in cut if item.plane == "axial"]
    # From near the one end to near the other.
    assert len(axial) > 42
    assert read_picture(axial[-1]).max() > 0
    assert read_picture(axial[len(axial) // 2]).shape == (64, 60)
    assert [item.name for item in catalogue.skipped] == ["volumes/S2.nii.gz"]
    assert catalogue.fingerprint() == read_set(healthy).fingerprint()
    (healthy / "a/1.png").unlink()  # (Of an index's pictures none need be there.)
    alone = read_set(healthy / "volumes")
    assert len(alone) == len(cut)
    assert {item.source for item in alone.slices} == {"volunteers/volumes"}


def test_an_index_that_names_classes_is_a_table_and_its_other_parts_are_kept_back(
    tmp_path: Path, draw: Draw
) -> None:
    folder = tmp_path / "hospital"
    table(
        folder / "index.csv",
        "file,class,patient,site,part,sequence,mask",
        "images/1.png,glioma,P1,DU,train,FLAIR,images/1.png",
        "images/2.png,notumor,P1,DU,train,T1c,",
        "images/3.png,glioma,P2,FG,external_dev,T1,",
        "images/4.png,glioma,P2,FG,external_dev,T1,",
    )
    for number in range(1, 5):
        draw(folder / f"images/{number}.png", number)
    catalogue = read_set(folder)
    first, second = catalogue.slices
    assert (first.source, first.hospital, first.sequence, first.group) == (
        "hospital",
        "DU",
        "FLAIR",
        "P1",
    )
    assert first.mask == folder / "images/1.png"
    assert (second.label, second.mask) == ("notumor", None)
    assert [item.name for item in catalogue.skipped] == ["images/3.png", "images/4.png"]
    assert {item.reason for item in catalogue.skipped} == {"held back by the table (external_dev)"}


def test_kaggles_slices_have_the_outlines_of_figshare_beside_them(real_data: Path) -> None:
    slices = read_set(real_data / "kaggle").slices
    outlined = [item for item in slices if item.mask]
    assert len(outlined) == 4750
    assert all(item.label != "notumor" and item.mask.is_file() for item in outlined if item.mask)
    assert sum(item.mirrored for item in outlined) == 3064


def test_rows_without_a_patient_are_counted_where_others_have_one(
    tmp_path: Path, draw: Draw
) -> None:
    tree(tmp_path, draw, "a.png", "b.png", "c.png")
    rows = ["a.png,no,1", "b.png,no,", "c.png,glioma,"]
    (note,) = read_set(table(tmp_path / "t.csv", "file,class,patient", *rows)).notes
    assert "t.csv names no patient of 2 of 3 slices" in note


def test_a_patient_whom_a_table_spells_in_several_ways_is_one(tmp_path: Path, draw: Draw) -> None:
    spelled = ["P1", "p1", "007", "7", "7.0", "P2"]
    names = [f"{number}.png" for number in range(len(spelled))]
    tree(tmp_path, draw, *names)
    rows = [f"{name},no,{who}" for name, who in zip(names, spelled, strict=True)]
    catalogue = read_set(table(tmp_path / "t.csv", "file,class,patient", *rows))
    assert [item.group for item in catalogue.slices] == ["P1", "P1", "007", "007", "007", "P2"]
    assert "spells 3 patients in several ways, such as 007 and 7: each is one" in catalogue.notes[0]


def test_a_table_as_excel_and_pandas_write_it(tmp_path: Path, draw: Draw) -> None:
    tree(tmp_path, draw, "a.png", "b.png")
    rows = [
        "sep=;",
        "File;Class;Patient;Fold",
        "a.png;no;1;1.0",
        ";;;",
        "b.png;glioma;2;2.0",
        ";;;",
    ]
    slices = read_set(table(tmp_path / "t.csv", *rows)).slices
    assert [(item.label, item.group, item.fold) for item in slices] == [
        ("notumor", "1", 1),
        ("glioma", "2", 2),
    ]
    rows[4] = "b.png;schwannoma;2;2.0"
    with pytest.raises(DataError, match="row 5: unknown class 'schwannoma'"):
        read_set(table(tmp_path / "t.csv", *rows))


def test_what_programs_write_for_a_missing_value_is_none(tmp_path: Path, draw: Draw) -> None:
    tree(tmp_path, draw, "a.png", "b.png")
    rows = ["a.png,none,nan,None,nan,NULL", "b.png,no,<NA>,NaN,null,nan"]
    header = "file,class,patient,hospital,fold,mask"
    catalogue = read_set(table(tmp_path / "t.csv", header, *rows))
    told = {(item.label, item.group, item.hospital, item.fold) for item in catalogue.slices}
    assert told == {("notumor", "", "", 0)}
    assert not catalogue.skipped
    assert "names no patients" in catalogue.notes[0]


def test_whole_paths_in_a_table_are_those_of_its_folder(tmp_path: Path, draw: Draw) -> None:
    tree(tmp_path / "set", draw, "in/a.png", "b.png")
    draw(tmp_path / "elsewhere.png", 3)
    (tmp_path / "link").symlink_to(tmp_path / "set")
    rows = [f"{tmp_path}/set/in/a.png,no", f"{tmp_path}/elsewhere.png,no", "in/a.png,no"]
    table(tmp_path / "set" / "slices.csv", "file,class", *rows)
    catalogue = read_set(tmp_path / "link")
    assert [item.name for item in catalogue.slices] == ["in/a.png", f"{tmp_path}/elsewhere.png"]
    assert {item.name for item in catalogue.skipped} == {"in/a.png (row 4)", "b.png"}
