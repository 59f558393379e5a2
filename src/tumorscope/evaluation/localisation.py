"""Compares heatmaps with tumour outlines."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tumorscope.errors import DataError
from tumorscope.files import write_bytes

LEVEL: Final = 0.5
"""What a heatmap shows lies where it is above this share of its maximum."""

_RESAMPLES: Final = 1000
_DIGITS: Final = 6


@dataclass(frozen=True, eq=False, kw_only=True)
class Localisation:
    """How heatmaps lie on outlines, a row an outlined test image.

    Attributes:
        names: The images' names, length N, at least 1.
        groups: Their patients, length N.
        peak_inside: Whether the heatmap's highest place lies in the outline (the pointing game:
            Zhang et al. 2018, https://arxiv.org/abs/1608.00507), bool, shape `[N]`.
        dice: Overlap of the outline and what the heatmap shows, 0 to 1, shape `[N]`.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    peak_inside: NDArray[np.bool_]
    dice: NDArray[np.float64]

    def to_json(self, *, seed: int = 0) -> dict[str, object]:
        """Return the metrics with 95 % intervals by bootstrap over groups."""
        columns = {"peak_inside": self.peak_inside.astype(np.float64), "dice": self.dice}
        return {
            "n": len(self.names),
            "groups": len(set(self.groups)),
            **{name: round(float(values.mean()), _DIGITS) for name, values in columns.items()},
            "interval": {
                name: _interval(values, self.groups, seed) for name, values in columns.items()
            },
        }

    def save(self, path: Path) -> None:
        """Write the rows as a CSV file, whole or not at all."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["name", "group", "peak_inside", "dice"])
        for row in zip(self.names, self.groups, self.peak_inside, self.dice, strict=True):
            writer.writerow([row[0], row[1], int(row[2]), f"{row[3]:.6f}"])
        write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))

    @classmethod
    def load(cls, path: Path) -> "Localisation":
        """Read what `save` wrote.

        Raises:
            DataError: The file is no such table.
            OSError: It cannot be read.
        """
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
            return cls(
                names=tuple(row["name"] for row in rows),
                groups=tuple(row["group"] for row in rows),
                peak_inside=np.array([row["peak_inside"] == "1" for row in rows]),
                dice=np.array([float(row["dice"]) for row in rows]),
            )
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise DataError(f"{path}: not a table of heatmaps on outlines ({error})") from None


def localise(
    heatmaps: NDArray[np.float32],
    outlines: NDArray[np.uint8],
    *,
    names: Sequence[str],
    groups: Sequence[str],
) -> Localisation:
    """Compare heatmaps with outlines.

    Args:
        heatmaps: Of the predicted class, shape `[N, h, w]`; one that is 0 all over
            shows nothing.
        outlines: The tumours, 0 to 255, shape `[N, S, S]`, none of them empty.
        names: The images' names, length N.
        groups: Their patients, length N.
    """
    side = outlines.shape[-1]
    peaks, overlaps = [], []
    for heatmap, outline in zip(heatmaps, outlines, strict=True):
        grown = np.asarray(
            Image.fromarray(heatmap.astype(np.float32)).resize(
                (side, side), Image.Resampling.BILINEAR
            )
        )
        inside = outline > 127
        highest = float(grown.max())
        shown = grown > LEVEL * highest if highest > 0 else np.zeros_like(inside)
        peaks.append(highest > 0 and bool(inside[_centre_of_highest(heatmap, side)]))
        overlaps.append(2.0 * (shown & inside).sum() / max(1, shown.sum() + inside.sum()))
    return Localisation(
        names=tuple(names),
        groups=tuple(groups),
        peak_inside=np.array(peaks, dtype=np.bool_),
        dice=np.array(overlaps, dtype=np.float64),
    )


def _centre_of_highest(heatmap: NDArray[np.float32], side: int) -> tuple[int, int]:
    """Return row and column, in an outline of that side, of the middle of the highest cell."""
    row, column = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    height, width = heatmap.shape
    return int((row + 0.5) * side / height), int((column + 0.5) * side / width)


def pool_localisations(parts: Iterable[Localisation]) -> Localisation:
    """Put those of several folds into one."""
    tables = tuple(parts)
    return Localisation(
        names=tuple(name for table in tables for name in table.names),
        groups=tuple(group for table in tables for group in table.groups),
        peak_inside=np.concatenate([table.peak_inside for table in tables]),
        dice=np.concatenate([table.dice for table in tables]),
    )


def _interval(values: NDArray[np.float64], groups: Sequence[str], seed: int) -> list[float] | None:
    names, number = np.unique(np.array(groups), return_inverse=True)
    if len(names) < 2:
        return None
    sums, counts = np.bincount(number, values), np.bincount(number)
    chance = np.full(len(names), 1 / len(names))
    draws = np.random.default_rng(seed).multinomial(len(names), chance, size=_RESAMPLES)
    low, high = np.percentile((draws @ sums) / (draws @ counts), (2.5, 97.5))
    return [round(float(low), _DIGITS), round(float(high), _DIGITS)]
