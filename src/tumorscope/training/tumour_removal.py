"""Paints tumours out by the mirrored other side of the head: slices with contrast and no tumour."""

from typing import Final

import torch
from torch import Tensor, nn

_CONTROL: Final = 0.3
"""The share of painted tumour slices that are painted elsewhere and keep their tumour."""

_MARGIN: Final = 32
"""The border round an outline that is painted too is one part in so many of the side."""

_MOST_SHARED: Final = 0.05
"""A tumour across the midline, of which more than this lies on its own mirror image, stays."""

_FURTHEST: Final = 0.16
"""How far at most a patch is moved to another place, as a share of the side."""


def paint_out(
    pictures: Tensor, labels: Tensor, *, known: Tensor, share: float, no_tumour: int
) -> tuple[Tensor, Tensor]:
    """Replace the tumours of some slices by what is on the other side of the head.

    In most data sets every slice with contrast shows a tumour, so contrast becomes the sign of
    one. A painted slice has the same scanner, sequence and plane and is labelled "no tumour". So
    that the paint itself is no sign, patches of the same shapes are painted elsewhere on slices
    without a tumour and on some with one, whose labels stay.

    Args:
        pictures: Grey values and outlines, 0 to 255, float, shape `[N, 2, S, S]`, the head upright
            and in the middle.
        labels: Class numbers, shape `[N]`.
        known: Which outlines are true, bool, shape `[N]`; other slices stay as they are.
        share: The probability with which a slice is painted.
        no_tumour: The number of the class that means no tumour.

    Returns:
        The pictures and labels after painting.
    """
    pictures, labels = pictures.clone(), labels.clone()
    count, side = len(labels), pictures.shape[-1]
    chosen = known & (torch.rand(count, device=labels.device) < share)
    patches = (_mean(pictures[:, 1:] / 255.0, side // _MARGIN) > 0.02).float()
    for number in chosen.nonzero()[:, 0].tolist():
        tumour = patches[number : number + 1]
        if labels[number] == no_tumour or torch.rand(()) < _CONTROL:
            patch = _moved(patches[int(torch.randint(0, count, ()))][None])
            mirrored = patch.flip(3)
            if _overlap(patch, tumour) or _overlap(mirrored, tumour):
                continue
        else:
            patch = tumour
            mirrored = patch.flip(3)
        if _overlap(patch, mirrored) > _MOST_SHARED * patch.sum() or not patch.any():
            continue
        grey = pictures[number : number + 1, :1]
        soft = _mean(patch, side // (2 * _MARGIN))
        pictures[number, :1] = (grey * (1.0 - soft) + grey.flip(3) * soft)[0]
        if patch is tumour:
            pictures[number, 1] = 0.0
            labels[number] = no_tumour
    return pictures, labels


def _moved(patch: Tensor) -> Tensor:
    furthest = int(_FURTHEST * patch.shape[-1])
    down, across = torch.randint(-furthest, furthest + 1, (2,)).tolist()
    return patch.roll((down, across), (2, 3))


def _overlap(first: Tensor, second: Tensor) -> float:
    return float((first * second).sum())


def _mean(maps: Tensor, reach: int) -> Tensor:
    """Return the mean over squares that reach so far to each side."""
    return nn.functional.avg_pool2d(
        maps, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False
    )
