"""Metrics with intervals, plots and a report of any model (no torch)."""

from tumorscope.evaluation.evaluate import EvaluationResult, evaluate
from tumorscope.evaluation.input_spec import InputSpec
from tumorscope.evaluation.localisation import Localisation, localise
from tumorscope.evaluation.predictions import Predictions
from tumorscope.evaluation.predictor import Answers, Predictor
from tumorscope.evaluation.report import summarise, write_evaluation, write_report
from tumorscope.evaluation.scoring import Evaluation, score_predictions

__all__ = [
    "Answers",
    "Evaluation",
    "EvaluationResult",
    "InputSpec",
    "Localisation",
    "Predictions",
    "Predictor",
    "evaluate",
    "localise",
    "score_predictions",
    "summarise",
    "write_evaluation",
    "write_report",
]
