"""What a run needs to go on after it was killed: checkpoints that are whole, and how to stop.

Lightning's own classes come in; what they leave open goes out: a checkpoint is written whole or
not at all on every file system, a run folder may have been moved, and a run that had stopped early
does not begin another epoch.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import lightning
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from tumorscope.errors import ModelError
from tumorscope.files import write_bytes
from tumorscope.training.recipe import Recipe

_MAY_CHANGE: Final = ("training.keep", "decision.false_negative_cost")
"""Fields of a recipe that may be another when a run goes on: no epoch depends on them."""


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it (Lightning copies from `/tmp`)."""

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint, see `read_checkpoint`."""
        return read_checkpoint(Path(path))

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint whole or not at all."""
        if storage_options is not None:
            raise TypeError("checkpoints go to a plain file: there are no storage options")
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(Path(path), content.getvalue())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; its tensors come to the processor's memory.

    Args:
        path: `best.ckpt` or `last.ckpt`.

    Raises:
        ModelError: The file is missing or damaged; the message says how to go on without it.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        if "state_dict" in found:
            return dict(found)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001, S110  (damaged bytes raise nearly anything)
        pass
    other = (
        "copy best.ckpt over it to go on from that epoch, or delete it to begin the run anew"
        if path.stem == "last"
        else "set training.keep = 'last' in recipe.toml and resume, to take the last epoch"
    )
    raise ModelError(f"{path}: missing or damaged; {other}")


def check_recipe(before: Mapping[str, Any], recipe: Recipe) -> None:
    """Make sure that a run goes on by the recipe that it began with.

    Args:
        before: That recipe as a checkpoint keeps it; empty in those of earlier versions.
        recipe: What stands in the run's folder now; its soup may have become larger.

    Raises:
        ModelError: Something else differs than may.
    """
    now = recipe.model_dump()
    for section, fields in before.items():
        for name, value in fields.items() if isinstance(fields, dict) else ():
            field, other = f"{section}.{name}", now[section].get(name, value)
            grown = field == "training.soup" and other > value
            if other != value and not grown and field not in _MAY_CHANGE:
                raise ModelError(
                    f"{field} is {other!r} in recipe.toml, and this run began with {value!r}: "
                    "set it back, or start a new run by --recipe"
                )


class KeptEpoch(ModelCheckpoint):
    """Keeps one epoch in a file: the one with the best score, or the last.

    Lightning's own `save_last` keeps up with the best epoch only.

    Args:
        folder: Where the file goes.
        name: `best` or `last`; a callback for `last` has to stand after the one for `best`, so
            that it knows of it.
    """

    def __init__(self, folder: Path, name: Literal["best", "last"]) -> None:
        super().__init__(
            dirpath=folder,
            filename=name,
            monitor="score" if name == "best" else None,
            mode="max",
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a checkpoint kept; the folder may stand somewhere else by now."""
        path, score = str(Path(str(self.dirpath)) / f"{self.filename}.ckpt"), "best_model_score"
        here = {
            "dirpath": self.dirpath,
            "best_model_path": path,
            "kth_best_model_path": path,
            "best_k_models": {} if state_dict[score] is None else {path: state_dict[score]},
        }
        super().load_state_dict({**state_dict, **here})


class Patience(EarlyStopping):
    """Ends training after some epochs without a better score.

    Args:
        epochs: How many.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__("score", mode="max", patience=epochs)

    def on_train_start(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        """Stop at once where the run that goes on had stopped already."""
        trainer.should_stop = self.wait_count >= self.patience
