"""What a model file says about itself."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from tumorscope import __version__
from tumorscope.inference.model_file import FORMAT
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import TrainedNetwork

LICENSE: Final = "Apache-2.0"
INTENDED_USE: Final = "Research use only: not a medical device, not for diagnosis."


def metadata_of(
    run: RunFolder, trained: TrainedNetwork, *, name: str | None = None
) -> dict[str, Any]:
    """Return what a model file says about itself; JSON holds all of it.

    Args:
        run: The finished run that the network comes from.
        trained: Its network.
        name: What the model is called; `tumorscope-` and the recipe's name when left out.

    Raises:
        ModelError: The run's files cannot be read.
    """
    data, recipe, description = run.data(), run.recipe(), trained.description
    return {
        "format": FORMAT,
        "name": name or data.get("name", f"tumorscope-{recipe.name}"),
        "version": data.get("version", __version__),
        "classes": list(description.classes),
        "input": "prepared",
        "input_size": description.input_size,
        "preparation": description.preparation,
        "temperature": description.temperature,
        "thresholds": {
            name: value
            for name in ("confident", "risk", "ood_threshold", "series")
            if (value := getattr(description, name)) is not None
        },
        "keep_fp32": list(trained.network.keep_fp32.get(16, ())),
        "data": {name: data[name] for name in ("fingerprint", "split", "fold", "counts")},
        "recipe": recipe.model_dump(),
        "created": datetime.now(UTC).date().isoformat(),
        "license": data.get("license", LICENSE),
        "intended_use": INTENDED_USE,
    }


def to_text(metadata: dict[str, Any]) -> str:
    """Return metadata as the text that a model file carries."""
    return json.dumps(metadata, separators=(",", ":"))
