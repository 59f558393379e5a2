"""Twins: what is found as the same slice, what is not, and how sets of twins are numbered."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from tumorscope.images import read_slice
from tumorscope.near_duplicates.detection import (
    NearDuplicate,
    describe,
    find_near_duplicates,
    near_duplicate_clusters,
)
from tumorscope.near_duplicates.registration import correlation, lay_over, still, warp
from tumorscope.parallel import map_ordered
from tumorscope.phantoms.drawing import draw_phantom

Grey = NDArray[np.uint8]

PATIENTS = 9


def head(seed: int, *, size: int = 160) -> Grey:
    plane = ("axial", "coronal", "sagittal")[seed % 3]
    return draw_phantom(
        "glioma", plane=plane, patient_seed=seed, slice_number=2, size=size
    ).image.copy()


@pytest.fixture(scope="module")
def heads() -> list[Grey]:
    return [head(seed) for seed in range(PATIENTS)]


def saved_again(grey: Grey) -> Grey:
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "JPEG", quality=40)
    return np.asarray(Image.open(stream))


def squashed(grey: Grey) -> Grey:
    height, width = grey.shape
    return np.asarray(Image.fromarray(grey).resize((width * 3 // 4, height * 5 // 4)))


def padded(grey: Grey) -> Grey:
    return np.pad(grey, ((10, 50), (40, 5)))


def bent(grey: Grey, gamma: float) -> Grey:
    return np.rint(255 * (grey / 255) ** gamma).astype(np.uint8)


COPIES = [
    pytest.param(lambda grey: grey.copy(), "exact", id="exact"),
    pytest.param(saved_again, "near", id="jpeg"),
    pytest.param(squashed, "near", id="squashed"),
    pytest.param(padded, "near", id="padded"),
    pytest.param(np.fliplr, "mirrored", id="mirrored"),
    pytest.param(lambda grey: saved_again(np.fliplr(squashed(grey))), "mirrored", id="all-three"),
    pytest.param(np.flipud, "flipped", id="flipped"),
    pytest.param(lambda grey: np.rot90(grey, 2), "flipped", id="half-turn"),
    pytest.param(np.rot90, "turned", id="quarter-turn"),
    pytest.param(np.transpose, "turned", id="quarter-turn-mirrored"),
    pytest.param(lambda grey: bent(grey, 0.6), "contrast", id="gamma-0.6"),
    pytest.param(lambda grey: bent(grey, 1.7), "contrast", id="gamma-1.7"),
    pytest.param(lambda grey: (grey // 2 + 30).astype(np.uint8), "contrast", id="less-contrast"),
]


@pytest.mark.parametrize(("alter", "kind"), COPIES)
def test_each_copy_finds_its_slice_and_no_other(
    heads: list[Grey], alter: Callable[[Grey], Grey], kind: str
) -> None:
    copies = [np.ascontiguousarray(alter(grey)) for grey in heads]
    pairs = find_near_duplicates([describe(grey) for grey in [*heads, *copies]])
    assert [(pair.first, pair.second) for pair in pairs] == [
        (place, place + PATIENTS) for place in range(PATIENTS)
    ]
    assert {pair.kind for pair in pairs} == {kind}
    assert all(0.8 < pair.similarity <= 1 for pair in pairs)


@pytest.mark.parametrize("degrees", [5, -5])
def test_nearly_all_copies_turned_by_some_degrees_are_found(
    heads: list[Grey], degrees: float
) -> None:
    copies = [
        np.asarray(Image.fromarray(grey).rotate(degrees, Image.Resampling.BILINEAR))
        for grey in heads
    ]
    pairs = find_near_duplicates([describe(grey) for grey in [*heads, *copies]])
    assert {pair.kind for pair in pairs} <= {"near", "contrast", "turned"}
    assert len(pairs) >= PATIENTS - 1
    assert all(pair.second == pair.first + PATIENTS for pair in pairs)


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_copies_whose_lower_edge_was_cut_off_are_found(heads: list[Grey], share: float) -> None:
    copies = [grey[: round(len(grey) * (1 - share))] for grey in heads]
    pairs = find_near_duplicates([describe(grey) for grey in [*heads, *copies]])
    assert [(pair.first, pair.second) for pair in pairs] == [
        (place, place + PATIENTS) for place in range(PATIENTS)
    ]


def test_every_pair_within_a_set_of_copies_is_there(heads: list[Grey]) -> None:
    mirror = np.ascontiguousarray(np.fliplr(heads[0]))
    described = [describe(grey) for grey in (mirror, heads[0], heads[1], heads[0], mirror)]
    found = {(pair.first, pair.second): pair.kind for pair in find_near_duplicates(described)}
    assert found == {
        (0, 1): "mirrored",
        (0, 3): "mirrored",
        (0, 4): "exact",
        (1, 3): "exact",
        (1, 4): "mirrored",
        (3, 4): "mirrored",
    }


def test_flat_pictures_are_like_nothing(heads: list[Grey]) -> None:
    flat = [np.full((64, 64), level, dtype=np.uint8) for level in (0, 90, 90, 255)]
    described = [describe(grey) for grey in [*flat, heads[0]]]
    assert [descriptor.is_flat for descriptor in described] == [True] * 4 + [False]
    assert find_near_duplicates(described) == []


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_to_compare(heads: list[Grey], count: int) -> None:
    assert find_near_duplicates([describe(grey) for grey in heads[:count]]) == []


def test_the_order_does_not_matter(heads: list[Grey]) -> None:
    described = [describe(grey) for grey in (heads[0], heads[1], squashed(heads[0]))]
    forth, back = find_near_duplicates(described), find_near_duplicates(described[::-1])
    assert [(2 - pair.second, 2 - pair.first, pair.kind) for pair in back] == [
        (pair.first, pair.second, pair.kind) for pair in forth
    ]


def test_progress_is_told_of_every_view(heads: list[Grey]) -> None:
    told: list[tuple[str, int]] = []

    def listen(items, *, total, label):  # type: ignore[no-untyped-def]
        told.append((label, total))
        return items

    find_near_duplicates([describe(grey) for grey in heads[:2]], progress=listen)
    assert told == [("comparing", 1)] * 4


def test_a_colour_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="two-dimensional"):
        describe(np.zeros((40, 40, 3), dtype=np.uint8))


@given(st.integers(1, 12), st.data())
def test_clusters_are_what_pairs_join(count: int, data: st.DataObject) -> None:
    places = st.integers(0, count - 1)
    drawn = data.draw(st.lists(st.tuples(places, places), max_size=15))
    pairs = [NearDuplicate(min(one), max(one), "near", 1.0) for one in drawn]
    clusters = near_duplicate_clusters(count, pairs)
    # By hand: let every name spread along the pairs until nothing changes.
    names = list(range(count))
    for _ in range(count):
        for pair in pairs:
            names[pair.first] = names[pair.second] = min(names[pair.first], names[pair.second])
    assert [names.index(name) for name in names] == [
        clusters.tolist().index(cluster) for cluster in clusters
    ]
    assert list(dict.fromkeys(clusters.tolist())) == list(range(len(set(names))))


@given(
    st.tuples(*[st.floats(-0.08, 0.08)] * 4),
    st.tuples(*[st.floats(-0.08, 0.08)] * 2),
    st.integers(0, 5),
)
def test_overlay_finds_shift_and_scale_and_turn(
    moves: tuple[float, ...], shears: tuple[float, float], seed: int
) -> None:
    noise = np.random.default_rng(seed).normal(size=(48, 48))
    moving = gaussian_filter(noise, 3).astype(np.float32)[None] * 10
    down, taller, right, wider = moves
    for true, turning in (
        ((down, taller, 0, right, wider, 0), False),
        ((down, taller, shears[0], right, wider, shears[1]), True),
    ):
        fixed = warp(moving, np.array([true], dtype=np.float32))
        found = lay_over(fixed, moving, still(1), steps=12, turning=turning)
        assert correlation(fixed, warp(moving, found))[0] > 0.97


def test_a_picture_is_moved_alike_with_and_without_a_turn() -> None:
    picture = np.random.default_rng(0).normal(size=(1, 32, 32)).astype(np.float32)
    straight = np.array([[0.06, -0.04, 0, -0.1, 0.08, 0]], dtype=np.float32)
    hardly_turned = straight + np.array([0, 0, 1e-6, 0, 0, 0], dtype=np.float32)
    assert np.allclose(warp(picture, straight), warp(picture, hardly_turned), atol=1e-3)


def test_correlation_of_a_flat_picture_is_nothing() -> None:
    flat, other = np.ones((1, 32, 32), np.float32), np.eye(32, dtype=np.float32)[None]
    assert correlation(flat, other)[0] == 0
    assert correlation(other, other)[0] == pytest.approx(1)


def test_after_an_error_nothing_more_is_begun() -> None:
    begun: list[int] = []

    def fail_at_once(number: int) -> int:
        begun.append(number)
        raise ValueError(str(number))

    answers = map_ordered(fail_at_once, range(10_000))
    with pytest.raises(ValueError, match="0"):
        list(answers)
    assert len(begun) < 10_000


def test_real_twins_are_found_and_patients_kept_apart(real_data: Path) -> None:
    with (real_data / "kaggle" / "groups.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["figshare_index"]]
    by_slice = defaultdict(list)
    for row in rows:
        by_slice[row["figshare_index"]].append(row)
    chosen = [row for same in list(by_slice.values())[:600:3] for row in same]
    descriptors = [describe(read_slice(real_data / "kaggle" / row["file"])) for row in chosen]
    found = {(pair.first, pair.second): pair for pair in find_near_duplicates(descriptors)}
    expected = {
        (one, other)
        for one, other in combinations(range(len(chosen)), 2)
        if chosen[one]["figshare_index"] == chosen[other]["figshare_index"]
    }
    assert len(expected) > 50
    assert expected <= set(found)
    assert all(chosen[one]["group"] == chosen[other]["group"] for one, other in found)
    for one, other in expected:
        mirrored = chosen[one]["mirrored"] != chosen[other]["mirrored"]
        assert (found[one, other].kind == "mirrored") == mirrored
