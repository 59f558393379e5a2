"""Which slices belong together and in which order, from what their files say."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorscope.images.slice_header import SliceHeader
from tumorscope.series.grouping import group_series

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def header(number: int, **facts: object) -> SliceHeader:
    """A slice of an axial series, 5 mm above the one before it."""
    usual: dict[str, object] = {
        "file": f"a/{number}.dcm",
        "study": "1",
        "series": "1.7",
        "position": (0.0, 0.0, 5.0 * number),
        "orientation": AXIAL,
        "instance": number + 1,
        "digest": f"d{number}",
    }
    return SliceHeader(**{**usual, **facts})  # type: ignore[arg-type]


def stacks(headers: list[SliceHeader]) -> list[list[list[str]]]:
    """The pixels of each stack of each series, in order."""
    return [
        [[headers[number].digest for number in stack.slices] for stack in series.stacks]
        for series in group_series(headers)
    ]


def names(*numbers: int) -> list[str]:
    return [f"d{number}" for number in numbers]


def test_series_are_told_apart_by_what_the_files_say() -> None:
    nameless = {"study": "", "series": "", "position": None, "orientation": None}
    headers = [
        header(0),
        header(1, series="1.8"),
        header(2, study="2"),
        header(3, **nameless, numbers=("anna", "s1", "7")),
        header(4, **nameless, numbers=("anna", "s1", "8")),
        header(5, **nameless, numbers=("bert", "s1", "7")),
        header(6, **nameless, file="x/1.png"),
        header(7, **nameless, file="y/1.png"),
        header(8, file="v.nii", is_volume=True),
        header(9, file="v.nii", is_volume=True, upload=2),
        header(10, file="elsewhere/0.dcm"),
        header(11, **nameless, numbers=("anna", "s1", "7"), file="elsewhere/1.dcm"),
    ]
    found = [[name for stack in series for name in stack] for series in stacks(headers)]
    assert found == [
        names(0, 10), *[names(n) for n in (1, 2)], names(3, 11), *[names(n) for n in range(4, 10)],
    ]  # fmt: skip
    assert [series.name for series in group_series(headers)][:5] == [
        "1.7", "1.8", "1.7", "series 7", "series 8",
    ]  # fmt: skip


def test_order_is_along_the_normal_else_by_instance_else_by_name() -> None:
    upwards = [header(n, instance=9 - n) for n in (2, 0, 3, 1)]
    assert stacks(upwards) == [[names(0, 1, 2, 3)]]
    missing = [header(n, position=None if n == 2 else (0.0, 0.0, -5.0 * n)) for n in (2, 0, 3, 1)]
    assert stacks(missing) == [[names(0, 1, 2, 3)]]
    names_only = [
        header(n, position=None, instance=None, file=f"{folder}/IM{n}.dcm")
        for folder, n in (("b", 2), ("a", 10), ("b", 1))
    ]
    assert stacks(names_only) == [[names(1, 2, 10)]]
    assert stacks([header(n, instance=1, position=None) for n in (10, 9)]) == [[names(9, 10)]]


def test_positions_that_are_all_the_same_say_nothing() -> None:
    assert stacks([header(n, position=(0.0, 0.0, 0.0)) for n in (2, 0, 1)]) == [[names(0, 1, 2)]]


def test_positions_without_an_orientation_and_turned_slices_are_ordered() -> None:
    assert stacks([header(n, orientation=None, instance=1) for n in (1, 0)]) == [[names(0, 1)]]
    turned = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    headers = [header(n, orientation=turned if n == 1 else AXIAL) for n in (2, 1, 0)]
    assert stacks(headers) == [[names(0, 1, 2)]]


def test_planes_of_a_localiser_are_stacks_of_their_own() -> None:
    planes = {"axial": AXIAL, "coronal": CORONAL, "sagittal": SAGITTAL}
    headers = [
        header(3 * n + k, orientation=plane, position=(5.0 * n, 5.0 * n, 5.0 * n))
        for k, plane in enumerate(planes.values())
        for n in (1, 0, 2)
    ]
    (series,) = group_series(headers)
    found = {stack.title: [headers[n].digest for n in stack.slices] for stack in series.stacks}
    assert found == {name: names(k, 3 + k, 6 + k) for k, name in enumerate(planes)}


def test_slices_halfway_between_two_planes_are_one_stack() -> None:
    half = 0.5**0.5
    headers = [
        header(
            number,
            orientation=(half, half + (-1) ** number * 1e-6, 0.0, 0.0, 0.0, -1.0),
            position=(5 * number * half, -5 * number * half, 0.0),
        )
        for number in range(6)
    ]
    (found,) = stacks(headers)
    assert found in ([names(*range(6))], [names(*reversed(range(6)))])


@pytest.mark.parametrize(
    "name", ["temporal position", "echo", "b-value", "image type", "acquisition", "contrast agent"]
)
def test_images_at_one_place_are_volumes(name: str) -> None:
    headers = [
        header(10 * volume + n, position=(0.0, 0.0, 5.0 * n), attributes=((name, f"{volume}"),))
        for n in (3, 1, 0, 2)
        for volume in (2, 0, 1)
    ]
    (series,) = group_series(headers)
    found = {stack.title: [headers[n].digest for n in stack.slices] for stack in series.stacks}
    assert found == {
        f"{name} {volume}": names(*(10 * volume + n for n in range(4))) for volume in range(3)
    }


def test_directions_of_one_b_value_are_told_apart_below_it() -> None:
    headers = [
        header(
            10 * volume + n,
            position=(0.0, 0.0, 5.0 * n),
            attributes=(("b-value", b_value), ("diffusion direction", direction)),
        )
        for n in range(3)
        for volume, (b_value, direction) in enumerate([("0", ""), ("1000", "x"), ("1000", "y")])
    ]
    (series,) = group_series(headers)
    assert [stack.title for stack in series.stacks] == [
        "b-value 0",
        "b-value 1000, diffusion direction x",
        "b-value 1000, diffusion direction y",
    ]


def test_what_nothing_tells_apart_is_counted_off_by_instance() -> None:
    headers = [header(10 * k + n, position=(0.0, 0.0, 5.0 * n)) for k in (1, 0) for n in (2, 0, 1)]
    assert stacks(headers) == [[names(0, 1, 2), names(10, 11, 12)]]


def test_a_slice_taken_again_leaves_an_interleaved_stack_whole() -> None:
    odd_even = [header(n, attributes=(("acquisition", str(n % 2 + 1)),)) for n in range(6)]
    again = header(99, position=(0.0, 0.0, 10.0), attributes=(("acquisition", "3"),))
    assert stacks([again, *odd_even]) == [[names(0, 1, 2, 3, 4, 5), names(99)]]


def test_volumes_whose_places_are_unknown() -> None:
    headers = [
        header(4 * time + n, position=None, attributes=(("temporal position", str(time)),))
        for n in range(4)
        for time in range(2)
    ]
    assert stacks(headers) == [[names(0, 1, 2, 3), names(4, 5, 6, 7)]]


def test_copies_are_left_out_and_counted() -> None:
    headers = [header(n) for n in range(3)]
    copied = [replace(item, file=f"copies/x{item.file[2:]}") for item in headers[1:]]
    (series,) = group_series([*copied, *headers])
    assert len(series.slices) == 3
    assert len(series.copies) == 2
    pictures = [SliceHeader(file=f"a/{name}", digest=name[0]) for name in ("1.png", "1 (2).png")]
    (series,) = group_series(pictures)
    assert (len(series.slices), len(series.copies)) == (1, 1)


def test_blank_slices_of_a_volume_are_no_copies() -> None:
    headers = [header(n, is_volume=True, file="v.nii", frame=n, digest="0") for n in range(4)]
    (series,) = group_series(headers)
    assert (series.slices, series.copies) == ((0, 1, 2, 3), ())


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 3),
    st.sampled_from(["position", "instance"]),
    st.integers(0, 8),
    st.randoms(use_true_random=False),
)
def test_neither_order_nor_folders_nor_copies_change_anything(
    count: int, volumes: int, known: str, copies: int, chance: random.Random
) -> None:
    """Two series, in any order, over any folders, under any names, with any copies."""
    whole = [
        header(
            100 * series + 10 * volume + n,
            series=f"1.{series}",
            position=(0.0, 0.0, 5.0 * n) if known == "position" else None,
            attributes=(("echo", str(volume)),),
        )
        for series in range(2)
        for volume in range(volumes)
        for n in range(count)
    ]
    shuffled = [*whole, *chance.choices(whole, k=copies)]
    chance.shuffle(shuffled)
    moved = [replace(item, file=f"{chance.choice('abc')}/{chance.random()}") for item in shuffled]
    assert sorted(stacks(moved)) == sorted(stacks(whole))
    assert sum(len(series.copies) for series in group_series(moved)) == copies
