"""Probabilities come in, the verdict and its reason in plain words go out.

Every deployment bundle carries this file, so it keeps to Python 3.6 and its standard library.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tumorscope.inference.results import Verdict

NO_TUMOUR = "notumor"

OUT_OF_DISTRIBUTION = "unlike the brain MRI slices that the model learned from"
"""Why a slice that is stranger than the model's limit is unsupported."""


def plain_name(label: str) -> str:
    """Return a class's name as people write it."""
    return "no tumour" if label == NO_TUMOUR else label


def decide(probabilities: "Mapping[str, float]", confident: float) -> "tuple[Verdict, str]":
    """Decide whether an answer can stand alone.

    Args:
        probabilities: The probability of each class, two or more.
        confident: What the largest must reach.

    Returns:
        `confident` and no reason, or `uncertain` and the classes between which the model wavers.

    >>> decide({"glioma": 0.52, "meningioma": 0.41, "notumor": 0.07}, confident=0.9)
    ('uncertain', 'between glioma (52 %) and meningioma (41 %)')
    """
    first, second = sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:2]
    if probabilities[first] >= confident:
        return "confident", ""
    between = " and ".join(
        f"{plain_name(label)} ({100 * probabilities[label]:.0f} %)" for label in (first, second)
    )
    return "uncertain", f"between {between}"
