"""What a series lacks is told by instance numbers and places, and nothing is made up."""

import pytest

from tumorscope.images.slice_header import SliceHeader
from tumorscope.series.completeness import missing_slices


def headers(numbers: list[int], heights: list[float] | None = None) -> list[SliceHeader]:
    return [
        SliceHeader(
            file=f"{at}.dcm",
            series="1.2",
            instance=number,
            position=None if heights is None else (0.0, 0.0, heights[at]),
            orientation=None if heights is None else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        )
        for at, number in enumerate(numbers)
    ]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([1, 2, 3, 4], ""),
        ([0, 1, 2], ""),
        ([4, 2, 3, 1], ""),
        ([1, 1, 2, 2], ""),
        ([2, 4, 6, 8], ""),  # (Echoes that were numbered in turn and are series of their own.)
        ([101, 102, 103], ""),
        ([7], ""),
        ([1, 4], "instance numbers 2 to 3 are missing"),
        ([1, 2, 4], "instance number 3 is missing"),
        ([1, 2, 5, 9], "instance numbers 3 to 4, 6 to 8 are missing"),
        ([3, 4, 5], "instance numbers 1 to 2 are missing"),
    ],
)
def test_instance_numbers(numbers: list[int], words: str) -> None:
    assert missing_slices(headers(numbers)) == words


@pytest.mark.parametrize(
    ("heights", "empty"),
    [
        ([0.0, 5.0, 10.0, 15.0, 20.0], ""),
        ([0.0, 5.0, 10.0, 25.0, 30.0], "2 places are"),
        ([0.0, 5.0, 15.0, 20.0, 25.0], "a place is"),
        ([0.0, 5.1, 9.9, 15.0, 20.1], ""),
        ([0.0, 5.0, 10.0, 15.0, 22.0], ""),  # (No multiple of the spacing: so it was planned.)
        ([0.0, 30.0, 90.0], ""),  # (A scout.)
    ],
)
def test_places(heights: list[float], empty: str) -> None:
    said = missing_slices(headers(list(range(1, len(heights) + 1)), heights))
    assert said == (f"between the others {empty} empty" if empty else "")


def test_each_volume_has_its_own_places() -> None:
    heights = [0.0, 0.0, 5.0, 5.0, 10.0, 10.0, 15.0, 15.0]
    assert missing_slices(headers(list(range(1, 9)), heights)) == ""


def test_frames_of_a_file_have_one_number() -> None:
    frames = [SliceHeader(file="a", instance=9, frame=number) for number in range(4)]
    assert missing_slices(frames) == ""
