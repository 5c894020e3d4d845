"""Training steps and inference of whole networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

import ssfe
import ssfe.lab.models  # registers cifar_resnet20 and small_stem
from benchmarks.parts.times import times_of
from ssfe.core.memory import allocated_bytes
from ssfe.core.timing import alternate
from ssfe.lab.methods.heads import classifier_of, swapped
from ssfe.lab.methods.sla import RotatedInput, widened


def networks(fast: bool, device: torch.device) -> dict[str, tuple[nn.Module, Tensor]]:
    """Networks of point 4, with a batch each: batches as usual on a GPU, smaller ones on a CPU."""
    torch.manual_seed(0)
    if fast:
        made = {"test_resnet, 32 px": (timm.create_model("test_resnet", num_classes=10), (4, 3, 32, 32))}
    else:
        made = _full_size(*((32, 8) if device.type == "cpu" else (128, 64)))
    return {name: (network.to(device), torch.randn(shape, device=device)) for name, (network, shape) in made.items()}


def _full_size(small: int, large: int) -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Networks and the shapes of their batches: of ``small`` images of 32 px, of ``large`` ones of 224 px."""
    small_stem = timm.create_model("small_stem", base="resnet18", num_classes=100)
    return {
        "cifar_resnet20, 32 px": (timm.create_model("cifar_resnet20", num_classes=100), (128, 3, 32, 32)),
        "small-stem resnet18, 32 px": (small_stem, (small, 3, 32, 32)),
        "resnet18, 224 px": (timm.create_model("resnet18", num_classes=100), (large, 3, 224, 224)),
        "resnet50, 224 px": (timm.create_model("resnet50", num_classes=100), (large, 3, 224, 224)),
    }


def steps(fast: bool, device: torch.device) -> list[dict[str, Any]]:
    """Points 1 and 4: a training step, plain, enhanced and of SLA, in float32 and bfloat16.

    SLA takes turns with plain training in an alternation of its own: beside a step four times as large, which empties
    caches, a ratio of a few percent could not be told.
    """
    found = []
    for number, (name, (network, images)) in enumerate(networks(fast, device).items()):
        batch = images.contiguous(memory_format=torch.channels_last)
        model = network.to(memory_format=torch.channels_last)
        for autocast in (None, torch.bfloat16):
            for method, rounds in (("ssfe", 21 - 4 * number), ("sla", 5)):
                methods = ["plain", method]
                cost = ssfe.cost(model, batch, methods=methods, rounds=2 if fast else rounds, autocast=autocast)
                found.append({**cost.to_dict(), "network": name})
    return found


def inference(fast: bool, device: torch.device) -> list[dict[str, Any]]:
    """Point 6: the folded network against stock, aggregation without folding, and SLA's aggregation."""
    found = []
    for name, (network, images) in networks(fast, device).items():
        stock = network.eval()
        model = ssfe.enhance(copy.deepcopy(stock)).eval()
        name_of_head, head = classifier_of(stock)
        ways = {
            "stock": stock,
            "ssfe, folded": ssfe.fold(model),
            "ssfe, aggregated without folding": _Aggregated(model),
            "SLA, aggregated": RotatedInput(swapped(stock, head, widened(head, distill=False)), name_of_head),
        }
        calls = {way: _on(network, images) for way, network in ways.items()}
        sizes = {way: sum(p.numel() for p in network.parameters()) for way, network in ways.items()}
        with torch.no_grad():
            times = times_of(alternate(calls, rounds=2 if fast else 11, device=device))
            peaks = {way: _parameter_bytes(ways[way]) + allocated_bytes(call, device) for way, call in calls.items()}
        found.append({"network": name, "B": len(images), "time": times, "parameters": sizes, "peak_bytes": peaks})
    return found


class _Aggregated(nn.Module):
    """The enhanced network's ensemble of all views, through the joint classifier."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with ssfe.joint_evaluation(self.network):
            output: ssfe.JointLogits = self.network(images)
        return output.class_logits("aggregated")


def _on(network: nn.Module, images: Tensor) -> Callable[[], Any]:
    return lambda: network(images)


def _parameter_bytes(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
