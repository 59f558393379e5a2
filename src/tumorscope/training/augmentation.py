"""Augments batches of inputs at random, on their own device."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from tumorscope.training.appearance import (
    bend_intensities,
    lower_resolution,
    remove_skull,
)

_FALLING: Final = 0.3
"""The share of random intensity curves that fall: what was bright becomes dark."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How strongly a batch is changed; every strength of 0 leaves that change out.

    Rotation, flip, shift and zoom are one affine change and one resampling for the whole batch.
    Each picture draws its own values.

    Attributes:
        rotation: Largest angle in degrees, to both sides.
        flip: Probability of a left-right mirror.
        shift: Largest shift to any side, as a share of the picture.
        zoom: Largest zoom in or out: 0.2 draws factors from 1/1.2 to 1.2.
        stretch: Largest change of the aspect ratio, drawn like `zoom`.
        rot90: Probability of a turn by 90, 180 or 270 degrees.
        contrast: Largest change of gain and of gamma, drawn like `zoom`.
        bias_field: Largest change of brightness from place to place, as a coil makes it: smooth,
            drawn like `zoom` at 16 places.
        blur: Largest share of a picture that is replaced by its blurred copy.
        noise: Largest standard deviation of Gaussian noise, as a share of the full range.
        strip: Probability that the skull is removed, of pictures whose tumour's place is known.
        curve: Probability of a random intensity curve, as another sequence might have it.
        coarse: Probability of a resolution lowered two or three times.
    """

    rotation: float = 0.0
    flip: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    stretch: float = 0.0
    rot90: float = 0.0
    contrast: float = 0.0
    bias_field: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    strip: float = 0.0
    curve: float = 0.0
    coarse: float = 0.0

    def __call__(
        self, pictures: Tensor, side: int | None = None, *, outlined: Tensor | None = None
    ) -> Tensor:
        """Change a batch.

        Args:
            pictures: Grey values 0 to 255, float, shape `[N, 1, S, S]`; with a second channel
                (outlines), that is moved with the first and not changed otherwise.
            side: Of the pictures that go out, at most their own; that when left out. Smaller ones
                stay as sharp as a resized picture, others are a little blurred by being moved.
            outlined: Whose outline is known to be true, bool, shape `[N]`; None: of none.

        Returns:
            The changed batch, same range and device.
        """
        side = side or pictures.shape[-1]
        if self.strip and outlined is not None:
            pictures = self._strip(pictures, outlined)
        moves = self.rotation or self.flip or self.shift or self.zoom or self.stretch or self.rot90
        if moves or side != pictures.shape[-1]:
            pictures = self._move(pictures, side)
        if pictures.shape[1] == 1:
            return self._change_values(pictures)
        return torch.cat([self._change_values(pictures[:, :1]), pictures[:, 1:]], dim=1)

    def _strip(self, pictures: Tensor, outlined: Tensor) -> Tensor:
        grey, outlines = pictures[:, :1], pictures[:, 1:]
        chosen = outlined & (torch.rand(len(grey), device=grey.device) < self.strip)
        stripped = grey.clone()
        stripped[chosen] = remove_skull(grey[chosen], outlines[chosen])
        return torch.cat([stripped, outlines], dim=1)

    def _change_values(self, grey: Tensor) -> Tensor:
        grey = _some(grey, self.curve, _bend)
        grey = _some(grey, self.coarse, lower_resolution)
        if self.blur:
            grey = self._soften(grey)
        if self.bias_field:
            grey = grey * self._bias_field(grey)
        if self.contrast:
            grey = self._change_contrast(grey)
        if self.noise:
            share = torch.rand(len(grey), 1, 1, 1, device=grey.device) * self.noise
            grey = grey + torch.randn_like(grey) * (255.0 * share)
        return grey.clamp(0.0, 255.0)

    def _move(self, grey: Tensor, side: int) -> Tensor:
        count, device = len(grey), grey.device
        # Of larger pictures each pixel is the mean of four places, so that little is passed over.
        finer = 2 if side < grey.shape[-1] else 1
        angle = _uniform(count, device, math.radians(self.rotation))
        if self.rot90:
            turned = torch.rand(count, device=device) < self.rot90
            quarters = torch.randint(1, 4, (count,), device=device)
            angle = angle + torch.where(turned, quarters, 0) * (math.pi / 2)
        zoom = _factor(count, device, self.zoom)
        stretch = _factor(count, device, self.stretch).sqrt()
        mirror = torch.where(torch.rand(count, device=device) < self.flip, -1.0, 1.0)
        # The matrix takes a place in the result to the place in the source it is read from.
        cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
        right, down = (
            _uniform(count, device, 2 * self.shift),
            _uniform(count, device, 2 * self.shift),
        )
        grid = _grid(
            (mirror * cosine * stretch, -mirror * sine * stretch, right),
            (sine / stretch, cosine / stretch, down),
            side * finer,
        )
        moved = nn.functional.grid_sample(
            grey, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        return nn.functional.avg_pool2d(moved, finer) if finer > 1 else moved

    def _bias_field(self, grey: Tensor) -> Tensor:
        """Return factors `[N, 1, S, S]` that vary slowly over the picture."""
        knots = _uniform(16 * len(grey), grey.device, math.log1p(self.bias_field))
        side = grey.shape[-1]
        return nn.functional.interpolate(
            knots.view(-1, 1, 4, 4), (side, side), mode="bilinear", align_corners=True
        ).exp()

    def _soften(self, grey: Tensor) -> Tensor:
        """Mix each picture with a copy blurred over about a fortieth of its side."""
        window = max(1, grey.shape[-1] // 80) * 2 + 1
        soft = grey
        for _ in range(2):  # Twice a box is nearly a bell.
            soft = nn.functional.avg_pool2d(
                soft, window, stride=1, padding=window // 2, count_include_pad=False
            )
        share = torch.rand(len(grey), 1, 1, 1, device=grey.device) * self.blur
        return grey + share * (soft - grey)

    def _change_contrast(self, grey: Tensor) -> Tensor:
        shape = (len(grey), 1, 1, 1)
        gain = _factor(len(grey), grey.device, self.contrast).view(shape)
        gamma = _factor(len(grey), grey.device, self.contrast).view(shape)
        share = (grey * (1.0 / 255.0)).clamp(0.0, 1.0)
        return share.pow(gamma) * (255.0 * gain)


def _some(grey: Tensor, share: float, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change pictures with this probability each."""
    if not share:
        return grey
    chosen = torch.rand(len(grey), device=grey.device) < share
    if not chosen.any():
        return grey
    changed = grey.clone()
    changed[chosen] = change(grey[chosen])
    return changed


def _bend(grey: Tensor) -> Tensor:
    return bend_intensities(grey, falling=torch.rand(len(grey), device=grey.device) < _FALLING)


def _grid(
    row_x: tuple[Tensor, Tensor, Tensor], row_y: tuple[Tensor, Tensor, Tensor], side: int
) -> Tensor:
    """Return the places that an affine matrix takes a square grid to, `[N, side, side, 2]`.

    The same as `torch.nn.functional.affine_grid`, in a few passes instead of a matrix product.
    """
    device = row_x[0].device
    steps = (torch.arange(side, device=device) * 2.0 + 1.0) / side - 1.0
    grid = torch.empty(len(row_x[0]), side, side, 2, device=device)
    for axis, row in enumerate((row_x, row_y)):
        across, along, offset = (value.view(-1, 1, 1) for value in row)
        torch.add(across * steps, along * steps.view(1, -1, 1) + offset, out=grid[..., axis])
    return grid


def _uniform(count: int, device: torch.device, largest: float) -> Tensor:
    return (torch.rand(count, device=device) * 2.0 - 1.0) * largest


def _factor(count: int, device: torch.device, largest: float) -> Tensor:
    return torch.exp(_uniform(count, device, math.log1p(largest)))
