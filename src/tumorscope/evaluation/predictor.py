"""Defines what evaluation asks of a model: prepared slices in, probabilities out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tumorscope.datasets.catalogue import Catalogue, Skipped, slice_name
from tumorscope.datasets.inputs import Inputs, read_inputs
from tumorscope.datasets.splits import Partition
from tumorscope.errors import DataError, ModelError
from tumorscope.evaluation.localisation import Localisation, localise
from tumorscope.evaluation.predictions import Predictions, unanswerable
from tumorscope.evaluation.scoring import Fact
from tumorscope.progress import Progress, silent

LEAKED = "test images whose patient or near-duplicate is in training"
"""The fact that every evaluation states: how much of the test part is no surprise."""

NOT_TOLD = "not known: nobody says what the model was trained on"
"""What is said of it where a model comes without its training data, and the split has none."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Answers:
    """A model's answers to N inputs.

    Attributes:
        probabilities: Shape `[N, classes]`; every row sums to 1.
        verdicts: `confident`, `uncertain` or `unsupported`, length N; empty where the model gives
            none.
        heatmaps: Where the model sees the predicted class, float32 `[N, h, w]`; None where it has
            no maps or was not asked for them.
    """

    probabilities: NDArray[np.floating]
    verdicts: tuple[str, ...] = ()
    heatmaps: NDArray[np.float32] | None = None


class Predictor(Protocol):
    """A model that can be evaluated: a run, a model file, any ONNX classifier, a callable."""

    @property
    def title(self) -> str:
        """What the model is called in the report."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the probabilities: names in `tumorscope.classes.CLASSES`."""

    @property
    def input_size(self) -> int:
        """Side of the input in pixels."""

    def prepare(self, grey: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Turn a grey slice `[height, width]` into an input `[size, size]`, uint8."""

    def predict(self, inputs: NDArray[np.uint8], *, heatmaps: bool = False) -> Answers:
        """Answer inputs `[N, S, S]` that `prepare` made, with heatmaps where wanted."""

    def facts(self) -> Mapping[str, Fact]:
        """Return what a reader of the report has to know about the model."""

    def leaked(self, partition: Partition, catalogue: Catalogue) -> Fact:
        """Return how many test slices are of a group that the model was trained on, or in words.

        Args:
            partition: Its test part is asked about.
            catalogue: All slices at hand, with their groups.
        """


def predict_slices(
    predictor: Predictor, partition: Partition, *, progress: Progress = silent
) -> tuple[Predictions, Localisation | None, tuple[Skipped, ...]]:
    """Ask a model about the test part of a protocol.

    Args:
        predictor: The model.
        partition: Its test part is predicted.
        progress: Shows how far the reading is.

    Returns:
        The predictions; how the heatmaps lie on outlines, where there are both; and the slices
        that could not be read.

    Raises:
        DataError: There is no test part.
        ModelError: The model does not know a class of the test part, or gives no numbers.
    """
    check_classes(predictor.classes, partition, predictor.title)
    inputs = read_inputs(
        partition.test,
        size=predictor.input_size,
        prepared_by=predictor.prepare,
        outlines=True,
        progress=progress,
        label="reading test",
    )
    answers = predictor.predict(inputs.grey)
    _check_finite(answers, inputs, predictor.title)
    predictions = Predictions.of_slices(
        inputs.slices,
        answers.probabilities,
        classes=predictor.classes,
        folds=(partition.fold,) * len(inputs) if partition.fold else (),
        # What shows nothing `predict` refuses before any model sees it.
        verdicts=tuple(
            "unsupported" if why else verdict
            for why, verdict in zip(inputs.unsuitable, answers.verdicts, strict=False)
        ),
    )
    assert inputs.outlines is not None  # they were asked for
    rows = np.flatnonzero((inputs.outlines > 127).any(axis=(1, 2)))
    maps = predictor.predict(inputs.grey[rows], heatmaps=True).heatmaps if len(rows) else None
    localisation = None
    if maps is not None:
        localisation = localise(
            maps,
            inputs.outlines[rows],
            names=[predictions.names[row] for row in rows],
            groups=[predictions.groups[row] for row in rows],
        )
    return predictions, localisation, inputs.skipped


def _check_finite(answers: Answers, inputs: Inputs, title: str) -> None:
    """Refuse a model that gives NaN or infinity: no metric says anything about it.

    Raises:
        ModelError: Names the first slice.
    """
    broken = np.flatnonzero(~np.isfinite(answers.probabilities).all(axis=1))
    if len(broken):
        raise ModelError(
            f"{title}: its outputs for {len(broken)} of {len(inputs)} slices are not numbers (NaN "
            f"or infinity), the first: {slice_name(inputs.slices[broken[0]])}; train or export it "
            "again"
        )


def check_classes(classes: Sequence[str], partition: Partition, title: str) -> None:
    """Make sure that there is a test part, and that the model knows its classes.

    Raises:
        DataError: There is no test part.
        ModelError: The model does not know a class of it.
    """
    if not partition.test:
        raise DataError(f"{partition.protocol.name} has no test part: there is nothing to evaluate")
    unknown = unanswerable(partition.test, classes)
    if unknown:
        raise ModelError(
            f"{title}: does not know the class '{min(unknown)}' of {test_name(partition)}"
        )


def test_name(partition: Partition) -> str:
    """Return what a test part is called: `kaggle-patient, fold 2`, or `external, NAME`."""
    if partition.protocol.kind == "external":
        sources = sorted({item.source for item in partition.test})
        more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
        return f"{partition.protocol.name}, {sources[0]}{more}"
    fold = f", fold {partition.fold}" if partition.fold else ""
    return partition.protocol.name + fold
