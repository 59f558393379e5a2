"""Decides from a network's outputs: the label, its probability, the verdict and the reason.

The command, the service, evaluation and the boards all decide here; `classify.cpp` does the same in
C++ and is held to it by `tests/inference/decisions.json`. Every deployment bundle carries this
file, so it keeps to Python 3.6 and its standard library.
"""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Dict, Optional

    from tumorscope.inference.results import Verdict

NO_TUMOUR = "notumor"

OUT_OF_DISTRIBUTION = "unlike the brain MRI slices that the model learned from"
"""Why a slice whose OOD score is above the model's threshold is unsupported."""

NOT_FINITE = "the network's outputs are not numbers (NaN or infinity)"
"""Why a slice is unsupported for which the network computed nothing of use."""


_RIVAL = 0.1
"""From this probability on the second class is named beside the first."""


class Decision(NamedTuple):
    """What is made of a network's outputs.

    Attributes:
        label: The most probable class; None when the slice is unsupported.
        probability: Its probability; None when the slice is unsupported.
        probabilities: The probability of each class; empty when the slice is unsupported.
        verdict: `confident`, `uncertain` (a person should look) or `unsupported`.
        reason: Why the verdict is not `confident`, in plain words; else empty.
    """

    label: "Optional[str]"
    probability: "Optional[float]"
    probabilities: "Dict[str, float]"
    verdict: "Verdict"
    reason: str

    def in_words(self) -> str:
        """Return it in a line, as in `glioma 52.0 %, uncertain, between ...`."""
        label = ""
        if self.label is not None and self.probability is not None:
            label = "{} {:.1f} %".format(self.label, 100 * self.probability)
        return ", ".join(part for part in (label, self.verdict, self.reason) if part)

    def to_json(self) -> "Dict[str, Any]":
        """Return it as every answer in JSON shows it; there is never a NaN in it."""
        rounded = {name: round(value, 6) for name, value in self.probabilities.items()}
        return {
            "label": self.label,
            "probability": None if self.probability is None else round(self.probability, 6),
            "probabilities": rounded or None,
            "verdict": self.verdict,
            "reason": self.reason,
        }


def plain_name(label: str) -> str:
    """Return a class's name as people write it."""
    return "no tumour" if label == NO_TUMOUR else label


def unsupported(reason: str) -> Decision:
    """Return the decision about a slice that the model cannot classify."""
    return Decision(None, None, {}, "unsupported", reason)


def decide(
    probabilities: "Iterable[float]",
    classes: "Sequence[str]",
    *,
    confident: "Sequence[float]",
    ood_score: "Optional[float]" = None,
    ood_threshold: "Optional[float]" = None,
) -> Decision:
    """Decide what a network's outputs say.

    Args:
        probabilities: The probability of each class, two or more.
        classes: The classes' names, in the same order.
        confident: From which probability an answer is confident, class by class.
        ood_score: How unlike the training pictures the slice is; None where there is no score.
        ood_threshold: A slice with a larger score is unsupported; None where there is no limit.

    Returns:
        The decision. Of several classes with one probability the first is the label.

    >>> decide([0.52, 0.41, 0.07], ["glioma", "meningioma", "notumor"], confident=[0.9] * 3).reason
    'between glioma (52 %) and meningioma (41 %)'
    >>> decide([0.89, 0.11], ["glioma", "notumor"], confident=[0.95, 0.9]).reason
    'between glioma (89 %) and no tumour (11 %)'
    >>> decide([0.93, 0.07], ["glioma", "notumor"], confident=[0.95, 0.9]).reason
    'glioma is confident from 95.0 %'
    >>> decide([0.99, 0.01], "ab", confident=[0.9, 0.9], ood_score=float("nan")).verdict
    'unsupported'
    """
    values = [float(value) for value in probabilities]
    scores = [] if ood_score is None else [float(ood_score)]
    if not all(math.isfinite(value) for value in values + scores):
        return unsupported(NOT_FINITE)
    if ood_threshold is not None and any(score > ood_threshold for score in scores):
        return unsupported(OUT_OF_DISTRIBUTION)
    first, second = sorted(range(len(values)), key=lambda index: -values[index])[:2]
    sure = values[first] >= confident[first]
    return Decision(
        label=classes[first],
        probability=values[first],
        probabilities=dict(zip(classes, values)),
        verdict="confident" if sure else "uncertain",
        reason="" if sure else _why_uncertain(values, classes, confident[first], first, second),
    )


def _why_uncertain(
    values: "Sequence[float]", classes: "Sequence[str]", limit: float, first: int, second: int
) -> str:
    """Return between which classes the answer is, or what the only one lacks."""
    if values[second] < _RIVAL:
        words = "{} is confident from {:.1f} %" if limit < 1 else "{} is never called confident"
        return words.format(plain_name(classes[first]), 100 * limit)
    return "between " + " and ".join(
        "{} ({:.0f} %)".format(plain_name(classes[index]), 100 * values[index])
        for index in (first, second)
    )
