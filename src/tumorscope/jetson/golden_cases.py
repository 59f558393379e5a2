"""Writes golden cases: drawn pictures, their inputs and the answers to these."""

import io
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tumorscope.classes import CLASSES
from tumorscope.files import write_bytes
from tumorscope.images import prepare, read_slice
from tumorscope.inference.model_file import ModelFacts
from tumorscope.jetson.board.engines import OnnxRuntime
from tumorscope.jetson.board.folder import MODEL
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.phantoms.outlines import PLANES

FOLDER: Final = "golden"
"""Where the pictures are; `golden.npz` beside them holds inputs and answers."""

_SIDES: Final = (176, 192, 208)
_TURNED: Final = 6
"""EXIF's number for a picture that lies on its side."""


def write_golden(folder: Path, facts: ModelFacts) -> None:
    """Write the pictures and what the model answers to them.

    Args:
        folder: The bundle; its model is in place.
        facts: What the model file says about itself.

    Raises:
        OSError: They cannot be written.
    """
    pictures = _pictures()
    for name, content in pictures.items():
        write_bytes(folder / FOLDER / name, content)
    names = sorted(pictures)
    grey = np.stack(
        [prepare(read_slice(folder / FOLDER / name), facts.input_size) for name in names]
    )
    runtime = OnnxRuntime(folder, MODEL)
    answers = [runtime.ask(one[None, None]) for one in grey]
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "pictures": np.array(names),
        "classes": np.array(facts.classes),
        "inputs": grey,
    }
    for name in answers[0]:
        arrays[f"output_{name}"] = np.stack([answer[name] for answer in answers])
    np.savez_compressed(buffer, **arrays)
    write_bytes(folder / FOLDER / "golden.npz", buffer.getvalue())


def _pictures() -> dict[str, bytes]:
    """Draw every class in every plane, the kinds of files that reading has rules for, and noise."""
    drawn = {
        f"{label}-{plane}.png": _encode(_draw(label, plane, _SIDES[number % len(_SIDES)]))
        for number, (label, plane) in enumerate(
            (label, plane) for label in CLASSES for plane in PLANES
        )
    }
    head = _draw("glioma", "axial", 192)
    exif = Image.Exif()
    exif[0x0112] = _TURNED
    coloured = Image.fromarray(np.stack([head, head, 255 - (255 - head) // 2], axis=-1))
    framed = np.pad(head, ((9, 5), (30, 12)), constant_values=255)
    clear = Image.fromarray(framed).convert("RGBA")
    clear.putalpha(
        Image.fromarray(np.linspace(255, 60, framed.size).astype(np.uint8).reshape(framed.shape))
    )
    random = np.random.default_rng(0)
    return drawn | {
        "turned-colour.jpg": _encode(coloured, "JPEG", quality=90, exif=exif.tobytes()),
        "sixteen-bits.png": _encode(head.astype(np.uint16) * 16),
        "transparent.png": _encode(clear),
        "noise-fine.png": _encode(random.integers(0, 256, (90, 120), dtype=np.uint8)),
        "noise-coarse.png": _encode(
            np.kron(random.integers(0, 256, (12, 10)), np.ones((16, 16))).astype(np.uint8)
        ),
    }


def _draw(label: str, plane: str, size: int) -> NDArray[np.uint8]:
    return draw_phantom(label, plane=plane, patient_seed=7, slice_number=2, size=size).image


def _encode(
    picture: Image.Image | NDArray[np.uint8] | NDArray[np.uint16],
    kind: str = "PNG",
    **options: object,
) -> bytes:
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **options)
    return buffer.getvalue()
