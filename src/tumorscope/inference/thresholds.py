"""Says in words from when an answer is confident, and what that promises."""

from collections.abc import Sequence


def thresholds_in_words(confident: Sequence[float]) -> str:
    """Return from which probability answers are confident, once where it is the same for all.

    >>> thresholds_in_words([0.9, 0.9]), thresholds_in_words([0.925, 0.97])
    ('0.9', '0.925, 0.97 (class by class)')
    """
    values = [f"{round(value, 4):g}" for value in confident]
    return values[0] if len(set(values)) == 1 else ", ".join(values) + " (class by class)"


def risk_in_words(risk: float | None) -> str:
    """Return how many answers are expected to be confident and wrong.

    Args:
        risk: The largest expected share of a new patient's slices; None where nothing is promised.
    """
    if risk is None:
        return "not known: too few validation patients"
    return f"at most {risk:.0%} of a new patient's slices, expected"
