"""Loss functions."""

import torch
from torch import Tensor, nn


def outline_loss(drawn: Tensor, outlines: Tensor, known: Tensor) -> Tensor:
    """Return how far a tumour map is from the outlines: cross entropy and, of tumours, Dice.

    The sum of the two (Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z) learns
    small outlines, too.

    Args:
        drawn: The map's logits, shape `[N, 1, h, w]`.
        outlines: Tumours, 0 to 1, shape `[N, 1, H, W]`; H and W are multiples of h and w.
        known: Which outlines are true, bool, shape `[N]`; the others do not count.

    Returns:
        The mean loss over the known outlines; 0 where there is none.
    """
    outlines = nn.functional.adaptive_avg_pool2d(outlines, (drawn.shape[-2], drawn.shape[-1]))
    entropy = nn.functional.binary_cross_entropy_with_logits(drawn, outlines, reduction="none")
    shown = drawn.sigmoid()
    common = 2.0 * (shown * outlines).sum(dim=(1, 2, 3))
    both = (shown + outlines).sum(dim=(1, 2, 3))
    dice = 1.0 - (common + 1.0) / (both + 1.0)
    has_tumour = outlines.amax(dim=(1, 2, 3)) > 0.5
    each = entropy.mean(dim=(1, 2, 3)) + torch.where(has_tumour, dice, 0.0)
    weights = known.to(each.dtype)
    return (each * weights).sum() / weights.sum().clamp(min=1.0)


def any_tumour_loss(logits: Tensor, no_tumour: int) -> Tensor:
    """Return how improbable the network holds any tumour, of slices with one of unknown kind.

    Args:
        logits: Shape `[N, classes]`.
        no_tumour: Number of the class that means no tumour.

    Returns:
        `-log(1 - p(no tumour))`, the sum over the slices.
    """
    tumours = torch.cat([logits[:, :no_tumour], logits[:, no_tumour + 1 :]], dim=1)
    return (logits.logsumexp(dim=1) - tumours.logsumexp(dim=1)).sum()
