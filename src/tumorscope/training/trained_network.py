"""Keeps a trained network in one safetensors file, and predicts with it."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tumorscope.classes import NO_TUMOUR
from tumorscope.errors import ModelError
from tumorscope.evaluation.calibration import CONFIDENT
from tumorscope.files import write_bytes
from tumorscope.images import PREPARATION_VERSION
from tumorscope.images.zooms import mean_over_zooms
from tumorscope.inference.decision import decide
from tumorscope.networks.factory import build_network
from tumorscope.networks.network import Network, Outputs
from tumorscope.networks.network_recipe import NetworkRecipe
from tumorscope.training.outliers import draw_outliers

if TYPE_CHECKING:
    from tumorscope.inference.results import Verdict

_FAMILY = "tumorscope-"
_FORMAT = _FAMILY + "2"

_BATCH: Final = 16
"""Inputs predicted at once; more are no faster on a CPU."""
FITTED: Final = 8000
"""So many training images the OOD score is fitted to at most."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What has to be known about weights to use them.

    Attributes:
        network: The recipe of the network.
        classes: In the order of the logits.
        input_size: Side of the input in pixels.
        preparation: Version of the preparation it was trained with.
        temperature: What logits are divided by before the softmax (Guo et al. 2017).
        false_negative_cost: Then the odds of "no tumour" are divided by this; see `DecisionRecipe`.
        ood_threshold: An image whose OOD score is above this is out of distribution; None where
            the network has no such score.
        confident: The probability from which an answer is confident, class by class; `CONFIDENT`
            each when left out.
        risk: The largest expected share of a new patient's slices that are confident and wrong;
            None where nothing can be promised.
        series: The calibration of answers to whole series, see `SeriesRule`; None: none was fitted.
    """

    network: dict[str, Any]
    classes: tuple[str, ...]
    input_size: int
    preparation: int = PREPARATION_VERSION
    temperature: float = 1.0
    false_negative_cost: float = 1.0
    ood_threshold: float | None = None
    confident: tuple[float, ...] = ()
    risk: float | None = None
    series: dict[str, float] | None = None

    def __post_init__(self) -> None:
        # (JSON has lists, and the number of classes is known only here.)
        values = tuple(self.confident) or (CONFIDENT,) * len(self.classes)
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "confident", values)

    @property
    def offsets(self) -> tuple[float, ...]:
        """What is added to the logits after the temperature, class by class."""
        penalty = math.log(self.false_negative_cost)
        return tuple(-penalty if name == NO_TUMOUR else 0.0 for name in self.classes)


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with trained weights, ready to predict.

    Attributes:
        network: In evaluation mode.
        description: What it was trained for.
    """

    network: Network
    description: Description

    def logits(self, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return logits `[N, classes]` of inputs `[N, S, S]`, grey values 0 to 255."""
        found = [_array(outputs.logits) for outputs in self._outputs(grey)]
        nothing = np.empty((0, len(self.description.classes)), dtype=np.float32)
        return np.concatenate([nothing, *found])

    def heatmaps(
        self, grey: NDArray[np.uint8], chosen: NDArray[np.intp]
    ) -> NDArray[np.float32] | None:
        """Return where the network sees a class.

        Args:
            grey: Inputs `[N, S, S]`, grey values 0 to 255.
            chosen: Number of the class for each input, shape `[N]`.

        Returns:
            Class maps `[N, h, w]`; None where the network has none, or there is no input.
        """
        found: list[NDArray[np.float32]] = []
        for number, outputs in enumerate(self._outputs(grey)):
            if outputs.class_maps is not None:
                numbers = torch.from_numpy(chosen[number * _BATCH : (number + 1) * _BATCH])
                found.append(_array(outputs.class_maps[torch.arange(len(numbers)), numbers]))
        return np.concatenate(found) if found else None

    def ood_score(self, grey: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Return how far inputs `[N, S, S]` are from the training images, shape `[N]`.

        None where the network has no such score, or there is no input.
        """
        scores = [outputs.ood_score for outputs in self._outputs(grey)]
        found = [_array(score) for score in scores if score is not None]
        return np.concatenate(found) if found else None

    def fit_ood_score(self, grey: NDArray[np.uint8]) -> None:
        """Fit the network's OOD score, if it has one, to training inputs `[N, S, S]`.

        A few thousand of them are looked at, and as many made-up outliers.
        """
        order = np.random.default_rng(0).permutation(len(grey))[:FITTED]
        chosen = grey[order]

        def outliers() -> Iterator[Tensor]:
            yield from self._batches(draw_outliers(chosen, len(chosen)))

        with torch.inference_mode():
            self.network.fit_ood_score(self._batches(chosen), outliers())

    def _outputs(self, grey: NDArray[np.uint8]) -> Iterator[Outputs]:
        """Yield the network's outputs for a few inputs at a time."""
        for inputs in self._batches(grey):
            with torch.inference_mode():
                outputs = self.network.outputs(inputs)
            yield outputs

    def _batches(self, grey: NDArray[np.uint8]) -> Iterator[Tensor]:
        """Yield inputs `[N, S, S]` a few at a time, as the network takes them: `[n, 1, S, S]`."""
        device = next(self.network.parameters()).device
        for start in range(0, len(grey), _BATCH):
            part = torch.from_numpy(grey[start : start + _BATCH])[:, None].to(device)
            yield part.float().to(memory_format=torch.channels_last)

    def verdicts(
        self, grey: NDArray[np.uint8], probabilities: NDArray[np.float64]
    ) -> "tuple[Verdict, ...]":
        """Return the verdicts on inputs `[N, S, S]` with these probabilities, `[N, classes]`."""
        values = self.ood_score(grey)
        scores = [None] * len(grey) if values is None else values.tolist()
        return tuple(
            decide(
                row,
                self.description.classes,
                confident=self.description.confident,
                ood_score=score,
                ood_threshold=self.description.ood_threshold,
            ).verdict
            for row, score in zip(probabilities.tolist(), scores, strict=True)
        )

    def probabilities(self, grey: NDArray[np.uint8], *, tta: bool = False) -> NDArray[np.float64]:
        """Return the probabilities that decide.

        Args:
            grey: Inputs `[N, S, S]`, grey values 0 to 255.
            tta: Test-time augmentation: the mean over three zooms.

        Returns:
            Probabilities, `[N, classes]`.
        """
        logits = torch.from_numpy(self.logits(grey)).double()
        probabilities = Calibration(self.description)(logits)[0].numpy()
        if tta and len(grey):
            return mean_over_zooms(grey, probabilities, self.probabilities)
        return np.asarray(probabilities)


class Calibration(nn.Module):
    """From a network's logits to probabilities; a layer, so that exported files hold it too.

    Logits are divided by the temperature (Guo et al. 2017, https://arxiv.org/abs/1706.04599), the
    false-negative cost is taken off "no tumour", and a softmax follows.

    Args:
        description: What the network was trained for.
    """

    def __init__(self, description: Description) -> None:
        super().__init__()
        self.scale = 1.0 / description.temperature
        self.offsets: Tensor | None
        offsets = torch.tensor([description.offsets])
        self.register_buffer("offsets", offsets if offsets.any() else None, persistent=False)

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and calibrated logits, `[N, classes]` each."""
        scaled = logits * self.scale
        calibrated = scaled if self.offsets is None else scaled + self.offsets
        return calibrated.softmax(dim=1), calibrated


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.float().cpu().numpy())


def save_weights(path: Path, trained: TrainedNetwork) -> None:
    """Write weights and description to one safetensors file, whole or not at all.

    The same weights and description give the same bytes.
    """
    tensors = {
        name: value.detach().cpu().contiguous()
        for name, value in trained.network.state_dict().items()
    }
    metadata = {"format": _FORMAT, "description": json.dumps(asdict(trained.description))}
    write_bytes(path, _in_order(save(tensors, metadata=metadata)))


def _in_order(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, which the library writes in any order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text + content[end:]


def load_weights(path: Path, device: str = "cpu") -> TrainedNetwork:
    """Read a trained network back.

    Args:
        path: What `save_weights` wrote.
        device: Where the network goes.

    Raises:
        ModelError: The file is missing, damaged, no such file, or made by another version or for
            another preparation.
    """
    try:
        with safe_open(path, framework="pt", device=device) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        written = metadata.get("format", "")
        if not written.startswith(_FAMILY):
            raise ModelError(f"{path}: not weights that tumorscope wrote")
        if written != _FORMAT:
            raise ModelError(f"{path}: weights of another version of tumorscope: train again")
        values = json.loads(metadata["description"])
        description = Description(**values)
        network = build_network(NetworkRecipe(**description.network), description.classes)
        network.load_state_dict(tensors)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; is the run finished?") from None
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: damaged weights ({reason})") from None
    if description.preparation != PREPARATION_VERSION:
        raise ModelError(
            f"{path}: trained with preparation {description.preparation}, this version has "
            f"{PREPARATION_VERSION}: train again"
        )
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TrainedNetwork(network.eval(), description)
