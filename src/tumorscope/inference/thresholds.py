"""Says in words from when an answer is confident, and what that promises."""

from collections.abc import Sequence

from tumorscope.inference.decision import plain_name


def thresholds_in_words(confident: Sequence[float], classes: Sequence[str]) -> str:
    """Return from which probability answers are confident, once where it is the same for all.

    >>> classes = ["glioma", "notumor"]
    >>> thresholds_in_words([0.9, 0.9], classes), thresholds_in_words([0.925, 1], classes)
    ('0.9', 'glioma 0.925, no tumour never')
    """
    values = [f"{round(value, 4):g}" if value < 1 else "never" for value in confident]
    if len(set(values)) == 1:
        return values[0]
    pairs = zip(map(plain_name, classes), values, strict=True)
    return ", ".join(f"{name} {value}" for name, value in pairs)


def risk_in_words(risk: float | None) -> str:
    """Return how many answers are expected to be confident and wrong.

    Args:
        risk: The largest expected share of a new patient's slices; None where nothing is promised.
    """
    if risk is None:
        return "not known: too few validation patients"
    return f"at most {risk:.0%} of a new patient's slices, expected"
