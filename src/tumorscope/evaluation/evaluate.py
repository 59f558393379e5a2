"""Evaluates a model on the test part of a protocol: `tumorscope.evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tumorscope.arguments import check_count
from tumorscope.datasets.catalogue import Catalogue
from tumorscope.datasets.locations import DataSource, data_sources
from tumorscope.datasets.sources import read_data
from tumorscope.datasets.splits import Partition, check_fold, folds_of, partition
from tumorscope.errors import ArgumentError, DataError, ModelError
from tumorscope.evaluation.function_predictor import (
    FunctionPredictor,
    callable_function,
    onnx_function,
)
from tumorscope.evaluation.input_spec import InputSpec, read_spec
from tumorscope.evaluation.model_predictor import ModelPredictor
from tumorscope.evaluation.predictions import Predictions
from tumorscope.evaluation.predictions_table import read_predictions
from tumorscope.evaluation.predictor import LEAKED, NOT_TOLD, Predictor, predict_slices, test_name
from tumorscope.evaluation.report import Background, summarise, write_evaluation
from tumorscope.evaluation.scoring import Evaluation, Fact, score_predictions
from tumorscope.inference import Classifier
from tumorscope.progress import Progress, silent


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        evaluation: The metrics.
        predictions: What they were computed from.
        background: What the report tells besides.
    """

    evaluation: Evaluation
    predictions: Predictions
    background: Background = field(default_factory=Background)

    def __str__(self) -> str:
        return "\n".join(self.summary)

    def __repr__(self) -> str:
        return f"<EvaluationResult {self.evaluation.title}: {self.summary[0]}>"

    @property
    def summary(self) -> tuple[str, ...]:
        """The result in a few sentences."""
        return summarise(self.evaluation)

    def to_json(self) -> dict[str, Any]:
        """Return what `evaluation.json` holds."""
        return self.evaluation.to_json()

    def save(self, folder: Path | str) -> Path:
        """Write report, JSON, CSV and plots into a folder.

        Args:
            folder: Made when missing.

        Returns:
            The HTML report.
        """
        return write_evaluation(Path(folder), self.evaluation, self.predictions, **self.background)


