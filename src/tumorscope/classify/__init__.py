"""The model at work: files or arrays in, probabilities, verdicts and heatmaps out (no torch)."""

from tumorscope.classify.classifier import Classifier, InputError
from tumorscope.classify.model_file import DEFAULT_MODEL, PROVIDERS, ModelFacts, bundled_models
from tumorscope.classify.results import Failure, Prediction, Verdict

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
