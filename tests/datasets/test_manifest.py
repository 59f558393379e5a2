"""The manifest gives each of Kaggle's pictures its patient, whatever happened to the file."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorscope.classes import CLASSES
from tumorscope.datasets.locations import (
    DATA_VARIABLE,
    default_folder,
    find_data,
    find_set,
    find_splits,
)
from tumorscope.datasets.manifest import kaggle_manifest, match
from tumorscope.errors import DataError


def drawn(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(noise).resize((64, 64)).save(path)
    return path


def test_manifest_is_the_published_set() -> None:
    rows = kaggle_manifest()
    assert len(rows) == 7019
    assert all(row.file == file and row.label in CLASSES for file, row in rows.items())
    splits = Counter(row.official_split for row in rows.values())
    assert splits == {"train": 5708, "test": 1311}
    assert sum(bool(row.label_doubt) for row in rows.values()) == 24
    first = rows["Testing/glioma/Te-glTr_0000.jpg"]
    assert (first.figshare_index, first.patient, first.group) == (1979, "MR050791B", "MR050791")
    assert (first.mirrored, first.twin_cluster, first.fold) == (False, "392", 4)
    assert all(row.mirrored is None for row in rows.values() if row.figshare_index is None)


def test_no_group_stands_in_two_folds_and_no_twins_in_two_groups() -> None:
    folds: dict[str, int] = {}
    groups: dict[str, str] = {}
    for row in kaggle_manifest().values():
        assert folds.setdefault(row.group, row.fold) == row.fold
        if not row.label_doubt:
            assert groups.setdefault(row.twin_cluster, row.group) == row.group
    assert set(folds.values()) == {1, 2, 3, 4, 5}


def test_the_figures_in_the_documentation() -> None:
    rows = kaggle_manifest().values()
    tumours = [row for row in rows if row.label != "notumor"]
    shown = [row for row in rows if row.figshare_index is not None]
    assert (len(tumours), len(shown), len(tumours) - len(shown)) == (5023, 4750, 273)
    assert len({row.figshare_index for row in shown if row.mirrored}) == 3064
    assert len({row.figshare_index for row in shown if not row.mirrored}) == 1665
    slices = Counter(label for label, _ in {(row.label, row.twin_cluster) for row in rows})
    assert slices == {"glioma": 1426, "meningioma": 832, "notumor": 304, "pituitary": 948}
    test = [row for row in rows if row.official_split == "test"]
    train = [row for row in rows if row.official_split == "train"]
    twins = {row.twin_cluster for row in train}
    assert sum(row.twin_cluster in twins for row in test) == 995
    patients = {row.patient for row in train if row.patient}
    known = [row for row in test if row.patient]
    assert len(known) == sum(row.patient in patients for row in known) == 788


def test_manifest_is_the_group_table_with_hashes(real_data: Path) -> None:
    with (real_data / "kaggle" / "groups.csv").open() as lines:
        table = list(csv.DictReader(lines))
    rows = kaggle_manifest()
    assert list(rows) == [fields["file"] for fields in table]
    for fields in table:
        row = rows[fields["file"]]
        assert row.label == fields["class"]
        assert (row.patient, row.group) == (fields["patient"], fields["group"])
        assert row.fold == int(fields["fold"])


def test_full_size_copies_in_other_spellings_match(real_data: Path, tmp_path: Path) -> None:
    files = list(kaggle_manifest())[::250]
    for number, file in enumerate(files):
        split, label, name = file.split("/")
        folder = (
            tmp_path / "archive" / split.upper() / ("no_tumor" if label == "notumor" else label)
        )
        folder.mkdir(parents=True, exist_ok=True)
        size = ((512, 512), (630, 512), (150, 198))[number % 3]
        with Image.open(real_data / "kaggle" / file) as picture:
            picture.convert("RGB").resize(size).save(folder / name.lower(), quality=70)
    result = match(tmp_path)
    assert sorted(row.file for _, row in result.matched) == sorted(files)
    assert all(path.is_file() for path, _ in result.matched)
    assert len(result.missing) == 7019 - len(files)
    assert result.unknown == result.different == ()


def test_strangers_are_told_apart(tmp_path: Path) -> None:
    root = tmp_path / "Brain set" / "v2"
    drawn(root / "Training" / "glioma" / "Tr-gl_0010.jpg")
    drawn(root / "Training" / "glioma" / "Tr-me_0010.jpg")
    drawn(root / "Training" / "notumor" / "Tr-no_1011.jpg")
    drawn(root / "Training" / "odd" / "deep" / "picture.png")
    drawn(root / "Training" / "glioma" / "._Tr-gl_0011.jpg")
    (root / "Training" / "glioma" / "notes.txt").write_text("not looked at")
    broken = drawn(root / "Testing" / "pituitary" / "Te-pi_0010.jpg")
    broken.write_text("no picture")
    steps: list[object] = []

    def watch(items, *, total, label):  # type: ignore[no-untyped-def]
        steps.append((total, label))
        yield from items

    result = match(tmp_path, progress=watch)
    assert result.root == root
    assert result.matched == ()
    assert result.different == ("Training/glioma/Tr-gl_0010.jpg",)
    assert result.unknown == (
        "Training/glioma/Tr-me_0010.jpg",
        "Training/notumor/Tr-no_1011.jpg",
        "Training/odd/deep/picture.png",
    )
    assert [item.name for item in result.unreadable] == ["Testing/pituitary/Te-pi_0010.jpg"]
    assert "not a JPEG" in result.unreadable[0].reason
    assert len(result.missing) == 7019 - 2
    assert steps == [(2, "checking")]


def test_the_folder_that_one_stands_in_is_matched_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn(tmp_path / "Training" / "glioma" / "Tr-gl_0010.jpg")
    drawn(tmp_path / "Testing" / "glioma" / "mine.jpg")
    monkeypatch.chdir(tmp_path)
    result = match(Path())
    assert result.different == ("Training/glioma/Tr-gl_0010.jpg",)
    assert result.unknown == ("Testing/glioma/mine.jpg",)


def test_a_folder_without_the_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder with both"):
        match(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        find_splits(tmp_path / "gone")
    for name in ("one", "two"):
        drawn(tmp_path / name / "Training" / "glioma" / "a.jpg")
        drawn(tmp_path / name / "Testing" / "glioma" / "a.jpg")
    with pytest.raises(DataError, match="one, two"):
        find_splits(tmp_path)


def test_data_is_found_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, given = tmp_path / "named", tmp_path / "given"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    with pytest.raises(DataError, match=r"--data DIR.*TUMORSCOPE_DATA.*tumorscope download"):
        find_data(None)
    if tmp_path in default_folder().parents:  # XDG_CACHE_HOME means nothing on other systems
        (default_folder() / "kaggle").mkdir(parents=True)
        assert find_data(None) == default_folder()
    monkeypatch.setenv(DATA_VARIABLE, str(named))
    with pytest.raises(DataError, match=f"named by {DATA_VARIABLE}"):
        find_data(None)
    named.mkdir()
    assert find_data(None) == named
    with pytest.raises(DataError, match="named by --data"):
        find_data(given)
    given.mkdir()
    assert find_data(given) == given


def test_sets_are_told_apart_inside_one_folder(tmp_path: Path) -> None:
    for name, healthy in (("kaggle", "notumor"), ("SARTAJ copy", "no_tumor")):
        drawn(tmp_path / name / "Training" / healthy / "a.jpg")
        drawn(tmp_path / name / "Testing" / healthy / "a.jpg")
    (tmp_path / "figshare").mkdir()
    (tmp_path / "figshare" / "index.csv").touch()
    assert find_set(tmp_path, "kaggle") == tmp_path / "kaggle"
    assert find_set(tmp_path / "kaggle", "kaggle") == tmp_path / "kaggle"
    assert find_set(tmp_path, "sartaj") == tmp_path / "SARTAJ copy"
    assert find_set(tmp_path, "figshare") == tmp_path / "figshare"
    with pytest.raises(DataError, match="no sartaj set"):
        find_set(tmp_path / "kaggle", "sartaj")
    with pytest.raises(DataError, match="tumorscope download figshare"):
        find_set(tmp_path / "kaggle", "figshare")
