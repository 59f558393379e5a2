"""Registers pictures that nearly match.

Two copies of one slice, cropped to the head, differ by a small shift and scale along each axis,
because noise, padding or a resize moved an edge of the crop by some pixels. The four numbers are
found by Gauss-Newton steps on the squared difference (Lucas and Kanade, An Iterative Image
Registration Technique, 1981), for a whole stack of pairs at once.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Stack = NDArray[np.float32]
"""Pictures, shape `[pairs, side, side]`, or one row of four parameters a pair, `[pairs, 4]`."""

_LARGEST_STEP: Final = 0.05
_LARGEST_MOVE: Final = 0.15
"""In halves of the picture's side: heads are cropped more alike than that."""


def still(pairs: int) -> Stack:
    """Return the parameters that move nothing: vertical shift and scale, horizontal the same."""
    return np.zeros((pairs, 4), dtype=np.float32)


def lay_over(fixed: Stack, moving: Stack, start: Stack, *, steps: int) -> Stack:
    """Find how each moving picture is shifted and scaled to lie over its fixed one.

    Args:
        fixed: Pictures, float32, shape `[pairs, side, side]`.
        moving: Pictures, float32, same shape.
        start: Parameters to start from, shape `[pairs, 4]`.
        steps: Number of Gauss-Newton steps.

    Returns:
        Parameters for `warp`, in halves of the picture's side, shape `[pairs, 4]`.
    """
    pairs, side, _ = fixed.shape
    places = np.linspace(-1, 1, side, dtype=np.float32)
    down, right = np.gradient(fixed, 2 / (side - 1), axis=(1, 2))
    slopes = np.stack([down, down * places[:, None], right, right * places], axis=1)
    slopes = slopes.reshape(pairs, 4, side * side)
    normal = slopes @ slopes.transpose(0, 2, 1)
    # A little damping keeps pictures without structure along one axis solvable.
    damping = 1e-3 * np.trace(normal, axis1=1, axis2=2) / 4 + 1e-6
    normal += damping[:, None, None] * np.eye(4, dtype=np.float32)
    parameters = start
    for _ in range(steps):
        residual = (fixed - warp(moving, parameters)).reshape(pairs, side * side, 1)
        step = np.linalg.solve(normal, slopes @ residual)[..., 0]
        parameters = parameters + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
    return np.clip(parameters, -_LARGEST_MOVE, _LARGEST_MOVE)


def warp(moving: Stack, parameters: Stack) -> Stack:
    """Shift and scale pictures, with linear interpolation.

    Both axes are independent, so the interpolation is a matrix product from either side.

    Args:
        moving: Pictures, float32, shape `[pairs, side, side]`.
        parameters: From `lay_over`, shape `[pairs, 4]`.

    Returns:
        The moved pictures, same shape; beyond the edge they are 0.
    """
    side = moving.shape[-1]
    rows = _interpolation(parameters[:, 0], parameters[:, 1], side)
    columns = _interpolation(parameters[:, 2], parameters[:, 3], side)
    moved: Stack = (rows @ moving @ columns.transpose(0, 2, 1)).astype(np.float32, copy=False)
    return moved


def _interpolation(shift: Stack, scale: Stack, side: int) -> Stack:
    places = np.linspace(-1, 1, side, dtype=np.float32)
    sources = (places * (1 + scale[:, None]) + shift[:, None] + 1) * ((side - 1) / 2)
    distances = np.abs(sources[:, :, None] - np.arange(side, dtype=np.float32))
    result: Stack = np.maximum(0, 1 - distances)
    return result


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
