"""Answers a whole series from the answers to its slices."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tumorscope.images.slice_header import SliceHeader
from tumorscope.inference.decision import (
    NO_TUMOUR,
    OUT_OF_DISTRIBUTION,
    Decision,
    decide,
    unsupported,
)
from tumorscope.inference.results import Failure, Prediction, Verdict
from tumorscope.series.completeness import missing_slices
from tumorscope.series.grouping import Series, Stack, group_series, may_be_beside
from tumorscope.series.rule import SHARE, SeriesRule, answer_stacks


@dataclass(frozen=True, kw_only=True, repr=False)
class SeriesPrediction:
    """A model's answer to all slices of a series, a volume or a folder.

    Attributes:
        path: The file, or the folder in which all files of the series lie.
        series: What names the DICOM series: its UID, else its number; else empty.
        label: The most probable class; None when no slice could be classified.
        probability: Its probability; None when no slice could be classified.
        probabilities: The probability of each class; empty when no slice could be classified.
        verdict: `confident`, `uncertain` or `unsupported`.
        reason: Why the verdict is not `confident`; else empty.
        model: Name and version of the model.
        milliseconds: What the network took for all slices.
        slices: How many slices were classified.
        decided_by: Path and number of the slices that decided.
        note: What a reader must know of the series: several volumes or planes, copies and objects
            without an image left out.
        answers: The answers to all slices, volume by volume along the body, those that were not
            classified among them; copies are left out.
        volume: Those of them that are of the volume that decided; none when no slice could be
            classified.
        missing: What the series seems to lack, in words; then the answer is never confident.
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
    note: str
    answers: tuple[Prediction, ...]
    volume: tuple[Prediction, ...] = ()
    missing: tuple[str, ...] = ()

    def __repr__(self) -> str:
        decision = Decision(
            self.label, self.probability, self.probabilities, self.verdict, self.reason
        )
        return f"<SeriesPrediction {self.path}: {decision.in_words()}, {self.slices} slices>"

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
            "note": self.note,
        }

    def lacking(self, *missing: str) -> Self:
        """Return the answer to the same series when it is known to lack something (more).

        Args:
            missing: What it lacks, in words; empty words are passed over.
        """
        parts = tuple(dict.fromkeys(filter(None, (*self.missing, *missing))))
        if parts == self.missing:
            return self
        reasons = self.reason.removesuffix(_incomplete(self.missing)).removesuffix("; ")
        return replace(
            self,
            verdict="unsupported" if self.label is None else "uncertain",
            reason="; ".join(filter(None, (reasons, _incomplete(parts)))),
            missing=parts,
        )


def predict_series(
    answers: Iterable[Prediction | Failure],
    *,
    confident: Sequence[float],
    rule: SeriesRule | None = None,
    volume: int | None = None,
) -> list[SeriesPrediction | Failure]:
    """Give one answer for all slices that belong together.

    `group_series` says which these are and in what order, `answer_stacks` what they say together.
    DICOM objects without an image are no series where their study has one: its note names them.
    The answer to a series that lacks slices, or of which some cannot be read, is not confident; nor
    is that of a stack of which more slices are out of distribution than were classified.

    Args:
        answers: The answers to the slices, in any order.
        confident: From which probability an answer is confident, class by class, if `rule` has
            no such number, or fewer slices than `rule` is for decide.
        rule: The model's calibration for series; None: it has none.
        volume: Which volume of series that hold several, from 0; None lets the most suspicious
            one decide.

    Returns:
        An answer a series and the failures, in the order in which each is met first.
    """
    found = list(answers)
    slices = {at: item for at, item in enumerate(found) if isinstance(item, Prediction)}
    studies = {item.header.study for item in slices.values() if not item.header.imageless}
    images = {
        at: item
        for at, item in slices.items()
        if not item.header.imageless or item.header.study not in (studies and {"", *studies})
    }
    positions, predictions = list(images), list(images.values())
    result: dict[int, SeriesPrediction | Failure] = {
        at: item for at, item in enumerate(found) if isinstance(item, Failure)
    }
    unreadable = [item.header for item in found if isinstance(item, Failure) and item.header]
    found_series = group_series([prediction.header for prediction in predictions])
    firsts = [min((*series.slices, *series.copies)) for series in found_series]
    others = _objects_beside(
        [item for at, item in slices.items() if at not in images],
        [predictions[first].header for first in firsts],
    )
    for series, first, beside in zip(found_series, firsts, others, strict=True):
        answer = _predict(series, predictions, confident, rule or SeriesRule(), volume)
        note = "; ".join(filter(None, (answer.note, beside)))
        headers = [predictions[number].header for number in (*series.slices, *series.copies)]
        answer = answer.lacking(*_missing(headers, unreadable))
        result[positions[first]] = replace(answer, note=note)
    return [result[at] for at in sorted(result)]


def _missing(members: Sequence[SliceHeader], unreadable: Sequence[SliceHeader]) -> list[str]:
    """Say what a series lacks: slices that nobody gave, and slices that cannot be read."""
    unread = [header for header in unreadable if may_be_beside(header, members)]
    # (Of a file with many slices only those with enough head are among the members.)
    said = [missing_slices([header for header in (*members, *unread) if header.frame is None])]
    if unread:
        said.append(f"{len(unread)} image{'' if len(unread) == 1 else 's'} cannot be read")
    return said


