"""The interface that every network has."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor, nn

from tumorscope.errors import RecipeError


class Outputs(NamedTuple):
    """What a network returns; None where it has no such output.

    Attributes:
        logits: Shape `[N, classes]`.
        class_maps: Where the network sees each class, shape `[N, classes, h, w]`.
        ood_score: How far each image is from the training images, shape `[N]`.
        outline: Logits of the tumour's outline, shape `[N, 1, h, w]`.
    """

    logits: Tensor
    class_maps: Tensor | None = None
    ood_score: Tensor | None = None
    outline: Tensor | None = None


class Network(nn.Module, ABC):
    """A classifier of grey images whose side is a multiple of 32.

    Attributes:
        keep_fp32: By number of bits, the names of the modules that are too inexact when they
            compute with so few, and stay in float32.
    """

    keep_fp32: Mapping[int, tuple[str, ...]] = MappingProxyType({})

    @abstractmethod
    def outputs(self, grey: Tensor) -> Outputs:
        """Return everything that the network computes.

        Args:
            grey: Grey values 0 to 255, float, shape `[N, 1, S, S]`.
        """

    def forward(self, grey: Tensor) -> Tensor:
        """Return logits `[N, classes]` of grey values `[N, 1, S, S]`, 0 to 255."""
        return self.outputs(grey).logits

    def load_imagenet(self) -> None:
        """Load weights trained on ImageNet.

        Raises:
            RecipeError: There are none for this network.
            MissingExtraError: The package that holds the weights is not installed.
        """
        raise RecipeError(f"there are no ImageNet weights for a {type(self).__name__}")

    def fit_ood_score(self, batches: Iterable[Tensor], outliers: Iterable[Tensor]) -> None:
        """Fit the OOD score; a network without one leaves both unread.

        Args:
            batches: Training images, grey values as `outputs` takes them.
            outliers: Pictures that are none, likewise.
        """
