from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ssfe import ChannelDiscard, JointLoss, cost, enhance
from ssfe.core.memory import allocated_bytes
from tests.reference.networks import TinyNet, images


def test_a_tiny_network_counted_by_hand() -> None:
    """3x3 convolution of stride 2, 3 -> 13 channels at 8 px; 13 -> 5 classes."""
    model = TinyNet().eval()
    before = copy.deepcopy(model.state_dict())
    found = cost(model, images(4), ChannelDiscard(3), rounds=2)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())

    assert list(found.methods) == ["plain", "ssfe", "sla"]
    convolution, classifier = 2 * 13 * 27 * 9, 2 * 13 * 5
    # The images need no gradient: two products of the convolution, three of the classifier.
    plain, ssfe, sla = found.methods.values()
    assert plain.flops == 2 * convolution + 3 * classifier
    assert ssfe.flops == 2 * convolution + 3 * 3 * classifier
    assert sla.flops == 4 * (2 * convolution + 3 * 4 * classifier)
    stock = sum(parameter.numel() for parameter in model.parameters())
    assert [own.shipped_parameters for own in (plain, ssfe, sla)] == [stock] * 3
    assert [own.parameters - stock for own in (plain, ssfe, sla)] == [0, 2 * 14 * 5, 3 * 14 * 5]
    assert plain.peak_bytes > 3 * 4 * stock  # parameters, gradients, momentum
    assert sla.peak_bytes > ssfe.peak_bytes > plain.peak_bytes
    assert plain.time.median == 1
    json.dumps(found.to_dict())
    lines = str(found).splitlines()
    assert lines[0].startswith("TinyNet, batch 4x3x8x8, cpu, float32")
    assert [line.split()[0] for line in lines[2:5]] == ["plain", "ssfe", "sla"]


def test_options_reach_the_network() -> None:
    chunked = cost(TinyNet(), images(4), rounds=2, logits="chunked", autocast=torch.bfloat16)
    whole = cost(TinyNet(), images(4), rounds=2, logits="whole", autocast=torch.bfloat16)
    assert chunked.methods["ssfe"].flops == whole.methods["ssfe"].flops
    assert chunked.precision == "bfloat16"
    assert list(cost(TinyNet(), images(4), rounds=2, methods=["sla"]).methods) == ["plain", "sla"]
    with pytest.raises(ValueError, match="unknown method 'slow': choose from plain, ssfe, sla"):
        cost(TinyNet(), images(4), methods=["slow"])
    with pytest.raises(ValueError, match="unknown views 'none'"):
        cost(TinyNet(), images(4), views="none")


@pytest.mark.parametrize("shape", [(4, 3, 8, 6), (1, 3, 8, 8), (3, 8, 8)])
def test_images_that_are_no_square_batch(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images must be \(B, C, S, S\) with B >= 2"):
        cost(TinyNet(), torch.zeros(shape))


def test_allocated_bytes() -> None:
    def call() -> None:
        held: list[Tensor] = [torch.empty(1000), torch.empty(3000)]
        held.pop()
        held.append(torch.empty(2000))

    assert allocated_bytes(call) == 4 * 4000


def test_flops_of_the_chunked_loss_are_the_products() -> None:
    model: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    counts: list[Any] = []
    for logits in ("whole", "chunked"):
        enhanced = enhance(copy.deepcopy(model), logits=logits)
        with FlopCounterMode(display=False) as counter:
            JointLoss()(enhanced(images(4, 4)), torch.zeros(4).long()).backward()
        counts.append(counter.get_total_flops())
    assert counts == [2 * 2 * 4 * 48 * 5 * 4] * 2  # forward, and the weight's gradient
