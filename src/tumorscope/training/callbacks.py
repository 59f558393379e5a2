"""What happens beside the steps: the history is kept and drawn, and a listener is told."""

import csv
import io
import time
from pathlib import Path
from typing import Any, Final, Protocol

import lightning
from lightning.pytorch.callbacks import Callback

from tumorscope.evaluation.plots import curves_plot
from tumorscope.files import write_bytes, write_text
from tumorscope.training.module import HistoryRow


class Listener(Protocol):
    """Is told how far the training is."""

    def batch(self, epoch: int, epochs: int, done: int, total: int, rate: float) -> None:
        """Told after each batch; `rate` is in images a second, since the epoch began."""

    def epoch(self, row: HistoryRow) -> None:
        """Told after each epoch."""


class SilentListener:
    """Says nothing: the default."""

    def batch(self, epoch: int, epochs: int, done: int, total: int, rate: float) -> None:
        """Do nothing."""

    def epoch(self, row: HistoryRow) -> None:
        """Do nothing."""


_DRAWING_PAUSE: Final = 30.0
"""Seconds between two drawings of the curves, each of which takes as long as a GPU's epoch."""


class History(Callback):
    """Keeps a row an epoch in the checkpoint, and writes `log.csv` and `curves.png`.

    Args:
        folder: Where the two files go.
        listener: Is told about batches and epochs, by the first of several processes.
    """

    def __init__(self, folder: Path, listener: Listener) -> None:
        self.rows: list[HistoryRow] = []
        self._folder, self._listener = folder, listener
        self._started, self._images, self._rate = 0.0, 0, 0.0
        self._drawn = time.monotonic()

    def on_train_epoch_start(self, *_: Any) -> None:
        """Start the epoch's clock."""
        self._started, self._images = time.perf_counter(), 0

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        _: lightning.LightningModule,
        __: Any,
        batch: Any,
        *___: Any,
    ) -> None:
        """Count the pictures and tell the listener."""
        self._images += len(batch[1]) * trainer.world_size
        self._rate = self._images / (time.perf_counter() - self._started)
        if trainer.is_global_zero:
            self._listener.batch(
                trainer.current_epoch + 1,
                trainer.max_epochs or 0,
                # Not the completed ones: this batch becomes one after its callbacks.
                trainer.fit_loop.epoch_loop.batch_progress.current.ready,
                int(trainer.num_training_batches),
                self._rate,
            )

    def on_train_epoch_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        """Add the epoch's row, and write the files anew."""
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        figures.pop("score", None)
        row: HistoryRow = {
            "epoch": trainer.current_epoch + 1,
            **figures,
            "images_per_second": round(self._rate, 1),
        }
        self.rows.append(row)
        if trainer.is_global_zero:
            write_text(self._folder / "log.csv", history_table(self.rows))
            if time.monotonic() - self._drawn > _DRAWING_PAUSE:
                self._draw()
            self._listener.epoch(row)

    def on_train_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        """Draw the whole curves."""
        if trainer.is_global_zero and self.rows:
            self._draw()

    def _draw(self) -> None:
        write_bytes(self._folder / "curves.png", curves_plot(self.rows))
        self._drawn = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self.rows = list(state_dict["rows"])


def history_table(rows: list[HistoryRow]) -> str:
    """Return the history as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})
    return text.getvalue()
