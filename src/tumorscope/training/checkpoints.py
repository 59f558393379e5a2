"""What a run needs to go on after it was killed: checkpoints that are whole, and how to stop.

Lightning's own classes come in; what they leave open goes out: a checkpoint is written whole or
not at all on every file system, a run folder may have been moved, and a run that had stopped early
does not begin another epoch.
"""

import io
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from tumorscope.files import write_bytes


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it (Lightning copies from `/tmp`)."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint whole or not at all."""
        if storage_options is not None:
            raise TypeError("checkpoints go to a plain file: there are no storage options")
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(Path(path), content.getvalue())


class BestAndLast(ModelCheckpoint):
    """Keeps the epoch with the best score as `best.ckpt` and the last one as `last.ckpt`.

    Args:
        folder: Where the two files go.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor="score",
            mode="max",
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a checkpoint kept; the folder may stand somewhere else by now."""
        folder = Path(str(self.dirpath))
        best = str(folder / "best.ckpt")
        here = {
            "dirpath": self.dirpath,
            "best_model_path": best,
            "kth_best_model_path": best,
            "best_k_models": {best: state_dict["best_model_score"]},
            "last_model_path": str(folder / "last.ckpt"),
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
