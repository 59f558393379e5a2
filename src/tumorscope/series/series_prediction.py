"""The answers to many slices come in, one answer a patient (series, volume or folder) goes out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tumorscope.inference.decision import NO_TUMOUR, Decision, decide, unsupported
from tumorscope.inference.results import Failure, Prediction, Verdict

NEIGHBOURS: Final = 3
"""How many neighbouring slices decide: one alone may be noise, and few show a small tumour."""


@dataclass(frozen=True, kw_only=True)
class SeriesPrediction:
    """A model's answer to all slices of a patient.

    Attributes:
        path: The volume's file, or the folder that the slices stand in.
        series: What names the DICOM series; else empty.
        label: The most probable class; None when no slice could be judged.
        probability: Its probability; None when no slice could be judged.
        probabilities: The probability of each class; empty when no slice could be judged.
        verdict: `confident`, `uncertain` or `unsupported`.
        reason: Why the verdict is not `confident`; else empty.
        model: Name and version of the model.
        milliseconds: What the network took for all slices.
        slices: How many slices were judged.
        decided_by: Path and number of the slices that decided.
        answers: The answers to all slices, in order, those that were not judged among them.
    """

    path: str
    series: str
    label: str | None
    probability: float | None
    probabilities: dict[str, float]
    verdict: Verdict
    reason: str
    model: str
    milliseconds: float
    slices: int
    decided_by: tuple[tuple[str, int | None], ...]
    answers: tuple[Prediction, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what `tumorscope predict --series --json` prints."""
        return {
            "path": self.path,
            "series": self.series or None,
            "slices": self.slices,
            **Decision(
                self.label, self.probability, self.probabilities, self.verdict, self.reason
            ).to_json(),
            "model": self.model,
            "milliseconds": round(self.milliseconds, 2),
            "decided_by": [{"path": path, "slice": number} for path, number in self.decided_by],
        }


def group_slices(
    answers: Iterable[Prediction | Failure],
) -> list[list[Prediction] | Failure]:
    """Put together the slices that belong together.

    These are the slices of one file, or, of files with a single slice, those of one folder and one
    DICOM series.

    Args:
        answers: The answers to the slices, in their order along the body.

    Returns:
        The groups and the failures, in the order in which each is met first.
    """
    groups: dict[tuple[str, str], list[Prediction]] = {}
    order: list[list[Prediction] | Failure] = []
    for answer in answers:
        if isinstance(answer, Failure):
            order.append(answer)
            continue
        key = (_place(answer), answer.series)
        if key not in groups:
            groups[key] = []
            order.append(groups[key])
        groups[key].append(answer)
    return order


def sum_up(
    answers: Iterable[Prediction | Failure], *, confident: float
) -> list[SeriesPrediction | Failure]:
    """Give one answer for all slices that belong together (see `group_slices`).

    Of all runs of three neighbouring slices (as they come in, without those that cannot be judged)
    the one with the highest mean probability of any tumour decides: its mean probabilities are the
    patient's. So a tumour on few slices counts, and a single slice that stands alone counts for a
    third.

    Args:
        answers: The answers to the slices, in their order along the body.
        confident: The probability from which an answer is confident.

    Returns:
        An answer a patient and the failures, in the order in which each is met first.
    """
    return [
        item if isinstance(item, Failure) else predict_series(item, confident=confident)
        for item in group_slices(answers)
    ]


def _place(answer: Prediction) -> str:
    """Return the volume's file, or the folder of a file with a single slice."""
    several = answer.slice is not None or answer.volume
    return answer.path if several else str(Path(answer.path).parent)


def predict_series(slices: Sequence[Prediction], *, confident: float) -> SeriesPrediction:
    """Give one answer for a group of slices, as `sum_up` does.

    Args:
        slices: One of the groups of `group_slices`.
        confident: The probability from which an answer is confident.
    """
    path, series = _place(slices[0]), slices[0].series
    judged = [item for item in slices if item.label is not None]
    if not judged:
        reason, _ = Counter(item.reason for item in slices).most_common(1)[0]
        return SeriesPrediction(
            path=path,
            series=series,
            **unsupported(reason)._asdict(),
            model=slices[0].model,
            milliseconds=0.0,
            slices=0,
            decided_by=(),
            answers=tuple(slices),
        )
    classes = tuple(judged[0].probabilities)
    table = np.array([[item.probabilities[name] for name in classes] for item in judged])
    run = min(NEIGHBOURS, len(judged))
    means = np.lib.stride_tricks.sliding_window_view(table, run, axis=0).mean(axis=-1)
    # (A model that knows no healthy brains is asked where it is surest.)
    suspicion = 1 - means[:, classes.index(NO_TUMOUR)] if NO_TUMOUR in classes else means.max(1)
    start = int(np.argmax(suspicion))
    decision = decide(means[start].tolist(), classes, confident=confident)
    return SeriesPrediction(
        path=path,
        series=series,
        **decision._asdict(),
        model=judged[0].model,
        milliseconds=sum(item.milliseconds for item in judged),
        slices=len(judged),
        decided_by=tuple((item.path, item.slice) for item in judged[start : start + run]),
        answers=tuple(slices),
    )
