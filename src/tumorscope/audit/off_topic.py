"""Finds pictures that are no slices of a head, by a model's OOD score (no torch)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.datasets.catalogue import Slice
from tumorscope.datasets.pictures import read_picture
from tumorscope.images import prepare
from tumorscope.images.suitability import why_unsuitable
from tumorscope.parallel import map_ordered
from tumorscope.progress import Progress, silent

if TYPE_CHECKING:
    from tumorscope.inference import Classifier

_BATCH: Final = 32


@dataclass(frozen=True)
class OffTopic:
    """A picture that the model does not support.

    Attributes:
        place: Its position among the audited files.
        score: How unlike the model's training pictures it is (the OOD score).
        reason: Why it is not supported.
    """

    place: int
    score: float
    reason: str

    def to_json(self, names: Sequence[str]) -> dict[str, str | float | None]:
        """Return plain values; names are the audited files'."""
        score = round(self.score, 3) if math.isfinite(self.score) else None
        return {"name": names[self.place], "score": score, "reason": self.reason}


def find_off_topic(
    slices: Sequence[Slice], model: "Classifier", *, progress: Progress = silent
) -> tuple[OffTopic, ...]:
    """Find the pictures whose verdict is `unsupported`.

    Args:
        slices: The pictures; they are read again.
        model: A model with an OOD score.
        progress: Shows how far the classifying is.

    Returns:
        The pictures, the one most unlike the model's training pictures first.

    Raises:
        UnreadableImageError: A picture cannot be read.
    """
    read = partial(_read, size=model.facts.input_size)
    pictures = iter(progress(map_ordered(read, slices), total=len(slices), label="classifying"))
    found = []
    while batch := list(islice(pictures, _BATCH)):
        outputs = model.outputs(np.stack([grey for grey, _ in batch]), batch_size=_BATCH)
        scores = outputs.get("ood_score", np.full(len(batch), np.nan)).tolist()
        for (_, unsuitable), decision, score in zip(
            batch, model.decide(outputs), scores, strict=True
        ):
            reason = unsuitable or (decision.reason if decision.verdict == "unsupported" else "")
            found.append((reason, score if math.isfinite(score) else math.inf))
    return tuple(
        sorted(
            (OffTopic(place, score, why) for place, (why, score) in enumerate(found) if why),
            key=lambda item: -item.score,
        )
    )


def _read(item: Slice, size: int) -> tuple[NDArray[np.uint8], str]:
    """Return the model's input, and why the picture is nothing for it; empty when it is."""
    grey = read_picture(item)
    return prepare(grey, size), why_unsuitable(grey)
