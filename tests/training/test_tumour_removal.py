"""Painted-out tumours are gone, and paint alone says nothing."""

import torch
from torch import Tensor

from tumorscope.training.tumour_removal import paint_out

NO_TUMOUR = 2


def heads(count: int, *, column: int = 14) -> Tensor:
    """Even heads with a bright tumour on the left, and its outline."""
    pictures = torch.zeros(count, 2, 64, 64)
    pictures[:, 0, 4:60, 4:60] = 100.0
    pictures[:, 0, 24:32, column : column + 8] = 220.0
    pictures[:, 1, 24:32, column : column + 8] = 255.0
    return pictures


def test_a_painted_slice_has_neither_tumour_nor_outline_nor_its_label() -> None:
    torch.manual_seed(0)
    before, labels = heads(60), torch.zeros(60, dtype=torch.long)
    known = torch.arange(60) < 40
    after, told = paint_out(before, labels, known=known, share=1.0, no_tumour=NO_TUMOUR)
    healed = told == NO_TUMOUR
    assert 20 < int(healed.sum()) < 37
    assert not healed[~known].any()
    assert not after[healed, 1].any()
    assert after[healed, 0, 24:32, 14:22].max() < 105
    assert torch.equal(after[~known], before[~known])
    # The others keep their tumour; controls are painted elsewhere.
    assert torch.equal(after[~healed, 1], before[~healed, 1])
    assert torch.equal(after[~healed, 0, 24:32, 14:22], before[~healed, 0, 24:32, 14:22])
    assert torch.equal(labels, torch.zeros(60, dtype=torch.long))


def test_a_tumour_across_the_midline_stays() -> None:
    torch.manual_seed(0)
    before, labels = heads(30, column=28), torch.ones(30, dtype=torch.long)
    after, told = paint_out(
        before, labels, known=torch.ones(30, dtype=torch.bool), share=1.0, no_tumour=NO_TUMOUR
    )
    assert torch.equal(told, labels)
    assert torch.equal(after[:, 1], before[:, 1])


def test_slices_without_a_tumour_are_painted_too_and_stay_without_one() -> None:
    torch.manual_seed(0)
    before, labels = heads(40), torch.zeros(40, dtype=torch.long)
    before[20:, 0, 24:32, 14:22] = 100.0
    before[20:, 1] = 0.0
    before[20:, 0] += torch.arange(64.0)  # brighter to the right
    labels[20:] = NO_TUMOUR
    after, told = paint_out(
        before, labels, known=torch.ones(40, dtype=torch.bool), share=1.0, no_tumour=NO_TUMOUR
    )
    assert torch.all(told[20:] == NO_TUMOUR)
    changed = (after[20:, 0] != before[20:, 0]).flatten(1).any(dim=1)
    assert 3 < int(changed.sum()) < 20
