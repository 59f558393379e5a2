"""Twins are put in one group, and groups that were known are kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tumorscope.datasets.catalogue import Catalogue, Skipped, Slice
from tumorscope.datasets.groups import group_near_duplicates

Draw = Callable[..., Path]


@pytest.fixture
def three(tmp_path: Path, draw: Draw) -> dict[str, Slice]:
    """A slice, its mirrored copy, and another patient's."""
    drawn = {
        "a": draw(tmp_path / "a.png", 1),
        "mirror": draw(tmp_path / "mirror.png", 1, mirrored=True),
        "b": draw(tmp_path / "b.png", 2),
    }
    return {
        name: Slice(path=path, name=path.name, label="glioma", source="set")
        for name, path in drawn.items()
    }


def groups(*slices: Slice) -> list[tuple[str, str]]:
    return [(item.cluster, item.group) for item in group_near_duplicates(Catalogue(slices)).slices]


def test_new_groups_are_called_as_their_first_slice(three: dict[str, Slice]) -> None:
    assert groups(*three.values()) == [("set/a.png",) * 2, ("set/a.png",) * 2, ("set/b.png",) * 2]


def test_known_patients_are_kept_and_their_twins_join_them(three: dict[str, Slice]) -> None:
    known = replace(three["mirror"], group="P7", cluster="c1")
    assert groups(three["a"], known, three["b"]) == [
        ("c1", "P7"),
        ("c1", "P7"),
        ("set/b.png", "set/b.png"),
    ]


def test_patients_that_share_a_slice_become_one_group(three: dict[str, Slice]) -> None:
    first = replace(three["a"], group="P1")
    second = replace(three["mirror"], group="P2")
    third = replace(three["b"], group="P2")
    found = groups(first, second, third)
    assert len({group for _, group in found}) == 1
    assert found[0][0] == found[1][0] != found[2][0]


def test_black_slices_from_beyond_the_head_make_no_group(
    three: dict[str, Slice], tmp_path: Path
) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "black.png")
    black = [
        replace(three["a"], path=tmp_path / "black.png", name=f"{patient}.png", group=patient)
        for patient in ("P1", "P2")
    ]
    first, second = replace(three["a"], group="P1"), replace(three["b"], group="P2")
    found = groups(first, second, *black)
    assert [group for _, group in found] == ["P1", "P2", "P1", "P2"]


def test_a_group_and_a_cluster_of_the_same_number_have_nothing_in_common(
    three: dict[str, Slice],
) -> None:
    first = replace(three["a"], cluster="3", group="1")
    second = replace(three["b"], cluster="7", group="3")
    assert groups(first, second) == [("3", "1"), ("7", "3")]


def test_what_cannot_be_read_is_skipped_and_what_was_skipped_stays_so(
    three: dict[str, Slice],
) -> None:
    three["b"].path.write_bytes(three["b"].path.read_bytes()[:200])
    before = Skipped("gone.png", "no such file")
    found = group_near_duplicates(Catalogue(tuple(three.values()), (before,)))
    assert [item.name for item in found.slices] == ["a.png", "mirror.png"]
    assert found.skipped[0] == before
    assert found.skipped[1].name == "b.png"
    assert "damaged picture" in found.skipped[1].reason


def test_an_empty_catalogue_stays_empty() -> None:
    assert len(group_near_duplicates(Catalogue(()))) == 0


def test_the_order_of_the_slices_changes_no_name(three: dict[str, Slice]) -> None:
    named = replace(three["a"], group="P2"), replace(three["mirror"], group="P1"), three["b"]
    for slices in (tuple(three.values()), named):
        found = group_near_duplicates(Catalogue(slices)).slices
        again = group_near_duplicates(Catalogue(slices[::-1])).slices
        assert again == found[::-1]
