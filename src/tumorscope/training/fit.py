"""Trains a network by a recipe, and leaves the run in a folder."""

import hashlib
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch.distributed import DistError

from tumorscope.classes import NO_TUMOUR
from tumorscope.datasets.inputs import Inputs, read_inputs
from tumorscope.datasets.splits import Partition
from tumorscope.errors import DataError, DivergedError, RecipeError
from tumorscope.networks.factory import build_network
from tumorscope.networks.network import Network
from tumorscope.progress import Progress, silent
from tumorscope.training.batches import part_of
from tumorscope.training.calibrate import calibrate
from tumorscope.training.callbacks import History, Listener, SilentListener
from tumorscope.training.checkpoints import KeptEpoch, Patience, WholeCheckpoints, read_checkpoint
from tumorscope.training.memory import keep_freed_memory
from tumorscope.training.module import Fitting
from tumorscope.training.recipe import Precision, Recipe
from tumorscope.training.run_folder import Origin, RunFolder
from tumorscope.training.soup import mean_weights, renew_statistics
from tumorscope.training.synchronised_norm import separate, synchronise
from tumorscope.training.tracking import RunLogger, TrackedRun, Tracker, tracker_errors
from tumorscope.training.trained_network import Description, TrainedNetwork, save_weights

_PRECISIONS: dict[Precision, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a run may use.

    Attributes:
        accelerator: `auto`, `cpu` or `gpu`.
        devices: Devices on each machine.
        nodes: Machines.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1


def is_first_process() -> bool:
    """Tell whether this is the first of the processes that train together (one a device).

    The others run the same command; they only help to train.
    """
    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]  # set by Lightning


def fit(  # noqa: PLR0913  (what the commands' options say)
    partition: Partition,
    recipe: Recipe,
    folder: Path,
    *,
    origin: Origin,
    hardware: Hardware = Hardware(),
    resume: bool = False,
    tracker: Tracker | None = None,
    progress: Progress = silent,
    listener: Listener | None = None,
    read: Callable[..., Inputs] = read_inputs,
) -> RunFolder | None:
    """Train a network.

    Args:
        partition: Training and validation part; its test part is not read. Without a validation
            part the last epoch is kept, and nothing is calibrated.
        recipe: How.
        folder: The run folder; new or empty unless `resume`.
        origin: Where the slices come from, noted in the run.
        hardware: What may be used.
        resume: Go on from the run's last whole epoch, and in the same run of MLflow.
        tracker: Is told about a new run.
        progress: Shows how far the reading is.
        listener: Is told about batches and epochs.
        read: Reads and prepares slices; another one may remember them from run to run.

    Returns:
        The run folder, on the first of several processes; None on the others.

    Raises:
        DataError: No picture of the validation part, or of a class, can be read.
        DivergedError: The weights that are to be kept are no numbers.
        ModelError: The folder holds another run, the run to resume is about other data or of
            another version's network, or MLflow cannot be told.
        RecipeError: The recipe does not fit the machine.
    """
    run = RunFolder(folder)
    best, last = KeptEpoch(run.checkpoints, "best"), KeptEpoch(run.checkpoints, "last")
    history = History(folder, listener or SilentListener())
    validates = bool(partition.validation)
    if not validates:
        _check_schedule(recipe)
    kept_epochs = [best, last] if validates else [last]
    trainer = _trainer(recipe, folder, hardware, [history, *kept_epochs])
    if trainer.is_global_zero:  # the other processes start when the folder holds the run
        _check_folder(run, origin, partition, resume=resume)
    keep_freed_memory()
    train, validation = _read_parts(partition, recipe, read, progress)
    module = _build(
        train, validation, partition, recipe, alone=hardware.devices * hardware.nodes == 1
    )
    outlines = "" if train.outlines is None else hashlib.sha256(train.outlines.data).hexdigest()
    if trainer.is_global_zero and resume:
        run.check_outlines(outlines)
    elif trainer.is_global_zero:
        skipped = (*origin.skipped, *train.skipped, *validation.skipped)
        run.begin(
            recipe,
            replace(partition, train=train.slices, validation=validation.slices),
            replace(origin, outlines=outlines, skipped=skipped),
        )
    logger = _track(run, trainer, tracker, recipe, resume=resume)
    checkpoint = run.last_checkpoint if resume and run.last_checkpoint.is_file() else None
    with tracker_errors(logger.tracked.uri) if logger else nullcontext():
        _optimise(trainer, module, checkpoint)
    if not trainer.is_global_zero:
        return None
    takes_last = recipe.training.keep == "last" or not validates
    _select(module, run.last_checkpoint if takes_last else best.best_model_path)
    _check_weights(module.network)
    trained = _calibrated(module.network, train, validation, partition, recipe)
    save_weights(run.weights_file, trained)
    if logger:
        logger.add_files(run)
    return run


