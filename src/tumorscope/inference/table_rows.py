"""Answers as rows of a table: the columns of `predict --csv` and of `batch`."""

from collections.abc import Sequence
from typing import Any

from tumorscope.inference.results import Failure, Prediction
from tumorscope.inference.series_prediction import SeriesPrediction


def columns(classes: Sequence[str], *, series: bool) -> tuple[str, ...]:
    """Return the names of the columns.

    Args:
        classes: The model's classes.
        series: Whether a row is a series, not a slice.
    """
    return (
        *(("path", "series", "slices") if series else ("path", "slice")),
        *("label", "probability"),
        *(f"probability_{name}" for name in classes),
        *("verdict", "reason", "model", "milliseconds"),
        *(("decided_by",) if series else ()),
        *("note", "error"),
    )


def row(answer: Prediction | SeriesPrediction | Failure) -> dict[str, Any]:
    """Return the cells of an answer by column; what an answer does not have is left out."""
    cells = answer.to_json()
    for name, probability in (cells.pop("probabilities", None) or {}).items():
        cells[f"probability_{name}"] = probability
    if "decided_by" in cells:
        cells["decided_by"] = "; ".join(
            place_in_words(place["path"], place["slice"]) for place in cells["decided_by"]
        )
    return cells


def place_in_words(path: str, number: int | None) -> str:
    """Return a file, or a slice of a file, in words."""
    return path if number is None else f"{path} [{number}]"
