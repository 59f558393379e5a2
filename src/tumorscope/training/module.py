"""The Lightning module: batches of inputs come in, one step of learning at a time goes out."""

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tumorscope.classes import CLASSES
from tumorscope.networks.network import Network
from tumorscope.training.augmentation import Augmentation
from tumorscope.training.losses import any_tumour_loss, outline_loss
from tumorscope.training.painting import paint_out
from tumorscope.training.recipe import OptimizerRecipe, Recipe, Sampling
from tumorscope.training.soup import add_weights

HistoryRow = dict[str, float]
"""One epoch: `epoch`, losses and accuracies of training and validation, `learning_rate` and
`images_per_second` (training only)."""


ANY = -1
"""The label of a slice with a tumour of unknown kind."""


@dataclass
class Part:
    """The inputs and labels of one part of the data, all on one device.

    Attributes:
        grey: Grey values 0 to 255, uint8, shape `[N, 1, S, S]`.
        labels: Class numbers or `ANY`, int64, shape `[N]`.
        clusters: Numbers of sets of twins, int64, shape `[N]`.
        groups: Numbers of patients, int64, shape `[N]`.
        added: Which slices come from sets added to the protocol's own, bool, shape `[N]`.
        outlines: Tumours, 0 to 255, uint8, shape `[N, 1, S, S]`; None where nobody asks.
        outlined: Which of the outlines are known to be true, bool, shape `[N]`.
        weights: With which probability each slice is drawn, float64, shape `[N]`; None where all
            are shown.
    """

    grey: Tensor
    labels: Tensor
    clusters: Tensor
    groups: Tensor
    added: Tensor
    outlines: Tensor | None = None
    outlined: Tensor | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def move(self, device: torch.device) -> None:
        """Bring the whole part to a device; batches are then cut from it there."""
        self.grey, self.labels = self.grey.to(device), self.labels.to(device)
        if self.outlines is not None and self.outlined is not None:
            self.outlines, self.outlined = self.outlines.to(device), self.outlined.to(device)

    def batch(self, chosen: Tensor) -> "Batch":
        """Return the pictures of these numbers."""
        if self.outlines is None or self.outlined is None:
            return Batch(self.grey[chosen], self.labels[chosen])
        pictures = torch.cat([self.grey[chosen], self.outlines[chosen]], dim=1)
        return Batch(pictures, self.labels[chosen], self.outlined[chosen])


class Batch(NamedTuple):
    """Some pictures of a part.

    Attributes:
        pictures: Grey values and, where there are outlines, those as a second channel; uint8,
            shape `[n, 1 or 2, S, S]`.
        labels: Class numbers or `ANY`, shape `[n]`.
        outlined: Which of the outlines are known to be true, shape `[n]`; None without any.
    """

    pictures: Tensor
    labels: Tensor
    outlined: Tensor | None = None


