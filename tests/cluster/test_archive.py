"""The listing of an archive: every file once, in blocks, whatever names it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorscope.cluster.archive import list_blocks
from tumorscope.cluster.storage import Location
from tumorscope.errors import DataError
from tumorscope.images.listing import list_files


def listed(*sources: "str | Path", largest: int = 1000, series: bool = False) -> list[list[str]]:
    blocks = list_blocks(
        [str(source) for source in sources],
        largest=largest,
        whole_folders=series,
        not_in=Location.of("/nowhere"),
        ignored=Counter(),
    )
    return [[str(place) for place in block] for block in blocks]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("10.png", "2.png", "a/1.dcm", "a/2.dcm", "a/3.dcm", "b/c/1.dcm", "b/c/x.txt"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "tree"


def test_a_folder_is_listed_as_predict_lists_it(tree: Path) -> None:
    assert listed(tree) == [list(list_files(tree).files)]
    assert listed(tree, largest=4) == [
        list(list_files(tree).files)[:4],
        list(list_files(tree).files)[4:],
    ]


def test_a_folder_is_not_cut_for_series(tree: Path) -> None:
    sizes = [len(block) for block in listed(tree, largest=1, series=True)]
    assert sizes == [2, 3, 1]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", {"2.png", "10.png"}),
        ("?.png", {"2.png"}),
        ("[!2]*.png", {"10.png"}),
        ("**/*.dcm", {"a/1.dcm", "a/2.dcm", "a/3.dcm", "b/c/1.dcm"}),
        ("*/[12].dcm", {"a/1.dcm", "a/2.dcm"}),
        ("**", {"2.png", "10.png", "a/1.dcm", "a/2.dcm", "a/3.dcm", "b/c/1.dcm"}),
    ],
)
def test_patterns_mean_what_they_mean_in_a_shell(tree: Path, pattern: str, found: set[str]) -> None:
    (block,) = listed(tree / pattern)
    assert sorted(block) == sorted(str(tree / name) for name in found)


def test_a_source_without_files_is_not_passed_over(tree: Path) -> None:
    """A pattern with a slip in it would cost a part of the archive unsaid."""
    pattern, empty = tree / "*.jpg", tree.parent / "empty"
    empty.mkdir()
    (found,) = listed(tree / "a", pattern, empty)
    assert found[3:] == [str(pattern), str(empty)]
    assert listed(pattern) == []


def test_a_pattern_that_is_none_or_lies_in_a_given_folder_is_refused(tree: Path) -> None:
    with pytest.raises(DataError, match="no pattern of names"):
        listed(tree / "[z-a].png")
    with pytest.raises(DataError, match=r"\*\.dcm: lies in .*, which is given, too"):
        listed(tree, tree / "a" / "*.dcm")


def test_lists_name_files_beside_them_and_elsewhere(tree: Path) -> None:
    (tree / "list.txt").write_text("2.png\r\n\n/elsewhere/a.png\ns3://bucket/b.png")
    expected = [str(tree / "2.png"), "/elsewhere/a.png", "s3://bucket/b.png"]
    assert listed(tree / "list.txt") == listed(f"@{tree}/list.txt") == [expected]
    (tree / "list.csv").write_text('slice,path\n0,"a/1.dcm"\n1,"x, y.png"\n')
    assert listed(tree / "list.csv") == [[str(tree / "a/1.dcm"), str(tree / "x, y.png")]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.txt", "\ufeffa/1.dcm\r\nx, y.png\r\n"),
        ("l.csv", '\ufeffpath,label\r\na/1.dcm,glioma\r\n"x, y.png",\r\n'),
        ("l.csv", "Label;File Name\nglioma;a/1.dcm\n;x, y.png\n"),
        ("l.csv", "sep=;\nimage;label\na/1.dcm;glioma\nx, y.png;\n"),
        ("l.csv", "filename\tlabel\na/1.dcm\tglioma\nx, y.png\t\n"),
        ("l.csv", 'a/1.dcm\n"x, y.png"\n'),
    ],
)
def test_lists_of_office_programs_are_read(tree: Path, name: str, content: str) -> None:
    (tree / name).write_text(content, encoding="utf-8")
    assert listed(tree / name) == [[str(tree / "a/1.dcm"), str(tree / "x, y.png")]]
    (tree / name).write_text("a;b.png\n")
    assert listed(tree / name) == [[str(tree / "a;b.png")]]


def test_series_refuse_a_list_in_which_folders_are_mixed(tree: Path) -> None:
    (tree / "list.txt").write_text("a/1.dcm\n2.png\na/2.dcm")
    with pytest.raises(DataError, match="do not stand together"):
        listed(tree / "list.txt", series=True)


def test_a_store_is_listed_as_a_disk_is(tree: Path, s3: Any) -> None:
    s3.create_bucket(Bucket="tree")
    for path in tree.rglob("*"):
        if path.is_file():
            s3.put_object(Bucket="tree", Key=f"x/{path.relative_to(tree)}", Body=b"1")
    here = [path.replace(str(tree), "s3://tree/x") for path in list_files(tree).files]
    assert listed("s3://tree/x") == [here]
    assert listed("s3://tree/x/**/1.dcm") == [["s3://tree/x/a/1.dcm", "s3://tree/x/b/c/1.dcm"]]


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 60))
def test_blocks_hold_each_file_once(files: int, largest: int) -> None:
    names = [f"/scans/{number}.dcm" for number in range(files)]
    blocks = listed(*names, largest=largest)
    assert [name for block in blocks for name in block] == names
    assert max(map(len, blocks)) <= largest
