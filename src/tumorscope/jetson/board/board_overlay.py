"""Draws a slice and its heatmap as a PNG file for people."""

import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from tumorscope import RESEARCH_USE_ONLY
from tumorscope.inference.decision import plain_name
from tumorscope.inference.heatmap import lay_heat

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tumorscope.jetson.board.answers import Answer

_PANEL = 400
"""Longest side of the slice in the picture, in pixels."""

_MARGIN, _LINE = 16, 16


def write_overlay(grey: "NDArray[np.uint8]", answer: "Answer", path: "Path") -> None:
    """Write the slice, beside it the slice under its heatmap, and the answer; whole or not at all.

    Args:
        grey: The slice, uint8, `[height, width]`.
        answer: An answer that has a label.
        path: The file, ending in `.png`; its folder is made when missing.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        draw_overlay(grey, answer).save(str(part), "PNG")
        os.replace(str(part), str(path))  # noqa: PTH105  (as the line above)
    finally:
        if part.exists():
            part.unlink()


def draw_overlay(grey: "NDArray[np.uint8]", answer: "Answer") -> Image.Image:
    """Draw what `write_overlay` writes."""
    said = answer.json
    picture = Image.fromarray(np.ascontiguousarray(grey))
    scale = _PANEL / float(max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    bicubic = Image.BICUBIC  # type: ignore[attr-defined]
    panels = [picture.resize(size, bicubic).convert("RGB")]
    if answer.heatmap is not None:
        panels.append(lay_heat(panels[0], grey, answer.heatmap))
    lines = [": ".join(filter(None, (said["verdict"], said["reason"])))]
    lines += [f"{plain_name(name)} {100 * p:.1f} %" for name, p in said["probabilities"].items()]
    lines += [said["model"], RESEARCH_USE_ONLY]
    width = max(_MARGIN + len(panels) * (size[0] + _MARGIN), 480)
    height = size[1] + 2 * _MARGIN + _LINE * (len(lines) + 2)
    drawn = Image.new("RGB", (width, height), (18, 18, 22))
    for number, panel in enumerate(panels):
        drawn.paste(panel, (_MARGIN + number * (size[0] + _MARGIN), _MARGIN + _LINE))
    pen = ImageDraw.Draw(drawn)
    heading = "{} {:.1f} %".format(plain_name(said["label"]), 100 * said["probability"])
    pen.text((_MARGIN, _MARGIN - 4), heading, (235, 235, 235))
    for number, line in enumerate(lines):
        top = 2 * _MARGIN + _LINE + size[1] + number * _LINE
        pen.text((_MARGIN, top), line, (200, 200, 206))
    return drawn
