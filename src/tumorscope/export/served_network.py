"""The network as every exported file holds it.

Scaling of grey values, calibration, softmax and heatmap are part of it, so that nothing is left for
a runtime to do differently.
"""

import copy

import torch
from torch import Tensor, nn

from tumorscope.training.trained_network import Calibration, TrainedNetwork

INPUT_NAME = "grey"
OUTPUT_NAMES = ("probabilities", "logits", "heatmap", "ood_score")


class ServedNetwork(nn.Module):
    """A trained network with its calibration.

    From grey values `[N, 1, S, S]` (0 to 255, float32) it computes probabilities `[N, C]`, logits
    `[N, C]` after `Calibration` and, where the network has them, class maps `[N, C, h, w]` (called
    heatmap) and the OOD score `[N]`.

    Args:
        trained: The network; it is copied, not changed.

    Attributes:
        output_names: Names of what `forward` returns.
    """

    def __init__(self, trained: TrainedNetwork) -> None:
        super().__init__()
        network = copy.deepcopy(trained.network).cpu().float().eval()
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.input_size = trained.description.input_size
        self.calibration = Calibration(trained.description)
        self.network = network
        with torch.inference_mode():
            outputs = self._outputs(self.example())
        self.output_names = tuple(
            name for name, value in zip(OUTPUT_NAMES, outputs, strict=True) if value is not None
        )

    def example(self, batch: int = 2) -> Tensor:
        """Return inputs of the right shape, for tracing."""
        values = torch.arange(batch * self.input_size**2, dtype=torch.float32) % 256
        return values.reshape(batch, 1, self.input_size, self.input_size)

    def forward(self, grey: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs that the network has, in the order of their names."""
        return tuple(value for value in self._outputs(grey) if value is not None)

    def _outputs(self, grey: Tensor) -> tuple[Tensor | None, ...]:
        outputs = self.network.outputs(grey)
        probabilities, calibrated = self.calibration(outputs.logits)
        return probabilities, calibrated, outputs.class_maps, outputs.ood_score
