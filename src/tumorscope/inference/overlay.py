"""Draws a prediction for people: the slice, its heatmap, the probabilities."""

import os
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tumorscope.files import whole_file
from tumorscope.inference.decision import plain_name
from tumorscope.inference.heatmap import lay_heat
from tumorscope.inference.results import Prediction

_PANEL: Final = 400
"""Longest side of the slice in the picture, in pixels."""

_LONGEST_NAME: Final = 200
"""Bytes of an input's name in that of its picture; file systems take 255 in all."""

_MARGIN: Final = 16
_LINE: Final = 26

_BACKGROUND: Final = (18, 18, 22)
_TEXT: Final = (235, 235, 235)
_FAINT: Final = (150, 150, 158)
_BAR: Final = (58, 60, 70)
_VERDICTS: Final = {"confident": (120, 200, 140), "uncertain": (240, 180, 80)}


def overlay_name(prediction: Prediction, taken: set[str]) -> str:
    """Return a file name for a prediction's picture that no other one has.

    Args:
        prediction: The answer; a slice of a volume has its number in the name.
        taken: The names given so far; the new one is added.
    """
    stem = Path(Path(prediction.path).name.removesuffix(".gz")).stem
    while len(os.fsencode(stem)) > _LONGEST_NAME:
        stem = stem[:-1]
    stem += "" if prediction.slice is None else f"_{prediction.slice}"
    name, again = f"{stem}.png", 1
    while name.casefold() in taken:  # Some file systems do not tell a.png and A.png apart.
        again += 1
        name = f"{stem}-{again}.png"
    taken.add(name.casefold())
    return name


def write_overlay(prediction: Prediction, path: Path, *, note: str) -> None:
    """Write the picture as a PNG file, whole or not at all.

    Args:
        prediction: An answer that holds its slice (`keep_pictures`) and has a label.
        path: The file.
        note: A line under the picture.

    Raises:
        OSError: The file cannot be written.
    """
    with whole_file(path) as temporary:
        draw_overlay(prediction, note=note).save(temporary)


def draw_overlay(prediction: Prediction, *, note: str) -> Image.Image:
    """Draw the slice, beside it the slice under the heatmap of its label, and the probabilities.

    Args:
        prediction: An answer that holds its slice and has a label; without a heatmap the slice
            stands alone.
        note: A line under the picture.

    Returns:
        An RGB picture.

    Raises:
        ValueError: The prediction holds no slice or no label.
    """
    if prediction.picture is None or prediction.label is None:
        raise ValueError("an overlay needs a prediction with its slice and a label")
    slice_ = _enlarged(prediction.picture)
    panels = [slice_]
    if prediction.heatmap is not None:
        panels.append(lay_heat(slice_, prediction.picture, prediction.heatmap))
    width = max(sum(panel.width + _MARGIN for panel in panels) + _MARGIN, 560)
    top = _MARGIN + 2 * _LINE
    bars = top + slice_.height + _MARGIN
    height = bars + _LINE * (len(prediction.probabilities) + 1) + _MARGIN
    picture = Image.new("RGB", (width, height), _BACKGROUND)
    left = (width + _MARGIN - sum(panel.width + _MARGIN for panel in panels)) // 2
    for panel in panels:
        picture.paste(panel, (left, top))
        left += panel.width + _MARGIN
    _write_heading(picture, prediction)
    _draw_bars(picture, prediction, bars)
    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, height - _LINE), note, _FAINT, ImageFont.load_default(13))
    return picture


def _enlarged(grey: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(grey))
    scale = _PANEL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC).convert("RGB")


def _write_heading(picture: Image.Image, prediction: Prediction) -> None:
    """Write the answer and the verdict, and where the slice is from."""
    pen = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(22), ImageFont.load_default(14)
    answer = f"{plain_name(prediction.label or '')}, {100 * (prediction.probability or 0):.1f} %"
    pen.text((_MARGIN, _MARGIN - 4), answer, _TEXT, large)
    verdict = prediction.verdict + (f": {prediction.reason}" if prediction.reason else "")
    after = _MARGIN + pen.textlength(answer, large) + _MARGIN
    pen.text((after, _MARGIN + 3), verdict, _VERDICTS[prediction.verdict], small)
    number = "" if prediction.slice is None else f", slice {prediction.slice}"
    pen.text((_MARGIN, _MARGIN + _LINE), f"{_printable(prediction.path)}{number}", _FAINT, small)


def _draw_bars(picture: Image.Image, prediction: Prediction, top: int) -> None:
    """Draw a bar for each class, its name before and its probability behind."""
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)
    left, right = _MARGIN + 110, picture.width - _MARGIN - 70
    for row, (label, probability) in enumerate(prediction.probabilities.items()):
        y = top + row * _LINE
        chosen = label == prediction.label
        colour = _TEXT if chosen else _FAINT
        pen.text((_MARGIN, y), plain_name(label), colour, font)
        pen.rounded_rectangle((left, y + 4, right, y + 16), 4, _BAR)
        if probability >= 0.01:
            end = max(left + 8, left + probability * (right - left))
            fill = _VERDICTS[prediction.verdict] if chosen else _FAINT
            pen.rounded_rectangle((left, y + 4, end, y + 16), 4, fill)
        pen.text((right + 12, y), f"{100 * probability:.1f} %", colour, font)


def _printable(path: str) -> str:
    """Return the end of a path, as far as the font can show it."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in path)
    return shown if len(shown) <= 70 else "..." + shown[-67:]
