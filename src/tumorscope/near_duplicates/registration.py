"""Registers pictures that nearly match.

Two copies of one slice, cropped to the head, differ by a small shift and scale along each axis,
because noise, padding or a resize moved an edge of the crop by some pixels, and by a small turn if
somebody turned one. The six numbers are found by Gauss-Newton steps on the squared difference
(Lucas and Kanade, An Iterative Image Registration Technique, 1981), for a whole stack of pairs at
once.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Stack = NDArray[np.float32]
"""Pictures, shape `[pairs, side, side]`, or six parameters a pair, `[pairs, 6]`."""

_LARGEST_STEP: Final = 0.05
_LARGEST_MOVE: Final = 0.15
"""In halves of the picture's side: heads are cropped more alike than that."""

_UPRIGHT: Final = np.array([0, 1, 3, 4])
"""The parameters that neither turn nor shear."""


def still(pairs: int) -> Stack:
    """Return the parameters that move nothing: vertical shift, scale and shear, then horizontal."""
    return np.zeros((pairs, 6), dtype=np.float32)


def lay_over(
    fixed: Stack, moving: Stack, start: Stack, *, steps: int, turning: bool = False
) -> Stack:
    """Find how each moving picture is shifted and scaled to lie over its fixed one.

    Args:
        fixed: Pictures, float32, shape `[pairs, side, side]`.
        moving: Pictures, float32, same shape.
        start: Parameters to start from, shape `[pairs, 6]`.
        steps: Number of Gauss-Newton steps.
        turning: Whether pictures may be turned and sheared, too; about three times as long.

    Returns:
        Parameters for `warp`, in halves of the picture's side, shape `[pairs, 6]`.
    """
    pairs, side, _ = fixed.shape
    free = np.arange(6) if turning else _UPRIGHT
    places = np.linspace(-1, 1, side, dtype=np.float32)
    down, right = np.gradient(fixed, 2 / (side - 1), axis=(1, 2))
    rows, columns = places[:, None], places
    slopes = (down, down * rows, down * columns, right, right * columns, right * rows)
    basis = np.stack([slopes[number] for number in free], axis=1)
    basis = basis.reshape(pairs, len(free), side * side)
    normal = basis @ basis.transpose(0, 2, 1)
    # A little damping keeps pictures without structure along one axis solvable.
    damping = 1e-3 * np.trace(normal, axis1=1, axis2=2) / len(free) + 1e-6
    normal += damping[:, None, None] * np.eye(len(free), dtype=np.float32)
    parameters = start.copy()
    for _ in range(steps):
        residual = (fixed - warp(moving, parameters)).reshape(pairs, side * side, 1)
        step = np.linalg.solve(normal, basis @ residual)[..., 0]
        parameters[:, free] += np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
    return np.clip(parameters, -_LARGEST_MOVE, _LARGEST_MOVE)


def warp(moving: Stack, parameters: Stack) -> Stack:
    """Shift, scale and shear pictures, with linear interpolation.

    Args:
        moving: Pictures, float32, shape `[pairs, side, side]`.
        parameters: From `lay_over`, shape `[pairs, 6]`.

    Returns:
        The moved pictures, same shape; beyond the edge they are 0.
    """
    if parameters[:, [2, 5]].any():
        return _sampled(moving, parameters)
    # Both axes are independent, so the interpolation is a matrix product from either side.
    side = moving.shape[-1]
    rows = _interpolation(parameters[:, 0], parameters[:, 1], side)
    columns = _interpolation(parameters[:, 3], parameters[:, 4], side)
    moved: Stack = (rows @ moving @ columns.transpose(0, 2, 1)).astype(np.float32, copy=False)
    return moved


def _interpolation(shift: Stack, scale: Stack, side: int) -> Stack:
    places = np.linspace(-1, 1, side, dtype=np.float32)
    sources = (places * (1 + scale[:, None]) + shift[:, None] + 1) * ((side - 1) / 2)
    distances = np.abs(sources[:, :, None] - np.arange(side, dtype=np.float32))
    result: Stack = np.maximum(0, 1 - distances)
    return result


def _sampled(moving: Stack, parameters: Stack) -> Stack:
    """Interpolate between the four pixels round each place that a pixel comes from."""
    pairs, side, _ = moving.shape
    places = np.linspace(-1, 1, side, dtype=np.float32)
    moves = parameters[:, :, None, None]
    rows, columns = places[:, None], places
    down = (moves[:, 0] + (1 + moves[:, 1]) * rows + moves[:, 2] * columns + 1) * ((side - 1) / 2)
    right = (moves[:, 3] + (1 + moves[:, 4]) * columns + moves[:, 5] * rows + 1) * ((side - 1) / 2)
    # A rim of zeros, on which everything beyond the edge is put; one more to interpolate with.
    width = side + 3
    rimmed = np.zeros((pairs, width, width), dtype=np.float32)
    rimmed[:, 1 : side + 1, 1 : side + 1] = moving
    pixels = rimmed.ravel()
    down, right = np.clip(down, -1, side) + 1, np.clip(right, -1, side) + 1
    row, column = down.astype(np.int32), right.astype(np.int32)
    down, right = down - row, right - column
    place = (np.arange(pairs, dtype=np.int32)[:, None, None] * width + row) * width + column
    above = pixels[place] * (1 - right) + pixels[place + 1] * right
    place += width
    below = pixels[place] * (1 - right) + pixels[place + 1] * right
    moved: Stack = (above * (1 - down) + below * down).astype(np.float32, copy=False)
    return moved


def correlation(first: Stack, second: Stack) -> Stack:
    """Correlate pictures pair by pair, leaving out a margin, where a moved picture has nothing.

    Args:
        first: Pictures, float32, shape `[pairs, side, side]`.
        second: Pictures, float32, same shape.

    Returns:
        Pearson correlations, shape `[pairs]`; 0 where a picture is flat.
    """
    margin = first.shape[-1] // 16
    inner = (slice(None), slice(margin, -margin), slice(margin, -margin))
    one, other = first[inner], second[inner]
    one = one - one.mean(axis=(1, 2), keepdims=True)
    other = other - other.mean(axis=(1, 2), keepdims=True)
    squares = np.einsum("pyx,pyx->p", one, one) * np.einsum("pyx,pyx->p", other, other)
    result: Stack = np.einsum("pyx,pyx->p", one, other) / np.maximum(np.sqrt(squares), 1e-6)
    return result
