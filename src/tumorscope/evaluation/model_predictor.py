"""Evaluates a model file as `tumorscope predict` uses it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorscope.datasets.catalogue import Catalogue
from tumorscope.datasets.splits import PROTOCOLS, Partition
from tumorscope.evaluation.predictor import Answers
from tumorscope.evaluation.scoring import Fact
from tumorscope.images import prepare
from tumorscope.inference import Classifier
from tumorscope.inference.thresholds import risk_in_words, thresholds_in_words


class ModelPredictor:
    """A model file at work.

    Args:
        classifier: The opened model; with its test-time augmentation where that is on.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    @property
    def title(self) -> str:
        """Name and version."""
        return self._classifier.facts.title

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the probabilities."""
        return self._classifier.facts.classes

    @property
    def input_size(self) -> int:
        """Side of the input in pixels."""
        return self._classifier.facts.input_size

    def prepare(self, grey: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Turn a grey slice into an input."""
        return prepare(grey, size)

    def predict(self, inputs: NDArray[np.uint8], *, heatmaps: bool = False) -> Answers:
        """Answer inputs `[N, S, S]`."""
        outputs = self._classifier.outputs(inputs)
        probabilities = outputs["probabilities"]
        maps = None
        if heatmaps and "heatmap" in outputs:
            maps = outputs["heatmap"][np.arange(len(inputs)), probabilities.argmax(axis=1)]
        return Answers(
            probabilities=probabilities,
            verdicts=tuple(decision.verdict for decision in self._classifier.decide(outputs)),
            heatmaps=maps,
        )

    def facts(self) -> Mapping[str, Fact]:
        """Return what the file says about itself."""
        facts = self._classifier.facts
        own = self._classifier.confident == facts.confident
        return {
            "model": facts.title,
            "model made": facts.created,
            "temperature": round(facts.temperature, 4),
            "confident from a probability of": thresholds_in_words(
                self._classifier.confident, facts.classes
            ),
            **({"confident and wrong": risk_in_words(facts.risk)} if own else {}),
            "trained on": str(facts.data.get("split", "not known")),
        }

    def fold_seed(self, split: str) -> int:
        """Return the seed by which the model's training drew folds where its data had none.

        Args:
            split: The split that is tested; folds of another are nobody's yet.
        """
        own = self._classifier.facts.data.get("split") == split
        return int(self._training().get("seed", 0)) if own else 0

    def leaked(self, partition: Partition, catalogue: Catalogue) -> Fact:
        """Return how many test slices are of a group that the model was trained on, or in words.

        A model file names the protocol and the fold that it was trained on, not the slices.
        """
        data, protocol = self._classifier.facts.data, partition.protocol
        same_split = data.get("split") == protocol.name
        if same_split and data.get("fingerprint") == catalogue.fingerprint():
            if data.get("fold") == partition.fold:
                return partition.leaked
            return "most of them: the model was trained on another fold of this split"
        if data.get("split") == "everything" and protocol.source in ("kaggle", "figshare"):
            return "all of them: the model was trained on the whole set"
        met = sorted({item.source for item in partition.test} & self._learned_sets())
        if met:
            return f"not known, perhaps all: the model was trained on a set called {met[0]}"
        return "not known: the model file does not list what it was trained on"

    def _learned_sets(self) -> set[str]:
        """Return the names of sets that the model was trained on, as far as the file tells."""
        facts = self._classifier.facts
        protocol = PROTOCOLS.get(str(facts.data.get("split")))
        shares = self._training().get("shares") or ()
        return {*shares, *([protocol.source] if protocol else [])}

    def _training(self) -> dict[str, Any]:
        """Return what the recipe says of the training, as far as the file tells."""
        training = self._classifier.facts.recipe.get("training")
        return training if isinstance(training, dict) else {}