def _track(
    run: RunFolder,
    trainer: lightning.Trainer,
    tracker: Tracker | None,
    recipe: Recipe,
    *,
    resume: bool,
) -> RunLogger | None:
    """Let the first process tell MLflow, beside TensorBoard, from now on."""
    if not trainer.is_global_zero:
        return None
    tracked = TrackedRun.noted(run) if resume else None
    if tracked:
        tracked.go_on()
    elif tracker:
        facts = run.data()
        data = {name: facts[name] for name in ("split", "fold", "fingerprint", "counts")}
        tracked = tracker.begin(run, {**recipe.model_dump(), "data": data})
    if not tracked:
        return None
    logger = RunLogger(tracked)
    trainer.loggers = [*trainer.loggers, logger]
    return logger


def _read_parts(
    partition: Partition, recipe: Recipe, read: Callable[..., Inputs], progress: Progress
) -> tuple[Inputs, Inputs]:
    """Read and prepare the training and the validation slices."""
    size = recipe.input.size
    outlines = recipe.loss.outline > 0
    train = read(
        partition.train, size=size, outlines=outlines, progress=progress, label="reading training"
    )
    validation = read(
        partition.validation, size=size, progress=progress, label="reading validation"
    )
    if train.outlines is not None and not train.outlines.any():
        raise RecipeError(
            "loss.outline needs outlines: put the figshare set beside the Kaggle set "
            "('tumorscope download figshare'), or set loss.outline=0"
        )
    for name in partition.classes:
        if not any(item.label == name for item in train.slices):
            raise DataError(f"no training picture of class '{name}' can be read")
    return train, validation


def _build(
    train: Inputs, validation: Inputs, partition: Partition, recipe: Recipe, *, alone: bool
) -> Fitting:
    """Build the network with its first weights, and what trains it, alone or with others."""
    torch.manual_seed(recipe.training.seed)
    network = build_network(recipe.network, partition.classes)
    if recipe.network.weights == "imagenet":
        network.load_imagenet()
    if not alone:
        synchronise(network)
    return Fitting(
        network,
        recipe,
        part_of(train, partition, recipe.training.shares),
        part_of(validation, partition),
        no_tumour=(*partition.classes, NO_TUMOUR).index(NO_TUMOUR),
    )


def _select(module: Fitting, checkpoint: str | Path) -> None:
    """Load the weights that a checkpoint kept; those of a soup are the mean of its networks."""
    state = read_checkpoint(Path(checkpoint))
    prefix = "network." if module.average is None else "average.module."
    weights = {
        name.removeprefix(prefix): value
        for name, value in state["state_dict"].items()
        if name.startswith(prefix)
    }
    network = module.network
    separate(network)
    if not module.total:
        network.load_state_dict(weights)
        return
    network.load_state_dict(mean_weights(module.total, weights))
    images = (batch.pictures[:, :1].cpu().float() for batch in module.train_dataloader())
    renew_statistics(network.cpu(), images)


def _check_weights(network: Network) -> None:
    """Refuse weights that are no numbers: all answers would be none, either.

    Raises:
        DivergedError: Some are.
    """
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        raise DivergedError(
            "the training has diverged: weights are not numbers (NaN or infinity); begin another "
            "run with a lower optimizer.learning_rate"
        )


def _calibrated(
    network: Network, train: Inputs, validation: Inputs, partition: Partition, recipe: Recipe
) -> TrainedNetwork:
    """Return the trained network, with temperature and thresholds if there is validation."""
    description = Description(
        network=recipe.network.model_dump(),
        classes=partition.classes,
        input_size=recipe.input.size,
        false_negative_cost=recipe.decision.false_negative_cost,
    )
    trained = TrainedNetwork(network.cpu().eval(), description)
    if not partition.validation:
        return trained
    return calibrate(
        trained,
        train=train.grey,
        validation=validation.grey,
        labels=np.array([partition.classes.index(item.label) for item in validation.slices]),
        groups=[item.group for item in validation.slices],
        own=_own(validation, partition),
    )


