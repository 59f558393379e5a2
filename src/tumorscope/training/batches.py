"""The training and validation parts in batches that are cut from them on the device."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tumorscope.classes import ANY_TUMOUR
from tumorscope.datasets.catalogue import slice_name
from tumorscope.datasets.inputs import Inputs
from tumorscope.datasets.splits import Partition
from tumorscope.training.balance import slice_weights
from tumorscope.training.recipe import TrainingRecipe

ANY = -1
"""The label of a slice with a tumour of unknown kind."""


@dataclass
class Part:
    """The inputs and labels of one part of the data, all on one device.

    Attributes:
        grey: Grey values 0 to 255, uint8, shape `[N, 1, S, S]`.
        labels: Class numbers or `ANY`, int64, shape `[N]`.
        clusters: Numbers of sets of near-duplicates, int64, shape `[N]`.
        groups: Numbers of patients, int64, shape `[N]`.
        added: Which slices come from sets added to the protocol's own, bool, shape `[N]`.
        outlines: Tumours, 0 to 255, uint8, shape `[N, 1, S, S]`; None where they are not needed.
        outlined: Which of the outlines are known, bool, shape `[N]`.
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
        outlined: Which of the outlines are known, shape `[n]`; None without any.
    """

    pictures: Tensor
    labels: Tensor
    outlined: Tensor | None = None


def part_of(inputs: Inputs, partition: Partition, shares: Mapping[str, float] = {}) -> Part:
    """Return the part that some inputs are.

    Args:
        inputs: Slices that were read and prepared.
        partition: Knows the classes and the protocol's own set.
        shares: Of the data sets, where slices are drawn by weights: see `slice_weights`.
    """
    labels = [
        ANY if item.label == ANY_TUMOUR else partition.classes.index(item.label)
        for item in inputs.slices
    ]
    # A slice without a known cluster is alone in its own.
    clusters = [item.cluster or slice_name(item) for item in inputs.slices]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    patients = {item.group: number for number, item in enumerate(inputs.slices)}
    # A near-duplicate of the protocol's own slices adds nothing.
    owns = partition.protocol.owns
    own = {name for name, item in zip(clusters, inputs.slices, strict=True) if owns(item)}
    part = Part(
        torch.from_numpy(inputs.grey)[:, None],
        torch.tensor(labels),
        torch.tensor([numbers[name] for name in clusters]),
        torch.tensor([patients[item.group] for item in inputs.slices]),
        torch.tensor([name not in own for name in clusters]),
    )
    if shares:
        part.weights = torch.from_numpy(slice_weights(inputs.slices, shares))
    if inputs.outlines is not None and inputs.outlined is not None:
        part.outlines = torch.from_numpy(inputs.outlines)[:, None]
        part.outlined = torch.from_numpy(inputs.outlined)
    return part


class EpochSampler:
    """What a training epoch shows and in which order, drawn anew from the seed and the epoch.

    Args:
        part: The training part.
        recipe: Says how many near-duplicates, slices of a patient and of added sets are shown.
        rank: Number of this process, which gets its own share.
        processes: How many train together.
    """

    def __init__(
        self, part: Part, recipe: TrainingRecipe, *, rank: int = 0, processes: int = 1
    ) -> None:
        self._part, self._recipe, self._rank, self._processes = part, recipe, rank, processes
        self._epoch = 0
        self._drawn = (recipe.drawn or len(part)) if part.weights is not None else 0
        self._count = self._drawn or len(self._chosen(torch.arange(len(part))))

    def __len__(self) -> int:
        """Return how many slices each process sees at least."""
        return self._count // self._processes

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self._epoch = epoch

    def order(self) -> Tensor:
        """Return the numbers of the slices that this process sees."""
        generator = torch.Generator()
        generator.manual_seed(self._recipe.seed * 10_007 + self._epoch)
        weights = self._part.weights
        if self._drawn and weights is not None:
            order = torch.multinomial(weights, self._drawn, replacement=True, generator=generator)
        else:
            order = self._chosen(torch.randperm(len(self._part), generator=generator))
        return order[self._rank :: self._processes]

    def _chosen(self, order: Tensor) -> Tensor:
        """Return what an epoch shows of the numbers in `order`, in that order."""
        recipe = self._recipe
        if recipe.sampling == "unique":
            order = _first_of_each(self._part.clusters, order, 1)
        elif recipe.sampling == "root":
            sizes = self._part.clusters.bincount()
            order = _first_of_each(self._part.clusters, order, sizes.sqrt().int())
        if recipe.per_patient:
            order = _first_of_each(self._part.groups, order, recipe.per_patient)
        if recipe.added_share < 1.0:
            added = self._part.added[order]
            shown = int(added.sum() * recipe.added_share)
            order = order[~added | (added.cumsum(0) <= shown)]
        return order


class Batches:
    """A part of the data in batches.

    Args:
        part: The data.
        size: Images a batch.
        sampler: What each epoch shows. A last, smaller batch is then left out (it holds other
            images each epoch) unless it is the only one. None: everything, in its order.
    """

    def __init__(self, part: Part, size: int, sampler: EpochSampler | None = None) -> None:
        self._part, self._size, self._sampler = part, size, sampler

    def __len__(self) -> int:
        if self._sampler is None:
            return math.ceil(len(self._part) / self._size)
        return max(1, len(self._sampler) // self._size)

    def __iter__(self) -> Iterator[Batch]:
        part, size = self._part, self._size
        order = torch.arange(len(part)) if self._sampler is None else self._sampler.order()
        order = order.to(part.labels.device)
        for number in range(len(self)):
            yield part.batch(order[number * size : (number + 1) * size])


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
