"""Predictions come in; metrics with intervals, pictures and a report go out (no torch)."""

from tumorscope.evaluation.evaluate import Evaluation, evaluate
from tumorscope.evaluation.localisation import Localisation, localise
from tumorscope.evaluation.predictions import Predictions
from tumorscope.evaluation.report import write_evaluation, write_report

__all__ = [
    "Evaluation",
    "Localisation",
    "Predictions",
    "evaluate",
    "localise",
    "write_evaluation",
    "write_report",
]
