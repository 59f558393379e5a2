"""Turns arrays and PIL images that a program has in memory into grey slices."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tumorscope.errors import TumorscopeError
from tumorscope.images.reading import FileInMemory, UnreadableImageError
from tumorscope.images.slices import check_size

_EXPECTED = "expected grey values 0 to 255, uint8, of shape [height, width]"

_DEEP_MODES = ("I", "F")
"""How the names of PIL's modes with more than 8 bits begin; PNG does not hold all of them."""


class InputError(TumorscopeError, ValueError):
    """What was given is no input, or not a grey slice."""


def to_slice(
    array: NDArray[Any], where: str, value_range: tuple[float, float]
) -> NDArray[np.uint8]:
    """Scale an array of any numbers to grey values.

    Args:
        array: Numbers, `[height, width]`.
        where: What the array is called in messages.
        value_range: What becomes black and what white; what lies beyond is cut off.

    Returns:
        Grey values 0 to 255, uint8.

    Raises:
        InputError: It is no such array, holds no finite numbers, or the range is none.
    """
    try:
        black, white = map(float, value_range)
    except (TypeError, ValueError):
        black = white = np.nan
    if not (np.isfinite([black, white]).all() and black < white):
        raise InputError(f"a value range is two numbers, black and white, not {value_range}")
    _check_shape(array, where)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise InputError(f"{where}: {_EXPECTED}, not {array.dtype}")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{where}: holds NaN or infinity: replace them")
    share = np.clip((values - black) / (white - black), 0, 1)
    return np.rint(255 * share).astype(np.uint8)


def check_slice(array: NDArray[Any], where: str) -> None:
    """Refuse what is not a grey slice of 0 to 255.

    Raises:
        InputError: Says what is expected, and what came.
    """
    _check_shape(array, where)
    if array.dtype != np.uint8:
        span = f" from {array.min():.4g} to {array.max():.4g}" if array.size else ""
        raise InputError(
            f"{where}: {_EXPECTED}, not {array.dtype}{span}; say what is black and what is white, "
            "as in predict(..., value_range=(0, 1))"
        )
    try:
        check_size(where, *array.shape)
    except UnreadableImageError as error:
        raise InputError(str(error)) from None
    if array.max() == 1:
        raise InputError(
            f"{where}: {_EXPECTED}, but the values are 0 and 1 only; scale them, or say so with "
            "predict(..., value_range=(0, 1))"
        )


def as_file(picture: Image.Image, name: str) -> FileInMemory:
    """Return a PIL image as a file in memory, so that it is read as a picture on a disk is.

    Args:
        picture: Of any mode; of several pages the one that it stands at.
        name: What it is called in answers.
    """
    upright = ImageOps.exif_transpose(picture)
    buffer = io.BytesIO()
    if upright.mode.startswith(_DEEP_MODES):
        upright.save(buffer, "TIFF")
    elif upright.mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        upright.save(buffer, "PNG", compress_level=0)
    else:
        upright.convert("RGB").save(buffer, "PNG", compress_level=0)
    return FileInMemory(name, buffer.getvalue())


def _check_shape(array: NDArray[Any], where: str) -> None:
    if array.ndim != 2:
        hint = ""
        if array.ndim == 3:
            hint = "; give colour as PIL.Image.fromarray(array), a stack as a list of slices"
        raise InputError(f"{where}: {_EXPECTED}, not of shape {list(array.shape)}{hint}")
