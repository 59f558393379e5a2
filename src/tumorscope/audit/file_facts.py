"""Collects facts of picture files that need no look at the brain: size, mode, border and others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tumorscope.images import PICTURE_SUFFIXES

FACT_NAMES: Final[Mapping[str, str]] = {
    "width": "width",
    "height": "height",
    "aspect": "aspect ratio",
    "mode": "colour mode",
    "compression": "JPEG compression",
    "border": "border level",
    "mean_grey": "mean grey",
    "bytes_per_pixel": "file size per pixel",
}
"""Facts by field of `FileFacts`, as a person reads them."""

_SPREADS: Final[Mapping[str, tuple[float, str]]] = {
    "aspect": (0.05, ".2f"),
    "border": (4.0, ".0f"),
    "mean_grey": (4.0, ".0f"),
    "bytes_per_pixel": (0.02, ".2f"),
}
"""By fact, the least spread that counts (where all files are alike) and how to show a value."""


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What is known of a picture file without looking at the brain.

    Attributes:
        width: In pixels.
        height: In pixels.
        aspect: Width by height.
        mode: Pillow's name of the pixel format (`L` grey, `RGB`, `RGBA`, `P` palette…).
        compression: Mean step of the JPEG luminance table, 0 for files without loss.
        border: Mean grey of the outermost fortieth of the picture, 0 to 255.
        mean_grey: Mean of all pixels, 0 to 255.
        bytes_per_pixel: File size in bytes by number of pixels.
    """

    width: int
    height: int
    aspect: float
    mode: str
    compression: float
    border: float
    mean_grey: float
    bytes_per_pixel: float


def file_facts(path: Path, grey: NDArray[np.uint8]) -> FileFacts:
    """Collect the facts of a file that `read_slice` has read.

    Args:
        path: The picture, or the volume that the slice is cut from.
        grey: Its grey values, uint8, shape `[height, width]`.

    Returns:
        The facts.
    """
    height, width = grey.shape
    mode, steps, size = "volume", [0], grey.size  # the voxels of a volume's slice, one byte each
    if path.name.lower().endswith(PICTURE_SUFFIXES):
        size = path.stat().st_size
        with Image.open(path) as picture:  # reads the header only
            mode = picture.mode
            steps = getattr(picture, "quantization", {}).get(0, [0])
    rim_down, rim_right = max(1, height // 40), max(1, width // 40)
    total = float(grey.sum(dtype=np.int64))
    inner = grey[rim_down:-rim_down, rim_right:-rim_right]
    border = (total - float(inner.sum(dtype=np.int64))) / (grey.size - inner.size)
    return FileFacts(
        width=width,
        height=height,
        aspect=width / height,
        mode=mode,
        compression=float(np.mean(steps)),
        border=border,
        mean_grey=total / grey.size,
        bytes_per_pixel=size / grey.size,
    )


def odd_files(facts: Sequence[FileFacts]) -> dict[int, str]:
    """Find files whose facts lie far off the rest.

    Far off means more than eight times the spread (interquartile range by 1.35) from the median.
    When more than one file in fifty is far off in a fact, the set is a mixture and none is odd.

    Args:
        facts: One a file.

    Returns:
        A reason in words by the position of the file, in order of position.
    """
    reasons: dict[int, list[str]] = {}
    for field, (least_spread, show) in _SPREADS.items():
        values = np.array([getattr(item, field) for item in facts], dtype=np.float64)
        if not values.size:
            break
        lower, median, upper = np.percentile(values, (25, 50, 75))
        spread = max((upper - lower) / 1.35, least_spread)
        odd = np.flatnonzero(np.abs(values - median) > 8 * spread)
        if odd.size > max(1, values.size // 50):
            continue
        for place in odd:
            reasons.setdefault(int(place), []).append(
                f"{FACT_NAMES[field]} {values[place]:{show}} where {median:{show}} is usual"
            )
    return {place: "; ".join(reasons[place]) for place in sorted(reasons)}