def evaluate(
    model: Any,
    *,
    split: str,
    data: Path | str | Sequence[DataSource | Path | str] | None = None,
    fold: int | None = None,
    spec: InputSpec | None = None,
    tta: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> EvaluationResult:
    """Evaluate a model on the test part of a protocol, whoever made it.

    Args:
        model: One of
            a classifier that `tumorscope.load` returned, a model file or a bundled model's name;
            the path of another ONNX classifier, with a TOML file beside it (see `InputSpec`);
            a PyTorch module, or a function from a batch of floats to logits `[N, classes]`;
            the path of a CSV file of predictions;
            a `Predictor`.
        split: A protocol's name, as in `tumorscope evaluate --split`.
        data: A data set, or the folder that holds the public ones; by default what the variable
            TUMORSCOPE_DATA names, else what `tumorscope download` fetched.
        fold: The fold that tests, of a protocol with folds. Left out: the first; of a CSV file: all
            of them, each test image once.
        spec: What a module or a function takes and gives.
        tta: Test-time augmentation of a model file: the mean over three zooms. A classifier is
            loaded with it, or without.
        seed: Of the bootstrap.
        progress: Shows how far the reading is.

    Returns:
        The metrics with intervals, the predictions, and a report to save.

    Raises:
        ArgumentError: `fold`, `seed`, `spec` or `tta` cannot be used.
        DataError: The data, or the CSV file, cannot be used, or the protocol has no folds.
        ModelError: The model cannot be used.

    Examples:
        >>> import tempfile, tumorscope
        >>> from tumorscope.phantoms.drawing import write_phantoms
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     data = write_phantoms(Path(folder), patients_per_class=5, slices_per_patient=2)
        ...     result = tumorscope.evaluate(
        ...         "tumorscope-edge", split="grouped-folds", data=data, fold=1
        ...     )
        >>> len(result.predictions)
        8
    """
    if fold is not None:
        check_count("fold", fold)
    check_fold(split, fold)
    check_count("seed", seed, least=0)
    if spec is not None and not callable(model):
        raise ArgumentError(
            "spec is of a module or a function; beside an ONNX file lies a TOML file (InputSpec)"
        )
    given = [data] if isinstance(data, (str, Path)) else data or []
    table = _existing_table(model)
    if table:
        _refuse_tta(tta)
    predictor = None if table else as_predictor(model, spec=spec, tta=tta)
    catalogue = read_data(data_sources(given, split), progress=progress)
    if table:
        return _evaluate_table(table, catalogue, split, fold, seed)
    assert predictor is not None
    drawn = predictor.fold_seed(split) if isinstance(predictor, ModelPredictor) else 0
    parts = partition(catalogue, split=split, fold=fold or 1, seed=drawn)
    return evaluate_predictor(predictor, parts, catalogue, seed=seed, progress=progress)


def as_predictor(model: Any, *, spec: InputSpec | None = None, tta: bool = False) -> Predictor:
    """Return what evaluation can ask.

    Args:
        model: See `evaluate`; no CSV file.
        spec: What a module or a function takes and gives.
        tta: Test-time augmentation of a model file.

    Raises:
        ArgumentError: A classifier was loaded without `tta`.
        ModelError: It is nothing of the kind.
    """
    if isinstance(model, Classifier):
        if tta and not model.tta:
            raise ArgumentError("tta belongs to the classifier: tumorscope.load(..., tta=True)")
        return ModelPredictor(model)
    if isinstance(model, (str, Path)):
        path = Path(model)
        if (beside := path.with_suffix(".toml")).is_file() and path.suffix == ".onnx":
            _refuse_tta(tta)
            return FunctionPredictor(onnx_function(path), read_spec(beside), path.stem)
        try:
            return ModelPredictor(Classifier.load(model, tta=tta))
        except ModelError as error:
            if path.suffix != ".onnx" or not path.is_file():
                raise
            raise ModelError(
                f"{error}; a classifier that is not tumorscope's needs {beside.name} beside it "
                "(docs/evaluate.md)"
            ) from None
    _refuse_tta(tta)
    if hasattr(model, "leaked"):
        predictor: Predictor = model
        return predictor
    if callable(model):
        title = getattr(model, "__name__", type(model).__name__)
        return FunctionPredictor(callable_function(model), spec or InputSpec(), title)
    raise ModelError(
        f"a {type(model).__name__} cannot be evaluated: give a model, a path or a function"
    )


def evaluate_predictor(
    predictor: Predictor,
    parts: Partition,
    catalogue: Catalogue,
    *,
    known: Catalogue | None = None,
    background: Background | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> EvaluationResult:
    """Evaluate a model on the test part of a partition.

    Args:
        predictor: The model.
        parts: Its test part is predicted.
        catalogue: What it was split from.
        known: That, and what else the model was trained on, as far as it is at hand.
        background: What the report tells besides.
        seed: Of the bootstrap.
        progress: Shows how far the reading is.

    Raises:
        DataError: There is no test part.
        ModelError: The model does not know a class of the test part.
    """
    predictions, localisation, skipped = predict_slices(predictor, parts, progress=progress)
    facts: dict[str, Fact] = {
        "protocol": parts.protocol.name,
        **({"fold": parts.fold} if parts.fold else {}),
        LEAKED: predictor.leaked(parts, known or catalogue),
        **predictor.facts(),
        **_reading(catalogue),
    }
    told: Background = {
        "protocol_text": parts.protocol.explanation,
        "skipped": catalogue.skipped,
        **(background or {}),
    }
    told["skipped"] = (*told["skipped"], *skipped)
    return EvaluationResult(
        evaluation=score_predictions(
            predictions,
            title=f"{predictor.title} on {test_name(parts)}",
            facts=facts,
            slices=parts.test,
            localisation=localisation,
            seed=seed,
        ),
        predictions=predictions,
        background=told,
    )


def _evaluate_table(
    path: Path, catalogue: Catalogue, split: str, fold: int | None, seed: int
) -> EvaluationResult:
    """Evaluate a CSV file of predictions on one fold, or on all of them."""
    numbers = folds_of(catalogue, split) if fold is None else (fold,)
    parts = [partition(catalogue, split=split, fold=number) for number in numbers]
    tested = [item for part in parts for item in part.test]
    predictions = read_predictions(path, tested, folded=bool(parts[0].fold))
    kind = "labels" if predictions.labels_only else "probabilities"
    name = test_name(parts[0]) if len(parts) == 1 else f"{split}, {len(parts)} folds pooled"
    return EvaluationResult(
        evaluation=score_predictions(
            predictions,
            title=f"{path.stem} on {name}",
            facts={
                "protocol": split,
                **({"folds": ", ".join(map(str, numbers))} if parts[0].fold else {}),
                LEAKED: sum(part.leaked for part in parts) if parts[0].train else NOT_TOLD,
                "predictions": f"{path.name}, {kind}",
                "trained on": "nothing of the test part, on trust",
                **_reading(catalogue),
            },
            slices=tested,
            seed=seed,
        ),
        predictions=predictions,
        background={
            "protocol_text": parts[0].protocol.explanation,
            "skipped": catalogue.skipped,
        },
    )


def _reading(catalogue: Catalogue) -> dict[str, Fact]:
    """Return which data it was, and how it was understood where that is not plain."""
    notes = "; ".join(catalogue.notes)
    return {
        **({"how the data was read": notes} if notes else {}),
        "data fingerprint": catalogue.fingerprint(),
    }


def _existing_table(model: Any) -> Path | None:
    """Return the CSV file that is to be evaluated, if it is one."""
    if not isinstance(model, (str, Path)) or Path(model).suffix.lower() != ".csv":
        return None
    if not Path(model).is_file():
        raise DataError(f"{model}: no such file of predictions; check the path")
    return Path(model)


def _refuse_tta(tta: bool) -> None:  # noqa: FBT001
    if tta:
        raise ModelError("test-time augmentation (tta) is of tumorscope's own model files only")
