"""Describes what a classifier that is not ours takes and gives: a small TOML file, or Python."""

import math
import tomllib
from dataclasses import dataclass, fields
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tumorscope.classes import CLASSES, class_name
from tumorscope.errors import DataError, ModelError
from tumorscope.images import prepare

Layout = Literal["NCHW", "NHWC"]
Preparation = Literal["resize", "tumorscope"]


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What a classifier takes and gives.

    Attributes:
        classes: The classes in the order of its outputs.
        size: Side of its input in pixels.
        channels: 1 for grey, 3 for the same grey three times.
        mean: Subtracted from the values, which lie between 0 and 1; one number or one a channel.
        std: Then the values are divided by this; one number or one a channel.
        layout: `NCHW` (PyTorch) or `NHWC` (Keras).
        preparation: `resize`: the whole picture, stretched to the square; `tumorscope`: cropped to
            the head and contrast-stretched, as our models take it.
        softmax: Whether the outputs are logits, so that a softmax makes them probabilities.

    Raises:
        ModelError: A value cannot be used.

    >>> InputSpec(size=2, channels=1).array(np.array([[[0, 51], [102, 255]]], np.uint8)).tolist()
    [[[[0.0, 0.20000000298023224], [0.4000000059604645, 1.0]]]]
    """

    classes: tuple[str, ...] = CLASSES
    size: int = 224
    channels: int = 3
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    layout: Layout = "NCHW"
    preparation: Preparation = "resize"
    softmax: bool = True

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise ModelError(f"classes: two or more different ones, not {', '.join(self.classes)}")
        if unknown := set(self.classes) - set(CLASSES):
            raise ModelError(f"classes: '{min(unknown)}' is none of {', '.join(CLASSES)}")
        if self.size < 1 or not isinstance(self.size, Integral) or self.channels not in (1, 3):
            raise ModelError(
                f"size is 1 or more and channels 1 or 3, not {self.size} and {self.channels}"
            )
        for name in ("mean", "std"):
            values = _numbers(getattr(self, name))
            if len(values) not in (1, self.channels) or not all(map(math.isfinite, values)):
                raise ModelError(f"{name}: one number, or {self.channels}, one a channel")
        if not all(value > 0 for value in _numbers(self.std)):
            raise ModelError("std: numbers above 0")
        for name, allowed in (("layout", Layout), ("preparation", Preparation)):
            if getattr(self, name) not in get_args(allowed):
                raise ModelError(
                    f"{name}: {' or '.join(get_args(allowed))}, not '{getattr(self, name)}'"
                )

    def prepare(self, grey: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Turn a grey slice `[height, width]` into a square one, `[size, size]`."""
        if self.preparation == "tumorscope":
            return prepare(grey, size)
        picture = Image.fromarray(np.ascontiguousarray(grey))
        return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))

    def array(self, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the classifier takes.

        Args:
            grey: Prepared slices, `[N, S, S]`.

        Returns:
            Shape `[N, channels, S, S]`, or `[N, S, S, channels]`.
        """
        values = grey[..., None].astype(np.float32) / np.float32(255)
        values = np.repeat(values, self.channels, axis=-1)
        mean, std = (np.array(numbers, dtype=np.float32) for numbers in (self.mean, self.std))
        values = ((values - mean) / std).astype(np.float32)
        if self.layout == "NCHW":
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values)


def read_spec(path: Path) -> InputSpec:
    """Read a TOML file with the fields of `InputSpec`.

    Args:
        path: The file; class names in their usual spellings, numbers or lists for mean and std.

    Raises:
        ModelError: The file cannot be read, or a field or a value is unknown.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{path}: not a TOML file that can be read ({error})") from None
    known = [field.name for field in fields(InputSpec)]
    for name in values:
        if name not in known:
            raise ModelError(f"{path}: unknown field '{name}': the fields are {', '.join(known)}")
    try:
        if "classes" in values:
            values["classes"] = tuple(class_name(name) for name in values["classes"])
        for name in ("mean", "std"):
            if name in values:
                values[name] = _numbers(values[name])
        return InputSpec(**values)
    except (ModelError, DataError) as error:
        raise ModelError(f"{path}: {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: a value has the wrong type ({error})") from None


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(float(part) for part in (value if isinstance(value, (list, tuple)) else [value]))
