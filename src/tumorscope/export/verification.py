"""Compares a model file with the network that it was made from, on the same images."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tumorscope.errors import ModelError
from tumorscope.export.served_network import ServedNetwork
from tumorscope.export.torch_runtimes import TORCH_RUNTIMES
from tumorscope.inference.model_file import open_model
from tumorscope.inference.runtimes import AT_ONCE, Opener, Runtime, open_runtime, to_inputs
from tumorscope.training.trained_network import TrainedNetwork

_WARM_UP = 5
_TIMED_CALLS = 20


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a file may be from the network; a limit of None is none.

    Attributes:
        probability: Largest difference of any class's probability on any image.
        accuracy: Largest loss of accuracy, as a share of the images.
    """

    probability: float | None = None
    accuracy: float | None = None

    def __str__(self) -> str:
        limits = []
        if self.probability is not None:
            limits.append(f"probabilities within {self.probability:g}")
        if self.accuracy is not None:
            limits.append(f"at most {self.accuracy * 100:g} points of accuracy lost")
        return " and ".join(limits)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How a model file compares with the trained network on the same images.

    Attributes:
        runtime: What answered for the file.
        images: How many images both answered.
        largest_difference: Of any class's probability on any image.
        mean_difference: Of all classes' probabilities on all images.
        label_agreement: Share of the images that both call the same.
        accuracy: The file's.
        network_accuracy: The trained network's.
        heatmap_difference: Largest difference of the class maps as a share of their largest
            value, the network's class maps being the measure; None where there are none.
        milliseconds: The file's median time for one call with one image (with a whole batch
            where the file's batch is fixed).
        network_milliseconds: The trained network's median time for one image.
        size: The file's bytes.
        network_size: Bytes of the trained network's parameters.
    """

    runtime: str
    images: int
    largest_difference: float
    mean_difference: float
    label_agreement: float
    accuracy: float
    network_accuracy: float
    heatmap_difference: float | None
    milliseconds: float
    network_milliseconds: float
    size: int
    network_size: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self)

    def check(self, tolerance: Tolerance, name: str) -> None:
        """Make sure that the file is near enough to the network.

        Args:
            tolerance: How near.
            name: The file, for the message.

        Raises:
            ModelError: It is not.
        """
        if not np.isfinite(self.largest_difference):
            raise ModelError(f"{name}: some of its probabilities are no numbers")
        if tolerance.probability is not None and self.largest_difference > tolerance.probability:
            raise ModelError(
                f"{name}: a probability differs from the trained network's by "
                f"{self.largest_difference:.3g}, and {tolerance.probability:g} is allowed"
            )
        lost = self.network_accuracy - self.accuracy
        if tolerance.accuracy is not None and lost > tolerance.accuracy:
            raise ModelError(
                f"{name}: {lost * 100:.2f} points of accuracy are lost, and "
                f"{tolerance.accuracy * 100:g} are allowed"
            )


def verify(
    trained: TrainedNetwork,
    path: Path,
    grey: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    picture: Callable[[int], NDArray[np.uint8]] | None = None,
    opener: Opener | None = None,
) -> Verification:
    """Ask a model file and the network that it was made from about the same images.

    Args:
        trained: The network.
        path: What was made from it.
        grey: Inputs `[N, S, S]`, grey values 0 to 255, at least one.
        labels: The true classes' numbers `[N]`.
        picture: Where the file takes pixels: returns those of an input, `[height, width]`.
        opener: Opens it; None: what opens files of its kind.

    Returns:
        The comparison; `Verification.check` says whether it is good enough.

    Raises:
        ModelError: The file cannot be read.
    """
    expected = trained.probabilities(grey)
    if picture is None:
        model = (opener or open_exported)(path)
        outputs = model.run(grey)
        one = to_inputs(grey[:1]).repeat(model.batch or 1, axis=0)
    else:
        model = opener(path) if opener else open_runtime(path, providers=["cpu"])
        answers = [model.ask(_to_pixels(picture(number))) for number in range(len(grey))]
        outputs = {name: np.concatenate([item[name] for item in answers]) for name in answers[0]}
        one = _to_pixels(picture(0))
    said, maps = outputs["probabilities"], outputs.get("heatmap")
    differences = np.abs(said - expected)
    return Verification(
        runtime=model.title,
        images=len(grey),
        largest_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        label_agreement=float((said.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        accuracy=float((said.argmax(axis=1) == labels).mean()),
        network_accuracy=float((expected.argmax(axis=1) == labels).mean()),
        heatmap_difference=None if maps is None else _maps_difference(trained, grey, maps),
        milliseconds=_milliseconds(lambda: model.ask(one)),
        network_milliseconds=_milliseconds(lambda: trained.probabilities(grey[:1])),
        size=_size(path),
        network_size=sum(4 * values.numel() for values in trained.network.parameters()),
    )


def open_exported(path: Path) -> Runtime:
    """Open a file of any format in the runtime that its kind is made for: an engine on the GPU.

    Args:
        path: `.onnx`, `.torchscript`, TensorRT's `.engine`, or a folder with OpenVINO's
            `model.xml` and `model.bin`.

    Raises:
        ModelError: The file is missing, damaged or of no known kind.
        MissingExtraError: Its runtime is not installed.
    """
    if path.suffix == ".onnx" and path.is_file():
        # As `predict` opens it: a file that it would not take is found out here.
        return open_model(path, providers=["cpu"]).runtime
    return open_runtime(path, others=TORCH_RUNTIMES)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _to_pixels(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a slice as a complete file takes it: `[1, H, W]`."""
    return picture[None].astype(np.float32)


def _maps_difference(
    trained: TrainedNetwork, grey: NDArray[np.uint8], maps: NDArray[np.float32]
) -> float:
    served = ServedNetwork(trained)
    with torch.inference_mode():
        expected = [
            served(torch.from_numpy(to_inputs(grey[start : start + AT_ONCE])))[2].numpy()
            for start in range(0, len(grey), AT_ONCE)
        ]
    reference = np.concatenate(expected)
    return float(np.abs(maps - reference).max() / np.abs(reference).max())


def _milliseconds(ask: Callable[[], object]) -> float:
    """Return the median time of a call, the first ones not counted."""
    times = []
    for _ in range(_WARM_UP + _TIMED_CALLS):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    return median(times[_WARM_UP:]) * 1000
