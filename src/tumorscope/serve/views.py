"""What a browser shows of a slice and its answer: PNG in base64."""

import base64
import io
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tumorscope.images import find_head
from tumorscope.images.slices import resampled
from tumorscope.inference import Prediction
from tumorscope.inference.classifier import Prepared
from tumorscope.inference.heatmap import place_heat
from tumorscope.serve.schema import SliceAnswer

LONGEST_SIDE = 768
"""Larger slices are shown smaller."""


@dataclass(frozen=True)
class Wanted:
    """What an answer shall hold beside what `tumorscope predict --json` prints.

    Attributes:
        heatmap: Where the network saw the label.
        picture: The slice, and where it lies.
    """

    heatmap: bool = False
    picture: bool = False


@dataclass(frozen=True)
class View:
    """What is kept of a slice while it waits, instead of all its pixels.

    Attributes:
        picture: The slice as PNG in base64; None when it is not wanted.
        affine: Where the picture's pixels lie; None when the file does not say.
        shape: Height and width of the slice.
        size: Width and height of the picture.
        box: Where the head is on the slice.
    """

    picture: str | None
    affine: list[list[float]] | None
    shape: tuple[int, int]
    size: tuple[int, int]
    box: tuple[float, float, float, float]


def take_view(prepared: Prepared, wanted: Wanted) -> tuple[Prepared, View | None]:
    """Return the slice without its pixels, and what will be shown of it."""
    image = prepared.image
    light = Prepared(replace(image, grey=None), prepared.grey)
    if image.grey is None or not (wanted.heatmap or wanted.picture):
        return light, None
    shape = (image.grey.shape[0], image.grey.shape[1])
    scale = min(1.0, LONGEST_SIDE / max(shape))
    size = (max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale)))
    picture = _png(_resized(image.grey, size)) if wanted.picture else None
    affine = None
    if wanted.picture and image.affine is not None:
        affine = (image.affine @ resampled(shape, size[::-1])).tolist()
    box = find_head(image.grey) if wanted.heatmap else (0.0, 0.0, 0.0, 0.0)
    return light, View(picture, affine, shape, size, box)


def describe(answer: Prediction, view: View | None, wanted: Wanted) -> SliceAnswer:
    """Return an answer as the API gives it, with the pictures that were asked for.

    Args:
        answer: The model's answer.
        view: What `take_view` kept.
        wanted: `heatmap` adds a grey picture of the slice's proportions, 255 where the network saw
            the label most; `picture` the slice itself, and `affine`, which turns (column, row, 0,
            1) of the picture into mm towards the patient's right, front and top.
    """
    item = SliceAnswer(**answer.to_json())
    if wanted.heatmap:
        item.heatmap = None
        if view is not None and answer.heatmap is not None:
            item.heatmap = _png(place_heat(answer.heatmap, view.box, view.shape, view.size))
    if wanted.picture:
        item.picture = view.picture if view else None
        item.affine = view.affine if view else None
    return item


def _resized(grey: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(grey))
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR)


def _png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
