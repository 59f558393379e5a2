"""Model soups: the mean of the weights of networks trained from one start.

A model soup (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482): networks that began at the
same weights and went different ways stay close enough for their mean to bring most of what the mean
of their answers would, at the price of one network.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def mean_weights(total: Mapping[str, Tensor], last: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean of some networks' weights; counters are the last one's.

    Args:
        total: The sum of all but the last, by name, and under `members` how many those are.
        last: The last one's.
    """
    count = total["members"] + 1
    return {
        name: (total[name] + value) / count if value.is_floating_point() else value
        for name, value in last.items()
    }


def add_weights(total: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return the sum, as `mean_weights` takes it, with one network more; empty is the first one."""
    weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    weights["members"] = torch.tensor(1)
    return {name: total[name] + value if total else value for name, value in weights.items()}


def renew_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take the statistics of batch norm anew: those of the members do not fit their mean.

    They are the mean over all batches. Layers that do not learn keep theirs, which torch's own
    `update_bn` would reset.

    Args:
        network: Is in evaluation mode afterwards.
        batches: Its inputs, `[n, 1, S, S]`.
    """
    network.train()
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training]
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for batch in batches:
            network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
