"""A model's answer to a slice, or why a file could not be read, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tumorscope.images.slice_header import SliceHeader
from tumorscope.inference.decision import Decision

Verdict = Literal["confident", "uncertain", "unsupported"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Prediction:
    """A model's answer to one slice.

    Attributes:
        path: The file; `array N` for the Nth array of a list.
        slice: The slice or frame in a file that holds several, from 0; else None.
        label: The most probable class; None when the slice is unsupported.
        probability: Its probability; None when the slice is unsupported.
        probabilities: The probability of each class; empty when the slice is unsupported.
        verdict: `confident`, `uncertain` (a person should look) or `unsupported` (not a slice
            that the model can classify).
        reason: Why the verdict is not `confident`, in plain words; else empty.
        model: Name and version of the model.
        milliseconds: What the network took for this slice: an even share of its batch's time.
        heatmap: Where the network saw the label, float32 `[h, w]`, over the box that
            `tumorscope.images.find_head` finds; None when the model has no maps.
        picture: The slice itself, uint8 `[height, width]`, where it was asked for.
        volume: A line about the volume that the slice is from; empty for single slices.
        note: What else the file holds and was not used; else empty.
        header: What the file says about where the slice belongs.
        affine: Where the slice lies in the patient, as in `tumorscope.images.slices.SliceImage`.
    """

    path: str
    slice: int | None
    label: str | None
    probability: float | None
    probabilities: Mapping[str, float]
    verdict: Verdict
    reason: str
    model: str
    milliseconds: float
    heatmap: NDArray[np.float32] | None = None
    picture: NDArray[np.uint8] | None = None
    volume: str = ""
    note: str = ""
    header: SliceHeader = field(default_factory=SliceHeader)
    affine: NDArray[np.float64] | None = None

    def __repr__(self) -> str:
        where = self.path if self.slice is None else f"{self.path} [{self.slice}]"
        return f"<Prediction {where}: {self.decision.in_words()}>"

    @property
    def decision(self) -> Decision:
        """What was made of the network's outputs: label, probabilities, verdict and reason."""
        return Decision(
            self.label, self.probability, dict(self.probabilities), self.verdict, self.reason
        )

    def to_json(self) -> dict[str, Any]:
        """Return what `tumorscope predict --json` prints for the slice."""
        item = {
            "path": self.path,
            "slice": self.slice,
            **self.decision.to_json(),
            "model": self.model,
            "milliseconds": round(self.milliseconds, 2),
        }
        return {**item, "note": self.note} if self.note else item


@dataclass(frozen=True)
class Failure:
    """A file that could not be read.

    Attributes:
        path: The file.
        error: What is wrong with it.
        header: What can still be told of where its slices belong; None when it is of no series.
    """

    path: str
    error: str
    header: SliceHeader | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return what `tumorscope predict --json` prints in the file's place."""
        return {"path": self.path, "error": self.error}
