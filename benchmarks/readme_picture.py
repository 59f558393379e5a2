"""Draws the README's picture: a phantom, and what the bundled model answers to it.

Run from the project's root: `python benchmarks/readme_picture.py`.
"""

import io
from pathlib import Path

from PIL import Image

from tumorscope import RESEARCH_USE_ONLY
from tumorscope.images.reading import FileInMemory
from tumorscope.inference import Classifier, Prediction
from tumorscope.inference.overlay import write_overlay
from tumorscope.phantoms.drawing import draw_phantom

PICTURE = Path("docs/pictures/overlay.png")
PATIENT_SEED = 206


def main() -> None:
    """Draw it."""
    phantom = draw_phantom(
        "meningioma", plane="coronal", patient_seed=PATIENT_SEED, slice_number=2, size=400
    )
    file = io.BytesIO()
    Image.fromarray(phantom.image).save(file, "PNG")
    drawn = FileInMemory("phantom.png", file.getvalue())
    (answer,) = Classifier.load().stream([drawn], keep_pictures=True)
    assert isinstance(answer, Prediction)
    write_overlay(answer, PICTURE, note=f"{answer.model}. {RESEARCH_USE_ONLY}")


if __name__ == "__main__":
    main()
