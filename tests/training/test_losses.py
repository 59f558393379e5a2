"""Tests of the losses."""

import pytest
import torch

from tumorscope.training.losses import any_tumour_loss, outline_loss


def test_the_outline_loss_wants_the_outline_and_leaves_out_what_is_not_known() -> None:
    outlines = torch.zeros(3, 1, 16, 16)
    outlines[0, :, 4:8, 8:12] = 1
    right = torch.full((3, 1, 4, 4), -20.0)
    right[0, 0, 1, 2] = 20.0
    everywhere = torch.full((3, 1, 4, 4), 20.0)
    known = torch.tensor([True, True, False])
    assert outline_loss(right, outlines, known) < 1e-3
    assert outline_loss(everywhere, outlines, known) > 5
    wrong = right.clone()
    wrong[2] = 20.0
    assert outline_loss(wrong, outlines, known) == outline_loss(right, outlines, known)
    assert outline_loss(wrong, outlines, torch.zeros(3, dtype=torch.bool)) == 0


def test_the_loss_of_any_tumour_is_that_of_not_no_tumour() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5, -1.0], [0.0, 0.0, 9.0, 0.0]])
    expected = -(1 - logits.softmax(dim=1)[:, 2]).log().sum()
    torch.testing.assert_close(any_tumour_loss(logits, 2), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_outline_loss_is_cross_entropy_and_the_dice_loss_of_monai(seed: int) -> None:
    losses = pytest.importorskip("monai.losses")
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(4, 1, 8, 8, generator=random)
    outlines = torch.zeros(4, 1, 8, 8)
    outlines[:, :, 2:5, 3 : 5 + seed] = 1
    dice = losses.DiceLoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)(drawn, outlines)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(drawn, outlines)
    found = outline_loss(drawn, outlines, torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(found, entropy + dice)
