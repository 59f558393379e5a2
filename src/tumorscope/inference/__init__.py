"""Classifies slices with a model file: probabilities, verdicts and heatmaps (no torch)."""

from tumorscope.inference.arrays import InputError
from tumorscope.inference.classifier import Classifier
from tumorscope.inference.model_file import DEFAULT_MODEL, ModelFacts, bundled_models
from tumorscope.inference.results import Failure, Prediction, Verdict
from tumorscope.inference.runtimes import PROVIDERS

__all__ = [
    "DEFAULT_MODEL",
    "PROVIDERS",
    "Classifier",
    "Failure",
    "InputError",
    "ModelFacts",
    "Prediction",
    "Verdict",
    "bundled_models",
]
