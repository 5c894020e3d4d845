"""Distributed training: two gloo processes (this file, run as a script) equal one process with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssfe import ChannelDiscard, JointLoss, enhance, fold

STEPS = 3
CASES: dict[str, dict[str, Any]] = {"input": {}, "tap": {"tap": "2"}, "chunked": {"logits": "chunked"}}


def network(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    stock = nn.Sequential(
        nn.Conv2d(3, 13, 3),
        nn.GroupNorm(1, 13),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(13, 5),
    )
    return enhance(stock.double(), ChannelDiscard(groups="random"), distill=True, **options)


def train(model: nn.Module, part: slice) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(STEPS):
        x = torch.randn(8, 3, 6, 6, generator=generator).double()
        labels = torch.randint(5, (8,), generator=generator)
        optimizer.zero_grad()
        # A parameter without a gradient would make the next forward of DDP fail.
        JointLoss()(model(x[part]), labels[part]).backward()
        optimizer.step()
    gradients = {name.removeprefix("module."): p.grad for name, p in model.named_parameters()}
    state = {name.removeprefix("module."): value for name, value in model.state_dict().items()}
    return {"gradients": gradients, "state": state}


def join(rank: int, world: int, folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=world
    )


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    join(rank, 2, folder)
    for name, options in CASES.items():
        # Chunked logits leave the network as features and weight: DDP has to see that the weight is used.
        wrapped = DistributedDataParallel(network(**options), find_unused_parameters=name == "chunked")
        result = train(wrapped, slice(4 * rank, 4 * rank + 4))
        result["folded"] = fold(wrapped.module, "distilled").state_dict()
        torch.save(result, folder / f"{name}-{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    command = [sys.executable, __file__]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], stderr=subprocess.PIPE, text=True) for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    for name, options in CASES.items():
        # Chunks are another way to the same numbers.
        model = network(**{**options, "logits": "whole"})
        expected = train(model, slice(None))
        expected["folded"] = fold(model, "distilled").state_dict()
        for rank in (0, 1):
            result = torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True)
            torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-10)


def test_refuses_a_wrapped_network(tmp_path: Path) -> None:
    join(0, 1, tmp_path)
    try:
        with pytest.raises(TypeError, match="wrapped in DistributedDataParallel already: enhance it first"):
            enhance(DistributedDataParallel(nn.Sequential(nn.Linear(13, 5))))
        with pytest.raises(ValueError, match="pass its part 'module' instead"):
            fold(DistributedDataParallel(network()))
    finally:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]))
