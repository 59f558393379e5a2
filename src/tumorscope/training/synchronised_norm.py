"""Batch norm with the statistics of all processes that train together, on any device.

PyTorch's own (`SyncBatchNorm`) needs a GPU.
"""

from typing import Any

import torch
from torch import Tensor, nn


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """A batch norm whose mean and variance are those of the batches of all processes.

    So a step of several processes is that of one with all their pictures (Peng et al. 2018,
    arXiv:1711.07240). Each process must have as many pictures as the others.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise feature maps `[N, C, H, W]`."""
        if not self.training:
            plain: Tensor = super().forward(maps)
            return plain
        values = maps.float()
        mean = _mean_of_all(values.mean((0, 2, 3)))
        centred = values - mean[:, None, None]
        variance = _mean_of_all(centred.square().mean((0, 2, 3)))
        self._keep(mean.detach(), variance.detach(), values.numel() // values.shape[1])
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normal: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return normal.to(maps.dtype)

    def _keep(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Bring a batch's statistics into the running ones, which take the unbiased variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        count *= torch.distributed.get_world_size()
        self.num_batches_tracked.add_(1)
        share = self.momentum or 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / (count - 1)), share)


def synchronise(network: nn.Module) -> None:
    """Put synchronised batch norms in place of all others."""
    _replace(network, nn.BatchNorm2d, SynchronisedBatchNorm)


def separate(network: nn.Module) -> None:
    """Undo `synchronise`: the network is then used in one process."""
    _replace(network, SynchronisedBatchNorm, nn.BatchNorm2d)


def _replace(network: nn.Module, old: type[nn.BatchNorm2d], new: type[nn.BatchNorm2d]) -> None:
    for name, module in list(network.named_modules()):
        if type(module) is old:
            other = new(module.num_features, eps=module.eps, momentum=module.momentum)
            # The same tensors, not copies: an optimizer may hold them already.
            other.weight, other.bias = module.weight, module.bias
            other.running_mean, other.running_var = module.running_mean, module.running_var
            other.num_batches_tracked = module.num_batches_tracked
            other.train(module.training)
            network.set_submodule(name, other)


class _MeanOfAll(torch.autograd.Function):
    """The mean over all processes; so is the gradient of the sum of their losses."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total / torch.distributed.get_world_size()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return _MeanOfAll.forward(context, gradients[0])


def _mean_of_all(values: Tensor) -> Tensor:
    mean: Tensor = _MeanOfAll.apply(values)  # type: ignore[no-untyped-call]
    return mean