class Fitting(lightning.LightningModule):
    """A network and what is needed to fit it by a recipe.

    All randomness of an epoch is drawn from the seed, the epoch and the device's rank, so a run
    that was killed and resumed goes on exactly as it would have.

    Args:
        network: From grey values `[N, 1, S, S]` to logits `[N, classes]`.
        recipe: How to fit it.
        train: What to learn from.
        validation: What to choose by; empty where a fixed number of epochs is trained.
        no_tumour: Number of the class that means no tumour.

    Attributes:
        total: The sum of the weights of the soup's networks that are done: see `mean_weights`.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        train: Part,
        validation: Part,
        *,
        no_tumour: int = CLASSES.index("notumor"),
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe = recipe
        self.augment = Augmentation(**recipe.augmentation.model_dump(exclude={"paint"}))
        self.average = (
            AveragedModel(
                self.network,
                multi_avg_fn=get_ema_multi_avg_fn(recipe.training.averaging),  # type: ignore[no-untyped-call]
                use_buffers=True,
            )
            if recipe.training.averaging
            else None
        )
        self.total: dict[str, Tensor] = {}
        self._first_weights = deepcopy(self.network.state_dict())
        self._validates = len(validation) > 0
        self._parts = {"train": train} | ({"validation": validation} if self._validates else {})
        self._sums = {name: torch.zeros(3) for name in self._parts}
        self._no_tumour = no_tumour
        # Where every slice has a tumour there is no label for one that is painted out.
        self._paints = recipe.augmentation.paint > 0 and bool((train.labels == no_tumour).any())
        self._named_loss = nn.CrossEntropyLoss(
            weight=_class_weights(train.labels, recipe),
            label_smoothing=recipe.loss.label_smoothing,
        )

    # Lightning calls these in the order in which they stand here.

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule."""
        optimizer = _optimizer(self.network, self.recipe.optimizer)
        steps = int(self.trainer.estimated_stepping_batches) // self.recipe.training.soup
        schedule = _schedule(optimizer, self.recipe.optimizer, steps)
        steered: list[Any] = [optimizer] if schedule is None else [optimizer, schedule]
        self._first_states = [deepcopy(one.state_dict()) for one in steered]
        if schedule is None:
            return optimizer
        when: dict[str, Any] = {"interval": "step"}
        if isinstance(schedule, ReduceLROnPlateau):
            # After the last step of an epoch and its validation, but before the checkpoint:
            # Lightning's "epoch" comes after it, and a resumed run would miss one.
            when |= {"monitor": "validation_loss", "frequency": self.trainer.num_training_batches}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, **when}}

    def on_fit_start(self) -> None:
        """Bring all data to the device, once."""
        for name, part in self._parts.items():
            part.move(self.device)
            self._sums[name] = self._sums[name].to(self.device)

    def train_dataloader(self) -> "Batches":
        """Return the training part in batches, in a new order each epoch."""
        return Batches(
            self,
            self._parts["train"],
            self.recipe.training.batch_size,
            shuffle=True,
            sampling=self.recipe.training.sampling,
            per_patient=self.recipe.training.per_patient,
            added_share=self.recipe.training.added_share,
            drawn=self.recipe.training.drawn,
        )

    def val_dataloader(self) -> "Batches | list[Any]":
        """Return the validation part in batches, if any; every device sees all of it."""
        if not self._validates:
            return []
        return Batches(self, self._parts["validation"], 16, shuffle=False)

    def on_train_epoch_start(self) -> None:
        """Draw this epoch's randomness from the seed, the epoch and the rank."""
        if self.current_epoch and not self._turn():
            self._begin_anew()
        seed = self.recipe.training.seed
        torch.manual_seed((seed * 10_007 + self.current_epoch) * 1_009 + self.global_rank)
        for sums in self._sums.values():
            sums.zero_()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of one augmented batch."""
        pictures, labels, outlined = batch
        pictures = pictures.float()
        if outlined is not None and self._paints:
            pictures, labels = paint_out(
                pictures,
                labels,
                known=outlined,
                share=self.recipe.augmentation.paint,
                no_tumour=self._no_tumour,
            )
        inputs = self.augment(pictures, self._side(), outlined=outlined)
        mixed, partner, share = _mix(inputs, self.recipe.loss.mixup)
        grey = mixed[:, :1].contiguous(memory_format=torch.channels_last)
        outputs = self.network.outputs(grey)
        logits = outputs.logits.float()
        drawn = logits.new_zeros(())
        if outlined is not None:
            assert outputs.outline is not None, "a recipe asks only such a network for an outline"
            drawn = self.recipe.loss.outline * outline_loss(
                outputs.outline.float(), mixed[:, 1:] / 255.0, outlined & outlined[partner]
            )
        loss: Tensor = share * self._loss(logits, labels)
        if share < 1.0:
            loss = loss + (1.0 - share) * self._loss(logits, labels[partner])
        self._count("train", loss, logits, labels)
        loss = loss + drawn
        if self.recipe.loss.l1:
            weights = [weight for weight in self.network.parameters() if weight.ndim > 1]
            loss = loss + self.recipe.loss.l1 * torch.stack([w.abs().sum() for w in weights]).sum()
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        """Bring the step into the moving average; without validation, log an epoch's figures."""
        if self.average is not None:
            self.average.update_parameters(self.network)
        if not self._validates and self.trainer.is_last_batch:
            self.log_dict(self._row(), on_step=True, on_epoch=False)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Count one batch of the validation part."""
        grey, labels = batch.pictures[:, :1].float(), batch.labels
        network = self.network if self.average is None else self.average
        logits = network(grey.contiguous(memory_format=torch.channels_last)).float()
        self._count("validation", nn.functional.cross_entropy(logits, labels), logits, labels)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's figures; `score` is what the best epoch is chosen by."""
        row = self._row()
        score = -row["validation_loss"]
        if self.recipe.training.monitor == "validation_accuracy":
            # The loss decides between epochs of the same accuracy, which small parts often have.
            score = row["validation_accuracy"] - 1e-4 * min(row["validation_loss"], 1.0)
        # The same on every device, so that all stop, reduce the rate and save at the same time:
        # the running means of their batch norms differ a little.
        self.log_dict({**row, "score": score}, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the soup."""
        checkpoint["soup"] = self.total

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the soup; a checkpoint of an earlier version has none."""
        self.total = checkpoint.get("soup", {})

    def _turn(self) -> int:
        """Return the number of this epoch among those of its network."""
        return self.current_epoch % self.recipe.training.epochs

    def _begin_anew(self) -> None:
        """Bring the network into the soup, and begin the next one where it began."""
        self.total = add_weights(self.total, self.network)
        self.network.load_state_dict(self._first_weights)
        steered: list[Any] = [self.trainer.optimizers[0]]
        steered += [config.scheduler for config in self.trainer.lr_scheduler_configs]
        for one, state in zip(steered, self._first_states, strict=True):
            one.load_state_dict(deepcopy(state))

    def _side(self) -> int:
        """Return the side of this epoch's pictures, which grows in equal steps of 32 pixels."""
        size, start = self.recipe.input.size, self.recipe.input.start
        if not start:
            return size
        steps = (size - start) // 32 + 1
        return start + 32 * (self._turn() * steps // self.recipe.training.epochs)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of slices of known and of unknown kind."""
        unnamed = labels == ANY
        if not unnamed.any():
            return cast(Tensor, self._named_loss(logits, labels))
        loss = any_tumour_loss(logits[unnamed], self._no_tumour)
        if not unnamed.all():
            named = ~unnamed
            loss = loss + named.sum() * self._named_loss(logits[named], labels[named])
        return loss / len(labels)

    def _count(self, part: str, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        count = len(labels)
        said = logits.argmax(dim=1)
        right = torch.where(labels == ANY, said != self._no_tumour, said == labels).sum()
        sums = self._sums[part]
        sums += torch.stack([loss.detach() * count, right, torch.full_like(right, count)])

    def _row(self) -> HistoryRow:
        row: HistoryRow = {}
        for name, own in self._sums.items():
            shared = name == "train" and self.trainer.world_size > 1
            sums = self.trainer.strategy.reduce(own, reduce_op="sum") if shared else own
            loss, right, count = (float(value) for value in sums)
            row[f"{name}_loss"] = loss / max(count, 1.0)
            row[f"{name}_accuracy"] = right / max(count, 1.0)
        optimizer = self.trainer.optimizers[0]
        row["learning_rate"] = float(optimizer.param_groups[0]["lr"])
        return row


class Batches:
    """A part of the data in batches that are cut from it on the device.

    Args:
        module: Knows the epoch, the rank and the number of devices.
        part: The data.
        size: Pictures a batch.
        shuffle: Whether the order is drawn anew each epoch; a last, smaller batch is then left
            out (it holds other pictures each epoch) unless it is the only one.
        sampling: How many pictures of each set of twins an epoch shows, drawn anew: see the recipe.
        per_patient: Of so many slices of a patient an epoch shows all, of more so many, drawn anew;
            0: all of them.
        added_share: The share of the slices of added sets that an epoch shows, drawn anew.
        drawn: So many slices are drawn by the part's weights, where it has some; 0: as many as
            there are.
    """

    def __init__(
        self,
        module: Fitting,
        part: Part,
        size: int,
        *,
        shuffle: bool,
        sampling: Sampling = "slices",
        per_patient: int = 0,
        added_share: float = 1.0,
        drawn: int = 0,
    ) -> None:
        self._module, self._part, self._size, self._shuffle = module, part, size, shuffle
        self._sampling, self._per_patient, self._added_share = sampling, per_patient, added_share
        self._drawn = (drawn or len(part)) if shuffle and part.weights is not None else 0
        self._count = self._drawn or len(self._chosen(torch.arange(len(part))))

    def __len__(self) -> int:
        count = self._count
        if not self._shuffle:
            return math.ceil(count / self._size)
        return max(1, count // self._module.trainer.world_size // self._size)

    def __iter__(self) -> Iterator[Batch]:
        module, part = self._module, self._part
        if self._shuffle:
            generator = torch.Generator()
            generator.manual_seed(module.recipe.training.seed * 10_007 + module.current_epoch)
            if self._drawn and part.weights is not None:
                order = torch.multinomial(
                    part.weights, self._drawn, replacement=True, generator=generator
                )
            else:
                order = self._chosen(torch.randperm(len(part), generator=generator))
            order = order[module.global_rank :: module.trainer.world_size]
        else:
            order = torch.arange(len(part))
        order = order.to(part.labels.device)
        for number in range(len(self)):
            chosen = order[number * self._size : (number + 1) * self._size]
            yield part.batch(chosen)

    def _chosen(self, order: Tensor) -> Tensor:
        """Return what an epoch shows of the numbers in `order`, in that order."""
        if self._sampling == "unique":
            order = _first_of_each(self._part.clusters, order, 1)
        elif self._sampling == "root":
            twins = self._part.clusters.bincount()
            order = _first_of_each(self._part.clusters, order, twins.sqrt().int())
        if self._per_patient:
            order = _first_of_each(self._part.groups, order, self._per_patient)
        if self._added_share < 1.0:
            added = self._part.added[order]
            shown = int(added.sum() * self._added_share)
            order = order[~added | (added.cumsum(0) <= shown)]
        return order


def _first_of_each(sets: Tensor, order: Tensor, count: int | Tensor) -> Tensor:
    """Return the numbers in `order` less those of whose set `count` stood there before.

    A tensor of counts has one for each set.
    """
    numbers = sets[order].numpy()
    together = np.argsort(numbers, kind="stable")
    _, starts, sizes = np.unique(numbers[together], return_index=True, return_counts=True)
    place = np.arange(len(numbers)) - np.repeat(starts, sizes)
    wanted = count if isinstance(count, int) else count[numbers[together]].numpy()
    return order[np.sort(together[place < wanted])]


def _class_weights(labels: Tensor, recipe: Recipe) -> Tensor | None:
    if recipe.loss.class_weights == "none":
        return None
    labels = labels[labels != ANY]
    counts = torch.bincount(labels)
    return len(labels) / (len(counts) * counts.float())


def _mix(inputs: Tensor, alpha: float) -> tuple[Tensor, Tensor, float]:
    """Mix each picture with another of the batch (Zhang et al. 2018, arXiv:1710.09412)."""
    if not alpha:
        return inputs, torch.arange(len(inputs), device=inputs.device), 1.0
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(len(inputs), device=inputs.device)
    return share * inputs + (1.0 - share) * inputs[partner], partner, share


def _optimizer(network: nn.Module, recipe: OptimizerRecipe) -> Optimizer:
    decayed = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if recipe.name == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)


def _schedule(optimizer: Optimizer, recipe: OptimizerRecipe, steps: int) -> LRScheduler | None:
    rate, warmup = recipe.learning_rate, recipe.warmup
    if recipe.schedule == "one-cycle":
        # It divides by zero where the rise takes less than a step.
        rise = min(1.0, max(warmup, 2.0 / (steps + 1)))
        return OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=rise)
    if recipe.schedule == "cosine":
        rising = max(1, round(steps * warmup))

        def share(step: int) -> float:
            if step < rising:
                return (step + 1) / rising
            done = (step - rising) / max(1, steps - rising)
            return 0.5 * (1.0 + float(torch.cos(torch.tensor(torch.pi * min(done, 1.0)))))

        return LambdaLR(optimizer, share)
    if recipe.schedule == "plateau":
        return ReduceLROnPlateau(
            optimizer, factor=recipe.plateau_factor, patience=recipe.plateau_patience
        )
    return None
