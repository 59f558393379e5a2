"""Trains, evaluates, explains and deploys a CNN that classifies brain MRI; research use only.

`load` opens a model, whose `predict` and `predict_series` classify; `evaluate` measures a model on
a data set, and `audit` looks for faults of a data set. They are imported when they are used, so
that `import tumorscope` takes no time. (Deployment bundles carry this file to Python 3.6.)
"""

__version__ = "0.2.0"

RESEARCH_USE_ONLY = "Research use only: not a medical device, not for diagnosis."
"""Stands in every output that a person reads."""

__all__ = ["RESEARCH_USE_ONLY", "__version__", "audit", "evaluate", "load"]

TYPE_CHECKING = False  # (typing's own would cost a tenth of the time that an import may take.)
if TYPE_CHECKING:
    from tumorscope.audit.audit import audit as audit
    from tumorscope.evaluation.evaluate import evaluate as evaluate
    from tumorscope.inference import Classifier

    load = Classifier.load


def __getattr__(name: str) -> object:
    """Import what is asked for (PEP 562)."""
    import importlib  # noqa: PLC0415

    if name == "load":
        return importlib.import_module("tumorscope.inference").Classifier.load
    if name not in ("audit", "evaluate"):
        raise AttributeError(f"module 'tumorscope' has no attribute '{name}'")
    try:
        if name == "evaluate":
            return importlib.import_module("tumorscope.evaluation").evaluate
        importlib.import_module("tumorscope.audit.audit")
        return importlib.import_module("tumorscope.audit")  # (It may be called.)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("tumorscope"):
            raise
        from tumorscope.errors import MissingExtraError  # noqa: PLC0415

        raise MissingExtraError("evaluate", error.name) from None


def __dir__() -> "list[str]":
    return sorted(__all__)
