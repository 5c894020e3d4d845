from __future__ import annotations

import math

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ssfe.lab.config import OptimizerOptions
from ssfe.lab.training.optimization import make_optimizer, make_schedule, parameter_groups


def network() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    net[3].bias.requires_grad_(False)
    return net


def test_biases_and_norm_layers_do_not_decay() -> None:
    net = network()
    decayed, free = parameter_groups(net, 0.1)
    assert {id(p) for p in decayed["params"]} == {id(net[0].weight), id(net[3].weight)}
    assert {id(p) for p in free["params"]} == {id(net[0].bias), id(net[1].weight), id(net[1].bias)}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.0, False)])
def test_sgd(momentum: float, nesterov: bool) -> None:
    optimizer = make_optimizer(network(), OptimizerOptions(lr=0.3, weight_decay=0.1, momentum=momentum))
    assert isinstance(optimizer, torch.optim.SGD)
    assert all((g["lr"], g["momentum"], g["nesterov"]) == (0.3, momentum, nesterov) for g in optimizer.param_groups)


def test_adamw() -> None:
    optimizer = make_optimizer(network(), OptimizerOptions(optimizer="adamw", lr=0.3, weight_decay=0.1))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.3]


def rates(warmup: int, total: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = make_schedule(optimizer, warmup, total)
    seen = []
    for _ in range(total):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return [*seen, optimizer.param_groups[0]["lr"]]


@given(st.integers(0, 20), st.integers(1, 60))
def test_the_rate_climbs_and_falls(warmup: int, total: int) -> None:
    seen = rates(warmup, total)
    assert all(0 < rate <= 1 for rate in seen[:total])
    climb, fall = seen[: warmup + 1], seen[warmup:]
    assert climb == sorted(climb)
    assert fall == sorted(fall, reverse=True)
    if warmup < total:
        assert seen[warmup] == 1
        assert seen[-1] == pytest.approx(0, abs=1e-12)


def test_the_cosine() -> None:
    assert rates(2, 6) == pytest.approx([1 / 3, 2 / 3, *(0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(5))])


def test_what_a_network_exempts_is_not_decayed() -> None:
    network = nn.Sequential(timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=3, img_size=32))
    exempt = {id(network[0].pos_embed), id(network[0].cls_token)}  # type: ignore[union-attr]
    decayed, kept = parameter_groups(network, 0.1)
    assert exempt <= {id(parameter) for parameter in kept["params"]}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(kept["params"]) == len(list(network.parameters()))
