"""Synchronised batch norm computes what PyTorch's does (in two processes: the benchmark)."""

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from torch import distributed, nn

from tumorscope.training.synchronised_norm import SynchronisedBatchNorm, separate, synchronise


@pytest.fixture
def group() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_outputs_gradients_and_running_statistics_are_those_of_batch_norm(group: None) -> None:  # noqa: ARG001
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU())
    shared = deepcopy(plain)
    synchronise(shared)
    assert type(shared[1]) is SynchronisedBatchNorm
    for _ in range(3):
        pictures = 5 + 3 * torch.randn(6, 1, 8, 8)
        expected, found = plain(pictures), shared(pictures)
        torch.testing.assert_close(found, expected)
        expected.square().sum().backward()
        found.square().sum().backward()
    for one, other in zip(plain.parameters(), shared.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-3)
    separate(shared)
    assert type(shared[1]) is nn.BatchNorm2d
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], value)
    torch.testing.assert_close(shared.eval()(pictures), plain.eval()(pictures))
