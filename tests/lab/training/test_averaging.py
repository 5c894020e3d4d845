"""The moving average as the engine configures it, on a network with every kind of buffer."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ssfe import enhance
from ssfe.lab.training.fit import _averaging


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(13)
        self.fc = nn.Linear(13, 3)
        self.register_buffer("index", torch.arange(2401))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.norm(x))
        return logits


def test_indices_survive_and_weights_are_averaged() -> None:
    network = enhance(Net())
    (callback,) = _averaging(0.9999, torch.device("cpu"))
    average = AveragedModel(network, use_buffers=True, **callback._kwargs)  # type: ignore[attr-defined]
    network(torch.randn(8, 13))
    average.update_parameters(network)  # the first update copies
    start = network.fc.weight.detach().clone()  # type: ignore[union-attr, operator]
    with torch.no_grad():
        network.fc.weight += 1  # type: ignore[union-attr, operator]
    average.update_parameters(network)
    assert average.module.index.equal(network.index)
    assert average.module.norm.num_batches_tracked == 1
    torch.testing.assert_close(average.module.fc.weight, start + 9 / 11, msg="a short training would keep its start")
    average.n_averaged.fill_(10**6)
    with torch.no_grad():
        network.fc.weight.copy_(average.module.fc.weight + 1)  # type: ignore[union-attr, operator]
    average.update_parameters(network)
    torch.testing.assert_close(average.module.fc.weight, start + 9 / 11 + 1e-4)


def test_off_by_default() -> None:
    assert _averaging(0.0, torch.device("cpu")) == []