def _check_schedule(recipe: Recipe) -> None:
    """Refuse what needs a validation part where none is held out."""
    if recipe.optimizer.schedule == "plateau" or recipe.training.early_stopping:
        raise RecipeError(
            "a plateau schedule and early stopping need a validation part: set "
            "training.validation_share, or train a fixed schedule"
        )


def _check_folder(run: RunFolder, origin: Origin, partition: Partition, *, resume: bool) -> None:
    if resume:
        run.check_data(origin.fingerprint, partition)
    else:
        run.check_free()


def _own(inputs: Inputs, partition: Partition) -> NDArray[np.bool_]:
    """Tell which slices are of the set that the protocol is for; all, if it is for none of them."""
    own = np.array([partition.protocol.owns(item) for item in inputs.slices])
    return own if own.any() else ~own


def _trainer(
    recipe: Recipe, folder: Path, hardware: Hardware, callbacks: list[Callback]
) -> lightning.Trainer:
    training = recipe.training
    gpu = hardware.accelerator == "gpu" or (
        hardware.accelerator == "auto" and torch.cuda.is_available()
    )
    if training.precision == "fp16" and not gpu:
        raise RecipeError("training.precision is 'fp16', which needs a GPU: use bf16 or fp32")
    if hardware.accelerator == "gpu" and not torch.cuda.is_available():
        raise RecipeError("--accelerator gpu: there is no GPU that torch can use")
    there = torch.cuda.device_count() if gpu else hardware.devices
    if not 1 <= hardware.devices <= there or hardware.nodes < 1:
        raise RecipeError(
            f"--devices {hardware.devices} --nodes {hardware.nodes}: both are at least 1"
            + (f", and there are {there} GPUs" if gpu else "")
        )
    if training.early_stopping:
        # Before the checkpoint, so that what is resumed knows how long it has waited.
        callbacks = [Patience(training.early_stopping), *callbacks]
    return lightning.Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy="ddp" if hardware.devices * hardware.nodes > 1 else "auto",
        precision=_PRECISIONS[precision_here(training.precision, gpu=gpu)],
        max_epochs=training.epochs * training.soup,
        logger=TensorBoardLogger(folder, name="tensorboard", version=""),
        callbacks=callbacks,
        plugins=WholeCheckpoints(),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
    )


def precision_here(asked: Precision, *, gpu: bool) -> Precision:
    """Return the precision that a recipe's is computed in on this machine.

    A CPU without 16-bit arithmetic of its own imitates `bf16`, ten times as slowly as it computes
    in `fp32`; so there it computes in `fp32`, which is at least as exact.

    Args:
        asked: The recipe's.
        gpu: Whether a GPU trains.
    """
    if asked == "bf16" and not gpu and not torch.cpu._is_avx512_bf16_supported():  # noqa: SLF001
        return "fp32"
    return asked


def _optimise(trainer: lightning.Trainer, module: Fitting, checkpoint: Path | None) -> None:
    """Fit; Ctrl-C stays Ctrl-C (Lightning turns it into an exit), and so does SIGTERM.

    Raises:
        ConnectionError: One of several processes has lost another.
    """
    try:
        with warnings.catch_warnings(), _quiet_writer_thread():
            # Lightning's own use of torch, nothing that a user or this package could mend.
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            # On purpose: a run that goes on writes where it wrote before.
            warnings.filterwarnings("ignore", message="Checkpoint directory .* is not empty")
            # Where nothing is held out for validation.
            warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
            trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    except RuntimeError as error:
        # gloo (CPU) has no error of its own.
        if isinstance(error, DistError) or "gloo" in str(error):
            lost = ConnectionError(
                "another process of this training has ended, or cannot be reached"
            )
            lost.add_note("see what that one said")
            raise lost from error
        raise


@contextmanager
def _quiet_writer_thread() -> Iterator[None]:
    """Keep TensorBoard's thread from printing that the disk is full.

    It raises the same error where it is next asked to write, and that one is reported.
    """

    def report(arguments: threading.ExceptHookArgs) -> None:
        if not issubclass(arguments.exc_type, OSError):
            before(arguments)

    before, threading.excepthook = threading.excepthook, report
    try:
        yield
    finally:
        threading.excepthook = before