def _incomplete(missing: Sequence[str]) -> str:
    return f"the series is incomplete ({'; '.join(missing)})" if missing else ""


def _predict(
    series: Series,
    predictions: Sequence[Prediction],
    confident: Sequence[float],
    rule: SeriesRule,
    volume: int | None,
) -> SeriesPrediction:
    """Answer one series."""
    members = [predictions[number] for number in series.slices]
    nothing = SeriesPrediction(
        path=_path_of(members),
        series=series.name,
        **unsupported("")._asdict(),
        model=members[0].model,
        milliseconds=0.0,
        slices=0,
        decided_by=(),
        note="",
        answers=tuple(members),
    )
    stacks, count = series.stacks, len(series.stacks)
    if volume is not None and not members[0].header.is_volume:
        if volume >= count:
            held = f"{count} volumes (0 to {count - 1})" if count > 1 else "one volume, number 0"
            return replace(nothing, reason=f"the series holds {held}, not a volume {volume}")
        stacks = stacks[volume : volume + 1]
        members = [predictions[number] for number in stacks[0].slices]
        nothing = replace(nothing, answers=tuple(members))
    judged = {
        stack: [predictions[number] for number in stack.slices if predictions[number].label]
        for stack in stacks
    }
    asked = [stack for stack in stacks if judged[stack]]
    if not asked:
        reason, _ = Counter(item.reason for item in members).most_common(1)[0]
        return replace(nothing, reason=reason, note=_note(series, members, ""))
    classes = tuple(judged[asked[0]][0].probabilities)
    which, answer = answer_stacks(
        [_probabilities(judged[stack], classes) for stack in asked],
        classes.index(NO_TUMOUR) if NO_TUMOUR in classes else None,
        rule,
    )
    stack = asked[which]
    # (Fewer slices are no whole scan, for which the series' own threshold was fitted.)
    is_whole = len(judged[stack]) >= SHARE
    limits = [rule.confident] * len(classes) if rule.confident and is_whole else confident
    decision = decide(answer.probabilities, classes, confident=limits)
    reasons = [predictions[number].reason for number in stack.slices]
    strange = reasons.count(OUT_OF_DISTRIBUTION)
    if strange > len(judged[stack]):
        unlike = f"{strange} of {len(reasons)} slices are {OUT_OF_DISTRIBUTION}"
        reason = "; ".join(filter(None, (decision.reason, unlike)))
        decision = decision._replace(verdict="uncertain", reason=reason)
    how = "decided" if volume is None else "was chosen"
    deciding = [judged[stack][index] for index in answer.deciding]
    used = [item for each in asked for item in judged[each]]
    return replace(
        nothing,
        **decision._asdict(),
        milliseconds=sum(item.milliseconds for item in used),
        slices=len(used),
        decided_by=tuple((item.path, item.slice) for item in deciding),
        note=_note(series, members, f"{_title(series, stack)} {how}"),
        volume=tuple(predictions[number] for number in stack.slices),
    )


def _objects_beside(objects: Sequence[Prediction], series: Sequence[SliceHeader]) -> list[str]:
    """Say for each series which objects without an image its study holds.

    Args:
        objects: The answers to the objects; those that name no study go to the first series.
        series: The header of a slice of each series.
    """
    kinds: list[list[str]] = [[] for _ in series]
    of_images = [at for at, header in enumerate(series) if not header.imageless]
    for item in objects:
        study = item.header.study
        for number in [at for at in of_images if series[at].study == study] or of_images[:1]:
            kinds[number].append(item.header.imageless)
    return [
        f"{len(found)} DICOM object{'' if len(found) == 1 else 's'} without an image left out "
        f"({', '.join(sorted(set(found)))})"
        if found
        else ""
        for found in kinds
    ]


def _probabilities(judged: Sequence[Prediction], classes: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the probability of each class on slices that were judged, `[N, classes]`."""
    return np.array([[item.probabilities[name] for name in classes] for item in judged])


def _path_of(members: Sequence[Prediction]) -> str:
    """Return the volume's file, or the folder in which all files lie."""
    paths = sorted({item.path for item in members})
    header = members[0].header
    if len(paths) == 1 and (header.is_volume or header.frame is not None):
        return paths[0]
    folders = [str(Path(path).parent) for path in paths]
    try:
        return os.path.commonpath(folders) or "."
    except ValueError:  # (Some are absolute and some are not.)
        return folders[0]


def _title(series: Series, stack: Stack) -> str:
    return f"number {series.stacks.index(stack)} ({stack.title})"


def _note(series: Series, members: Sequence[Prediction], which: str) -> str:
    """Say what stands at one place several times, and what else the files hold."""
    parts = list(dict.fromkeys(item.note for item in members if item.note))
    if len(series.stacks) > 1:
        names = dict.fromkeys(name for stack in series.stacks for name, _ in stack.traits)
        apart = f"{len(series.stacks)} volumes, told apart by {' and '.join(names)}"
        parts.append("; ".join(filter(None, (f"the series holds {apart}", which))))
    if series.copies:
        copies = len(series.copies)
        parts.append(f"{copies} {'copy' if copies == 1 else 'copies'} of slices left out")
    return "; ".join(parts)
