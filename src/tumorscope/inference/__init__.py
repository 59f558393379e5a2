"""The model at work: files or arrays in, probabilities, verdicts and heatmaps out (no torch)."""

from tumorscope.inference.classifier import Classifier, InputError
from tumorscope.inference.model_file import DEFAULT_MODEL, PROVIDERS, ModelFacts, bundled_models
from tumorscope.inference.results import Failure, Prediction, Verdict

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
