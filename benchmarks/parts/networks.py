"""Training steps and inference of whole networks."""

from __future__ import annotations

import copy
from typing import Any

import timm
import torch
from torch import Tensor, nn

import ssfe
import ssfe.lab.models  # registers cifar_resnet20 and small_stem
from benchmarks.parts.times import times_of
from ssfe.core.timing import alternate
from ssfe.lab.methods.heads import classifier_of, swapped
from ssfe.lab.methods.sla import rotated, widened


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
    """Points 1 and 4: a training step, plain and enhanced, in float32 and bfloat16; SLA on the first network."""
    found = []
    for number, (name, (network, images)) in enumerate(networks(fast, device).items()):
        batch = images.contiguous(memory_format=torch.channels_last)
        model = network.to(memory_format=torch.channels_last)
        rounds = 2 if fast else 21 - 4 * number
        for autocast in (None, torch.bfloat16):
            cost = ssfe.cost(model, batch, methods=["plain", "ssfe"], rounds=rounds, autocast=autocast)
            found.append({**cost.to_dict(), "network": name})
        if number == 0:
            cost = ssfe.cost(model, batch, methods=["plain", "sla"], rounds=2 if fast else 5)
            found.append({**cost.to_dict(), "network": name})
    return found


def inference(fast: bool, device: torch.device) -> list[dict[str, Any]]:
    """Point 6: the folded network against stock, aggregation without folding, and SLA's aggregation."""
    found = []
    for name, (network, images) in list(networks(fast, device).items())[:2]:
        stock = network.eval()
        model = ssfe.enhance(copy.deepcopy(stock)).eval()
        folded = ssfe.fold(model)
        _, wide = classifier_of(stock)
        sla = swapped(stock, wide, widened(wide, distill=False))

        def unfolded(model: nn.Module = model, images: Tensor = images) -> None:
            with ssfe.joint_evaluation(model):
                model(images).class_logits("aggregated")

        calls = {
            "stock": lambda stock=stock, images=images: stock(images),
            "ssfe, folded": lambda folded=folded, images=images: folded(images),
            "ssfe, aggregated without folding": unfolded,
            "SLA, aggregated": lambda sla=sla, images=images: sla(rotated(images)),
        }
        with torch.no_grad():
            times = times_of(alternate(calls, rounds=2 if fast else 7, device=device))
        found.append({"network": name, "B": len(images), "time": times})
    return found
