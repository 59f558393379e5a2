"""Images to verify model files on: a run's own slices, else phantoms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tumorscope.datasets.catalogue import Slice
from tumorscope.datasets.inputs import read_inputs
from tumorscope.datasets.locations import DataSource
from tumorscope.datasets.pictures import read_picture
from tumorscope.datasets.sources import read_set
from tumorscope.errors import DataError
from tumorscope.images import prepare
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.phantoms.outlines import PLANES
from tumorscope.progress import Progress, silent
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import Description

_PHANTOM_PATIENTS: Final = 2
"""For each class and plane."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Images and what they show.

    Attributes:
        grey: Inputs `[N, S, S]`, grey values 0 to 255.
        labels: The true classes' numbers `[N]`.
        origin: What they are, in plain words.
        picture: Returns an image as it was before it was prepared, `[height, width]`, by number.
    """

    grey: NDArray[np.uint8]
    labels: NDArray[np.int64]
    origin: str
    picture: Callable[[int], NDArray[np.uint8]]

    def resized(self, height: int, width: int) -> "Sample":
        """Return the images as a file gets them whose pictures all have one size."""

        def picture(number: int) -> NDArray[np.uint8]:
            return np.asarray(Image.fromarray(self.picture(number)).resize((width, height)))

        side = self.grey.shape[-1]
        grey = [prepare(picture(number), side) for number in range(len(self.grey))]
        return replace(self, grey=np.stack(grey), picture=picture)


def find_slices(
    run: RunFolder,
    data: Sequence[DataSource | Path | str] | None = None,
    *,
    progress: Progress = silent,
) -> Mapping[str, list[Slice]]:
    """Find a run's slices again.

    Args:
        run: A run.
        data: Where the data sets are now; None: where they were.
        progress: Shows how far the reading is.

    Returns:
        Slices by part: `train`, `validation`, `test`.

    Raises:
        DataError: The data sets are gone, or hold none of the run's validation slices.
    """
    sources = data or run.sources()
    found = {
        (item.source, item.name): item
        for source in sources
        for item in read_set(source, progress=progress).slices
    }
    parts = {
        part: [found[name] for name in sorted(run.part(part) & found.keys())]
        for part in ("train", "validation", "test")
    }
    if not sources:
        raise DataError("a model file does not hold its data: --data says where slices are")
    if not parts["validation"]:
        raise DataError(f"{sources[0]}: holds none of the run's validation slices")
    return parts


def read_sample(
    slices: Sequence[Slice],
    description: Description,
    *,
    origin: str,
    limit: int | None = None,
    progress: Progress = silent,
) -> Sample:
    """Read slices as a sample.

    Args:
        slices: What to read; those that cannot be read, or of which only "a tumour" is known, are
            left out.
        description: Of the network that will be asked.
        origin: What they are, in plain words.
        limit: Take only so many, spread evenly over the slices.
        progress: Shows how far the reading is.
    """
    slices = [item for item in slices if item.label in description.classes]
    if limit is not None and limit < len(slices):
        chosen = np.linspace(0, len(slices) - 1, limit).round().astype(int)
        slices = [slices[number] for number in chosen]
    inputs = read_inputs(
        slices, size=description.input_size, progress=progress, label=f"reading {origin}"
    )
    labels = [description.classes.index(item.label) for item in inputs.slices]

    def picture(number: int) -> NDArray[np.uint8]:
        return read_picture(inputs.slices[number])

    return Sample(inputs.grey, np.array(labels, dtype=np.int64), origin, picture)


def draw_sample(description: Description) -> Sample:
    """Draw phantoms as a sample, always the same ones."""
    drawn = [
        (draw_phantom(label, plane=plane, patient_seed=seed, slice_number=2).image, number)
        for number, label in enumerate(description.classes)
        for plane in PLANES
        for seed in range(_PHANTOM_PATIENTS)
    ]
    pictures, labels = zip(*drawn, strict=True)
    grey = np.stack([prepare(picture, description.input_size) for picture in pictures])
    return Sample(grey, np.array(labels, dtype=np.int64), "phantoms", pictures.__getitem__)
