"""The Lightning module: losses, optimizer and schedule of a training run."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, cast

import lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tumorscope.classes import CLASSES
from tumorscope.errors import ModelError
from tumorscope.networks.network import Network
from tumorscope.training.augmentation import Augmentation
from tumorscope.training.batches import ANY, Batch, Batches, EpochSampler, Part
from tumorscope.training.checkpoints import check_recipe
from tumorscope.training.losses import any_tumour_loss, outline_loss
from tumorscope.training.recipe import OptimizerRecipe, Recipe
from tumorscope.training.soup import add_weights
from tumorscope.training.tumour_removal import paint_out

HistoryRow = dict[str, float]
"""One epoch: `epoch`, losses and accuracies of training and validation, `learning_rate` and
`images_per_second` (training only)."""


class Fitting(lightning.LightningModule):
    """A network and what is needed to fit it by a recipe.

    All randomness of an epoch is drawn from the seed, the epoch and the device's rank, so a run
    that was killed and resumed goes on exactly as it would have.

    Args:
        network: From grey values `[N, 1, S, S]` to logits `[N, classes]`.
        recipe: How to fit it.
        train: The training part.
        validation: The part that the best epoch is chosen by; may be empty.
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

    def train_dataloader(self) -> Batches:
        """Return the training part in batches, in a new order each epoch."""
        part, recipe = self._parts["train"], self.recipe.training
        self._sampler = EpochSampler(
            part, recipe, rank=self.global_rank, processes=self.trainer.world_size
        )
        self._sampler.set_epoch(self.current_epoch)
        return Batches(part, recipe.batch_size, self._sampler)

    def val_dataloader(self) -> Batches | list[Any]:
        """Return the validation part in batches, if any; every device sees all of it."""
        if not self._validates:
            return []
        return Batches(self._parts["validation"], 16)

    def on_train_epoch_start(self) -> None:
        """Draw this epoch's randomness from the seed, the epoch and the rank."""
        self._sampler.set_epoch(self.current_epoch)
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
        """Keep the soup and the recipe."""
        checkpoint["soup"] = self.total
        checkpoint["recipe"] = self.recipe.model_dump()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the soup; a checkpoint of an earlier version has none, and no recipe.

        Raises:
            ModelError: The checkpoint is of another network or recipe.
        """
        check_recipe(checkpoint.get("recipe", {}), self.recipe)
        if _shapes(checkpoint["state_dict"]) != _shapes(self.state_dict()):
            where = self.trainer.ckpt_path
            raise ModelError(f"{where}: of another version's network: train again")
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
        predicted = logits.argmax(dim=1)
        tumour = predicted != self._no_tumour
        right = torch.where(labels == ANY, tumour, predicted == labels).sum()
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


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in state.items()}


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
