"""Tests of the batches: what an epoch shows, to which process, in which order."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorscope.training.batches import Batches, EpochSampler, Part
from tumorscope.training.recipe import Sampling, TrainingRecipe


def batches(
    count: int,
    size: int,
    *,
    rank: int = 0,
    processes: int = 1,
    epoch: int = 0,
    copies: int = 0,
    sampling: Sampling = "unique",
    weighted: bool = False,
    **recipe: float,
) -> list[list[int]]:
    """The numbers of the slices that each batch holds, as one of several processes sees them.

    With copies so many neighbours show one slice, and an epoch as many as `sampling` says. The
    second half of the slices is of an added set. Twenty neighbours are of one patient.
    """
    numbers = torch.arange(count)
    clusters = numbers // copies if copies else numbers
    grey = torch.zeros(count, 1, 2, 2, dtype=torch.uint8)
    part = Part(grey, numbers, clusters, numbers // 20, numbers >= count // 2)
    part.weights = numbers.double() if weighted else None
    training = TrainingRecipe(sampling=sampling if copies else "slices", **recipe)
    sampler = EpochSampler(part, training, rank=rank, processes=processes)
    sampler.set_epoch(epoch)
    found = Batches(part, size, sampler)
    assert len(found) == len(list(found))
    return [batch.labels.tolist() for batch in found]


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 60), size=st.integers(2, 16), processes=st.integers(1, 4))
def test_an_epoch_shows_each_slice_once_to_one_process(
    count: int, size: int, processes: int
) -> None:
    seen = [
        batches(count, size, rank=rank, processes=processes, epoch=0) for rank in range(processes)
    ]
    assert len({len(each) for each in seen}) == 1
    numbers = [number for each in seen for batch in each for number in batch]
    assert len(numbers) == len(set(numbers))
    if count >= size * processes:
        assert {len(batch) for each in seen for batch in each} == {size}
        assert count - len(numbers) < size * processes


def test_each_epoch_has_its_own_order() -> None:
    first, second = (batches(40, 8, rank=0, processes=1, epoch=epoch) for epoch in (0, 1))
    assert first != second
    assert first == batches(40, 8, rank=0, processes=1, epoch=0)


def test_an_epoch_of_unique_slices_shows_one_copy_of_each_set_and_not_always_the_same() -> None:
    epochs = [batches(40, 4, rank=0, processes=1, epoch=epoch, copies=4) for epoch in range(12)]
    shown = [[number for batch in each for number in batch] for each in epochs]
    assert all(len({number // 4 for number in each}) == len(each) == 8 for each in shown)
    assert {number for each in shown for number in each} > set(range(10))


@pytest.mark.parametrize(("copies", "shown"), [(2, 1), (4, 2), (8, 2), (10, 3)])
def test_an_epoch_may_show_the_square_root_of_each_set_of_copies(copies: int, shown: int) -> None:
    numbers = [n for each in batches(80, 1, copies=copies, sampling="root") for n in each]
    assert len(set(numbers)) == len(numbers)
    sets = Counter(number // copies for number in numbers)
    assert len(sets) == 80 // copies
    assert set(sets.values()) == {shown}


@pytest.mark.parametrize("copies", [0, 4])
def test_an_epoch_shows_a_share_of_the_added_sets_and_not_always_the_same(copies: int) -> None:
    epochs = [
        [n for each in batches(80, 13, epoch=epoch, copies=copies, added_share=0.3) for n in each]
        for epoch in range(12)
    ]
    usual = 40 // max(1, copies)
    for shown in epochs:
        assert sum(number < 40 for number in shown) == usual
        assert sum(number >= 40 for number in shown) == 0.3 * usual
    assert len({number for shown in epochs for number in shown if number >= 40}) > 15


def test_slices_are_drawn_by_their_weights_anew_each_epoch() -> None:
    epochs = [
        [n for each in batches(40, 8, epoch=epoch, weighted=True, drawn=400) for n in each]
        for epoch in (0, 1, 1)
    ]
    assert [len(shown) for shown in epochs] == [400, 400, 400]
    assert epochs[0] != epochs[1] == epochs[2]
    # Weights grow with the numbers.
    assert 0 not in epochs[0]
    assert sum(epochs[0]) / 400 > 24
    assert sum(len(each) for each in batches(40, 8, weighted=True)) == 40


@pytest.mark.parametrize(("copies", "most"), [(0, 7), (4, 2), (4, 9)])
def test_an_epoch_shows_at_most_so_many_slices_of_a_patient(copies: int, most: int) -> None:
    epochs = [
        [n for each in batches(80, 1, epoch=epoch, copies=copies, per_patient=most) for n in each]
        for epoch in range(12)
    ]
    for shown in epochs:
        assert Counter(n // 20 for n in shown) == dict.fromkeys(
            range(4), min(most, 5 if copies else 20)
        )
        assert not copies or len({n // copies for n in shown}) == len(shown)
    assert len({n for shown in epochs for n in shown}) > 40


def test_a_part_without_a_sampler_is_shown_whole_in_its_order() -> None:
    numbers = torch.arange(10)
    part = Part(torch.zeros(10, 1, 2, 2), numbers, numbers, numbers, numbers > 10)
    found = [batch.labels.tolist() for batch in Batches(part, 4)]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(Batches(part, 4)) == 3
