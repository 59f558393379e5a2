"""A run and the test part of a protocol come in; figures, pictures and a report go out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tumorscope.datasets.catalogue import Catalogue, Skipped, slice_name
from tumorscope.datasets.inputs import Inputs, read_inputs
from tumorscope.datasets.splits import PROTOCOLS, Partition
from tumorscope.errors import DataError, ModelError
from tumorscope.evaluation import Evaluation, Predictions, evaluate, write_evaluation
from tumorscope.evaluation.localisation import Localisation, localise, pool_localisations
from tumorscope.evaluation.predictions import pool
from tumorscope.progress import Progress, silent
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import TrainedNetwork, load_weights


@dataclass(frozen=True, kw_only=True)
class RunEvaluation:
    """What came out.

    Attributes:
        evaluation: The figures.
        predictions: What they were made from.
        report: The page that a person reads.
    """

    evaluation: Evaluation
    predictions: Predictions
    report: Path


def evaluate_run(
    run: RunFolder,
    partition: Partition,
    catalogue: Catalogue,
    folder: Path,
    *,
    tta: bool = False,
    progress: Progress = silent,
) -> RunEvaluation:
    """Judge a run's best weights on a test part.

    Args:
        run: A finished run.
        partition: Its test part is judged.
        catalogue: Holds the slices that the run learned from, as far as they are at hand; groups
            in it tell which test slices are no surprise to the network.
        folder: Where the files of `write_evaluation` go.
        tta: Test-time augmentation: whether each slice is judged at three zooms.
        progress: Shows how far the reading is.

    Returns:
        The figures, the predictions and the report.

    Raises:
        ModelError: The run has no weights yet, or does not know a class of the test part.
        DataError: There is no test part.
    """
    if not partition.test:
        raise DataError(f"{partition.protocol.name} has no test part: there is nothing to judge on")
    trained = load_weights(run.weights_file)
    classes = trained.description.classes
    unknown = {item.label for item in partition.test} - set(classes)
    if unknown:
        raise ModelError(f"{run.path}: this network was not trained for '{min(unknown)}'")
    inputs = read_inputs(
        partition.test,
        size=trained.description.input_size,
        outlines=True,
        progress=progress,
        label="reading test",
    )
    probabilities = trained.probabilities(inputs.grey, tta=tta)
    predictions = Predictions.of_slices(
        inputs.slices,
        probabilities,
        classes=classes,
        fold=partition.fold or None,
        verdicts=trained.verdicts(inputs.grey, probabilities),
    )
    evaluation = evaluate(
        predictions,
        title=f"{run.path.resolve().name} on {test_name(partition)}",
        facts=_facts(run, trained, partition, catalogue)
        | ({"test-time augmentation": "mean of three zooms"} if tta else {}),
        localisation=_localise(trained, inputs, predictions),
        seed=run.recipe().training.seed,
    )
    report = write_evaluation(
        folder, evaluation, predictions, **background(run, partition, inputs.skipped)
    )
    return RunEvaluation(evaluation=evaluation, predictions=predictions, report=report)


def _localise(
    trained: TrainedNetwork, inputs: Inputs, predictions: Predictions
) -> Localisation | None:
    """Compare heatmaps of what was said with the outlines of the test part, where both are."""
    if inputs.outlines is None:
        return None
    rows = np.flatnonzero((inputs.outlines > 127).any(axis=(1, 2)))
    maps = trained.heatmaps(inputs.grey[rows], predictions.said[rows])
    if maps is None:
        return None
    return localise(
        maps,
        inputs.outlines[rows],
        names=[predictions.names[row] for row in rows],
        groups=[predictions.groups[row] for row in rows],
    )


def test_name(partition: Partition) -> str:
    """Return what a protocol's test part is called: `kaggle-patient, fold 2`."""
    fold = f", fold {partition.fold}" if partition.fold else ""
    return partition.protocol.name + fold


def background(
    run: RunFolder, partition: Partition, skipped: Sequence[Skipped] = ()
) -> dict[str, Any]:
    """Return what a report about a run tells besides the figures."""
    noted = [Skipped(item["name"], item["reason"]) for item in run.data()["skipped"]]
    return {
        "history": run.history(),
        "protocol_text": partition.protocol.explanation,
        "recipe_text": run.recipe_file.read_text(encoding="utf-8"),
        "environment": run.environment(),
        "skipped": (*noted, *skipped),
    }


def _facts(
    run: RunFolder, trained: TrainedNetwork, partition: Partition, catalogue: Catalogue
) -> dict[str, str | int | float]:
    learned = run.learned()
    groups = {item.group for item in catalogue.slices if (item.source, item.name) in learned}
    data = run.data()
    facts: dict[str, str | int | float] = {
        "protocol": partition.protocol.name,
        "fold": partition.fold,
        "test images whose patient or twin was learned from": (
            sum(item.group in groups for item in partition.test)
            if groups
            else "not known: the training data is not at hand"
        ),
        "seed": run.recipe().training.seed,
        "temperature": round(trained.description.temperature, 4),
        "confident from a probability of": round(trained.description.confident, 4),
        "training images": sum(data["counts"]["train"].values()),
        "validation images": sum(data["counts"]["validation"].values()),
        "left out for doubted labels": data["left_out_for_doubted_labels"],
        "left out for patients in the test part": data["left_out_for_patients_in_test"],
        "data fingerprint": catalogue.fingerprint(),
    }
    if not partition.fold:
        del facts["fold"]
    return facts


def evaluate_pooled(runs: Sequence[RunFolder], catalogue: Catalogue, folder: Path) -> RunEvaluation:
    """Judge the pooled predictions of several folds as one test.

    Args:
        runs: Finished and judged runs, one a fold.
        catalogue: Holds the slices that were judged, for pictures of mistakes.
        folder: Where the files of `write_evaluation` go.

    Returns:
        The figures, the predictions and the report.
    """
    pooled = pool(Predictions.load(run.path / "predictions.csv") for run in runs)
    paths = {slice_name(item): item.path for item in catalogue.slices}
    predictions = replace(pooled, paths=tuple(paths[name] for name in pooled.names))
    tables = [run.path / "localisation.csv" for run in runs]
    localisation = None
    if all(table.is_file() for table in tables):
        localisation = pool_localisations(Localisation.load(table) for table in tables)
    first = runs[0].data()
    protocol = PROTOCOLS[first["split"]]
    evaluation = evaluate(
        predictions,
        title=f"{folder.resolve().name}: {protocol.name}, {len(runs)} folds pooled",
        facts={
            "protocol": protocol.name,
            "folds": len(runs),
            "seed": runs[0].recipe().training.seed,
            "test images whose patient or twin was learned from": sum(
                run.data()["test_slices_whose_group_was_learned"] for run in runs
            ),
            "data fingerprint": first["fingerprint"],
        },
        localisation=localisation,
        seed=runs[0].recipe().training.seed,
    )
    report = write_evaluation(
        folder,
        evaluation,
        predictions,
        protocol_text=protocol.explanation,
        recipe_text=runs[0].recipe_file.read_text(encoding="utf-8"),
        environment=runs[0].environment(),
        skipped=[Skipped(item["name"], item["reason"]) for item in first["skipped"]],
    )
    return RunEvaluation(evaluation=evaluation, predictions=predictions, report=report)
