"""Every file of a folder is listed: to be read, or as ignored with its kind."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tumorscope.images.listing import (
    IGNORED_FOLDERS,
    IGNORED_NAMES,
    IGNORED_SUFFIXES,
    is_litter,
    list_files,
    summarise,
    why_ignored,
)
from untraced import processor_seconds

LITTER = ["._scan.jpg", ".DS_Store", "Thumbs.db", "DESKTOP.INI", "__MACOSX/scan.jpg", "Icon\r"]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names(folder: Path) -> list[str]:
    return [Path(path).relative_to(folder).as_posix() for path in list_files(folder).files]


@pytest.mark.parametrize("name", LITTER)
def test_litter_is_ignored_wherever_it_lies(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "a" / name)
    touch(tmp_path / "a" / "scan.jpg")
    assert names(tmp_path) == ["a/scan.jpg"]
    (ignored,) = list_files(tmp_path).ignored
    assert Path(ignored.path).name in (name, "__MACOSX")
    assert why_ignored(f"a/{name}") == ignored.kind
    assert is_litter(f"/anywhere/{name}")


def test_what_is_of_no_ignored_kind_is_to_be_read(tmp_path: Path) -> None:
    odd = ["IM0001", "scan.heic", "volume.mnc", "scan.jpg.part", "archive.7z", "thumbs.jpg"]
    for name in odd:
        touch(tmp_path / name)
        assert why_ignored(name) == ""
        assert not is_litter(name)
    assert sorted(names(tmp_path)) == sorted(odd)


def test_order_is_that_in_which_people_count(tmp_path: Path) -> None:
    for name in ("s10/1.png", "s2/10.png", "s2/9.png", "b.png", "A.png"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["A.png", "b.png", "s2/9.png", "s2/10.png", "s10/1.png"]


def test_documents_hidden_files_and_sockets_are_ignored(tmp_path: Path) -> None:
    for name in ("LICENSE", "notes.TXT", "bids.json", ".cache/scan.png", "DICOMDIR"):
        touch(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "socket.jpg"))
        listing = list_files(tmp_path)
    assert listing.files == ()
    assert summarise(listing.ignored) == (
        "ignored 6 files (3 text or document, 1 hidden file or folder, "
        "1 index of a DICOM medium, 1 pipe, socket or device)"
    )


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    scan = touch(tmp_path / "elsewhere" / "scan.png")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "linked").symlink_to(scan.parent)
    (folder / "again").symlink_to(scan.parent)
    (folder / "round").symlink_to(folder)
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert names(folder) == ["gone.png", "again/scan.png"]
    (folder / "itself.png").symlink_to("itself.png")
    assert names(folder) == ["gone.png", "itself.png", "again/scan.png"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert list_files(missing).files == (missing,)


PART = st.sampled_from(
    ["a", "b2", "b10", ".git", "x.png", "y.dcm", "IM1", "._IM1", "Thumbs.db", "z.txt", "__MACOSX"]
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=st.lists(st.lists(PART, min_size=1, max_size=4), max_size=12))
def test_files_and_ignored_are_all(
    tmp_path_factory: pytest.TempPathFactory, tree: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    for parts in tree:
        path = folder.joinpath(*parts)
        if not path.exists() and not any(parent.is_file() for parent in path.parents):
            touch(path)
    everything = {path for path in folder.rglob("*") if path.is_file()}
    listing = list_files(folder)
    ignored = [Path(item.path) for item in listing.ignored]
    inside = {path for path in everything if {path, *path.parents} & set(ignored)}
    assert len(set(listing.files)) == len(listing.files)
    assert {Path(path) for path in listing.files} | inside == everything
    assert not {Path(path) for path in listing.files} & inside
    for path in everything:
        assert bool(why_ignored(path.relative_to(folder).as_posix())) == (path in inside)


def test_twenty_thousand_files_are_listed_at_once(tmp_path: Path) -> None:
    for number in range(20_000):
        os.close(os.open(tmp_path / f"{number}.jpg", os.O_CREAT))
    assert len(list_files(tmp_path).files) == 20_000
    assert processor_seconds(lambda: list_files(tmp_path)) < 0.5


def test_keys_are_in_small_letters() -> None:
    for kinds in (IGNORED_FOLDERS, IGNORED_NAMES, IGNORED_SUFFIXES):
        assert all(key == key.lower() for key in kinds)
