"""Evaluates a training run, and the pooled folds of a cross-validation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tumorscope.datasets.catalogue import Catalogue, Skipped, slice_name
from tumorscope.datasets.splits import Partition, protocol_named
from tumorscope.evaluation import EvaluationResult, Predictions, score_predictions
from tumorscope.evaluation.evaluate import evaluate_predictor
from tumorscope.evaluation.localisation import Localisation, pool_localisations
from tumorscope.evaluation.predictions import pool
from tumorscope.evaluation.predictor import LEAKED, Answers
from tumorscope.evaluation.report import Background
from tumorscope.evaluation.scoring import Fact
from tumorscope.images import prepare
from tumorscope.inference.thresholds import risk_in_words, thresholds_in_words
from tumorscope.progress import Progress, silent
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import load_weights


class RunPredictor:
    """A run's network at work.

    Args:
        run: A finished run.
        tta: Test-time augmentation: the mean over three zooms.

    Raises:
        ModelError: The run has no weights yet.
    """

    def __init__(self, run: RunFolder, *, tta: bool = False) -> None:
        self._run = run
        self._tta = tta
        self._trained = load_weights(run.weights_file)

    @property
    def title(self) -> str:
        """The folder's name."""
        return self._run.path.resolve().name

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the probabilities."""
        return self._trained.description.classes

    @property
    def input_size(self) -> int:
        """Side of the input in pixels."""
        return self._trained.description.input_size

    def prepare(self, grey: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Turn a grey slice into an input."""
        return prepare(grey, size)

    def predict(self, inputs: NDArray[np.uint8], *, heatmaps: bool = False) -> Answers:
        """Answer inputs `[N, S, S]`."""
        probabilities = self._trained.probabilities(inputs, tta=self._tta)
        predicted = probabilities.argmax(axis=1)
        return Answers(
            probabilities=probabilities,
            verdicts=self._trained.verdicts(inputs, probabilities),
            heatmaps=self._trained.heatmaps(inputs, predicted) if heatmaps else None,
        )

    def facts(self) -> Mapping[str, Fact]:
        """Return what the run says about itself."""
        data, description = self._run.data(), self._trained.description
        return {
            "seed": self._run.recipe().training.seed,
            "temperature": round(description.temperature, 4),
            "confident from a probability of": thresholds_in_words(
                description.confident, description.classes
            ),
            "confident and wrong": risk_in_words(description.risk),
            "training images": sum(data["counts"]["train"].values()),
            "validation images": sum(data["counts"]["validation"].values()),
            "left out for suspect labels": data["left_out_for_doubted_labels"],
            "left out for patients in the test part": data["left_out_for_patients_in_test"],
            **({"test-time augmentation": "mean of three zooms"} if self._tta else {}),
        }

    def leaked(self, partition: Partition, catalogue: Catalogue) -> Fact:
        """Return how many test slices are of a group that the run was trained on, or in words."""
        learned = self._run.learned()
        found = [item for item in catalogue.slices if (item.source, item.name) in learned]
        if not found:
            return "not known: the training data is not at hand"
        groups = {item.group for item in found}
        count = sum(item.group in groups for item in partition.test)
        if len(found) < len(learned):
            return (
                f"at least {count:,}: of {len(learned):,} slices that were learned from "
                f"{len(found):,} are at hand"
            )
        return count


def evaluate_run(
    run: RunFolder,
    partition: Partition,
    catalogue: Catalogue,
    *,
    known: Catalogue | None = None,
    tta: bool = False,
    progress: Progress = silent,
) -> EvaluationResult:
    """Evaluate a run's weights on a test part.

    Args:
        run: A finished run.
        partition: Its test part is predicted.
        catalogue: What it was split from.
        known: That, and the slices that the run was trained on, as far as they are at hand; groups
            in it tell which test slices are no surprise to the network.
        tta: Test-time augmentation: the mean over three zooms.
        progress: Shows how far the reading is.

    Raises:
        ModelError: The run has no weights yet, or does not know a class of the test part.
        DataError: There is no test part.
    """
    background: Background = {
        "history": run.history(),
        "recipe_text": run.recipe_file.read_text(encoding="utf-8"),
        "environment": run.environment(),
    }
    data = run.data()
    own = (partition.protocol.name, partition.fold, catalogue.fingerprint())
    if own == (data["split"], data["fold"], data["fingerprint"]):
        background["skipped"] = _skipped(run)  # (files that training could not read, too)
    return evaluate_predictor(
        RunPredictor(run, tta=tta),
        partition,
        catalogue,
        known=known,
        background=background,
        seed=run.recipe().training.seed,
        progress=progress,
    )


def evaluate_pooled(
    runs: Sequence[RunFolder], catalogue: Catalogue, folder: Path
) -> EvaluationResult:
    """Evaluate the pooled predictions of several folds as one test.

    Args:
        runs: Finished and evaluated runs, one a fold.
        catalogue: Holds the test slices, for the plot of mistakes.
        folder: What the cross-validation is called after.
    """
    pooled = pool(Predictions.load(run.path / "predictions.csv") for run in runs)
    paths = {slice_name(item): item.path for item in catalogue.slices}
    predictions = replace(pooled, paths=tuple(paths[name] for name in pooled.names))
    tables = [run.path / "localisation.csv" for run in runs]
    localisation = None
    if all(table.is_file() for table in tables):
        localisation = pool_localisations(Localisation.load(table) for table in tables)
    first, seed = runs[0].data(), runs[0].recipe().training.seed
    protocol = protocol_named(first["split"])
    evaluation = score_predictions(
        predictions,
        title=f"{folder.resolve().name}: {protocol.name}, {len(runs)} folds pooled",
        facts={
            "protocol": protocol.name,
            "folds": len(runs),
            "seed": seed,
            LEAKED: sum(run.data()["test_slices_whose_group_was_learned"] for run in runs),
            "data fingerprint": first["fingerprint"],
        },
        slices=catalogue.slices,
        localisation=localisation,
        seed=seed,
    )
    background: Background = {
        "protocol_text": protocol.explanation,
        "recipe_text": runs[0].recipe_file.read_text(encoding="utf-8"),
        "environment": runs[0].environment(),
        # (What a fold could not read to test, others could not read to learn from.)
        "skipped": tuple(dict.fromkeys(item for run in runs for item in _skipped(run))),
    }
    return EvaluationResult(evaluation=evaluation, predictions=predictions, background=background)


def _skipped(run: RunFolder) -> tuple[Skipped, ...]:
    return tuple(Skipped(item["name"], item["reason"]) for item in run.data()["skipped"])
