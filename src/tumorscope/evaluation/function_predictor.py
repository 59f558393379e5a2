"""Evaluates any classifier: an ONNX file, a PyTorch module or a function."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorscope.datasets.catalogue import Catalogue
from tumorscope.datasets.splits import Partition
from tumorscope.errors import ModelError
from tumorscope.evaluation.input_spec import InputSpec
from tumorscope.evaluation.predictor import NOT_TOLD, Answers
from tumorscope.evaluation.scoring import Fact
from tumorscope.inference.runtimes import open_runtime

_BATCH = 32

Function = Callable[[NDArray[np.float32]], Any]
"""Takes a batch as `InputSpec.array` makes it, gives logits or probabilities `[N, classes]`."""


class FunctionPredictor:
    """A function at work.

    Args:
        function: Takes a batch, gives logits or probabilities.
        spec: What it takes and gives.
        title: What it is called in the report.
    """

    def __init__(self, function: Function, spec: InputSpec, title: str) -> None:
        self._function = function
        self._spec = spec
        self._title = title

    @property
    def title(self) -> str:
        """What the model is called."""
        return self._title

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the outputs."""
        return self._spec.classes

    @property
    def input_size(self) -> int:
        """Side of the input in pixels."""
        return self._spec.size

    def prepare(self, grey: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Turn a grey slice into an input."""
        return self._spec.prepare(grey, size)

    def predict(self, inputs: NDArray[np.uint8], *, heatmaps: bool = False) -> Answers:  # noqa: ARG002
        """Answer inputs `[N, S, S]`.

        Raises:
            ModelError: The outputs have another shape, are no numbers, or are probabilities
                where logits were announced.
        """
        parts = [self._outputs(inputs[row : row + _BATCH]) for row in range(0, len(inputs), _BATCH)]
        outputs = np.concatenate(parts)
        if not np.isfinite(outputs).all():
            raise ModelError(f"{self._title}: its outputs are not all numbers (NaN or infinity)")
        if not self._spec.softmax:
            return Answers(probabilities=outputs)
        if (outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3):
            raise ModelError(
                f"{self._title}: its outputs are probabilities already: set softmax = false"
            )
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return Answers(probabilities=powers / powers.sum(axis=1, keepdims=True))

    def _outputs(self, inputs: NDArray[np.uint8]) -> NDArray[np.float64]:
        outputs = np.asarray(self._function(self._spec.array(inputs)), dtype=np.float64)
        wanted = (len(inputs), len(self.classes))
        if outputs.shape != wanted:
            raise ModelError(
                f"{self._title}: gives outputs of shape {list(outputs.shape)} for {len(inputs)} "
                f"slices, but {len(self.classes)} classes are named: {', '.join(self.classes)}"
            )
        return outputs

    def facts(self) -> Mapping[str, Fact]:
        """Return what the model takes."""
        words = {"resize": "plain resizing", "tumorscope": "tumorscope's own"}
        return {
            "input": f"{self._spec.channels} x {self._spec.size} x {self._spec.size}",
            "preparation": words[self._spec.preparation],
            "trained on": "nothing of the test part, on trust",
        }

    def leaked(self, partition: Partition, catalogue: Catalogue) -> Fact:  # noqa: ARG002
        """Return how many test slices are of a group of the protocol's own training part."""
        return partition.leaked if partition.train else NOT_TOLD


def onnx_function(path: Path, *, threads: int | None = None) -> Function:
    """Open any ONNX classifier with one input; its first output counts.

    Raises:
        ModelError: ONNX Runtime cannot open it, or it has several inputs.
    """
    runtime = open_runtime(path, threads=threads)
    if len(runtime.inputs) != 1:
        raise ModelError(
            f"{path}: has {len(runtime.inputs)} inputs; a classifier of slices has one"
        )
    batch, output = runtime.batch, runtime.outputs[0].name

    def ask(inputs: NDArray[np.float32]) -> NDArray[np.floating]:
        step = batch or len(inputs)
        parts = []
        try:
            for start in range(0, len(inputs), step):
                part = inputs[start : start + step]
                missing = step - len(part)  # Some networks take one number of slices only.
                padded = np.concatenate([part, np.zeros((missing, *part.shape[1:]), part.dtype)])
                parts.append(runtime.ask(padded)[output][: len(part)])
        except Exception as error:  # noqa: BLE001  (ONNX Runtime's have no base class of their own)
            words = " ".join(str(error).split())[:160]
            raise ModelError(f"{path}: does not take what its TOML file says ({words})") from None
        return np.concatenate(parts)

    return ask


def callable_function(model: Callable[..., Any]) -> Function:
    """Return a function that asks a callable; a PyTorch module is given tensors, without gradients.

    PyTorch is not imported here: whoever has a module has imported it.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return model
    module: Any = model

    def ask(inputs: NDArray[np.float32]) -> NDArray[np.floating]:
        # (Some may have been set to evaluation by themselves, as frozen batch norms are.)
        trained = [part for part in module.modules() if part.training]
        weight = next(module.parameters(), torch.empty(0))
        module.eval()
        try:
            with torch.inference_mode():
                outputs = module(torch.from_numpy(inputs).to(weight.device))
        finally:
            for part in trained:
                part.training = True
        return np.asarray(outputs.float().cpu().numpy())

    return ask
