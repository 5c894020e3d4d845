"""A process of two, weights sharded by FSDP2: python -m tests.battery.two_processes FOLDER RANK WAY"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from ssfe import JointLoss

from . import small


def network() -> nn.Module:
    return small.network(small.group_norm)


def train(model: nn.Module, part: slice) -> None:
    images, labels = small.problem(16)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        JointLoss()(model(images[part]), labels[part]).backward()
        optimizer.step()


def main(folder: str, rank: int, way: str) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{Path(folder) / 'rendezvous'}", rank=rank, world_size=2
    )
    with small.enhanced_with(way):
        model = network()
    mesh = init_device_mesh("cpu", (2,))
    fully_shard(model.stem, mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert all(isinstance(p, DTensor) and p.to_local().shape != p.shape for p in model.parameters())
    train(model, slice(8 * rank, 8 * rank + 8))
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    if rank == 0:
        torch.save(state, Path(folder) / "state.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
