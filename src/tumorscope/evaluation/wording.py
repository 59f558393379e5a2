"""Writes shares and intervals for people."""

from tumorscope.evaluation.intervals import Interval


def percent(share: float) -> str:
    """Return a share in per cent, with enough digits that only all is 100 and only none is 0.

    >>> percent(0.96873), percent(0.99998), percent(1.0)
    ('96.9 %', '99.998 %', '100 %')
    """
    return f"{_points(share)} %"


def percent_interval(interval: Interval) -> str:
    """Return an interval of shares in per cent.

    >>> percent_interval((0.958, 0.97911))
    '95.8 to 97.9'
    """
    return " to ".join(_points(share) for share in interval)


def decimal(value: float) -> str:
    """Return a number with four digits after the point; only 1 itself is written as 1.

    >>> decimal(0.98765), decimal(0.99998), decimal(1.0)
    ('0.9877', '> 0.9999', '1.0000')
    """
    return "> 0.9999" if 0.99995 <= value < 1 else f"{value:.4f}"


def _points(share: float) -> str:
    if share in (0, 1):
        return f"{100 * share:.0f}"
    for digits in (1, 2, 3):
        text = f"{100 * share:.{digits}f}"
        if 0 < float(text) < 100:
            break
    return text
