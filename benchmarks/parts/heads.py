"""The joint classifier and its loss alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tests.reference import classifier as reference
from torch import Tensor
from torch.nn import functional as F

import ssfe
from benchmarks.parts.times import times_of
from ssfe.alternation import alternate
from ssfe.cost import allocated_bytes

Call = Callable[[], Any]


def classifier_calls(
    transform: ssfe.ChannelDiscard, batch: int, channels: int, classes: int
) -> tuple[dict[str, Call], dict[str, Call]]:
    """Forward, and forward with backward: M full products (reference), ours, and one N*M-wide product."""
    joint = ssfe.JointClassifier(channels, classes, transform, logits="whole")
    x = torch.randn(batch, channels, requires_grad=True)
    ways: dict[str, Callable[[], Tensor]] = {
        "M products": lambda: reference.joint_logits(x, joint.weight, joint.bias, joint.masks),
        "ours": lambda: joint(x).logits,
        "one product": lambda: F.linear(x, joint.weight, joint.bias),
    }
    upstream = {name: torch.randn_like(way()) for name, way in ways.items()}

    def both(name: str) -> None:
        x.grad = joint.weight.grad = joint.bias.grad = None
        ways[name]().backward(upstream[name])

    return dict(ways), {name: (lambda name=name: both(name)) for name in ways}


def sorted_halves(channels: int) -> ssfe.ChannelDiscard:
    """Random halves whose channels are sorted by the views that keep them, so that nothing is gathered."""
    drawn = ssfe.ChannelDiscard(scheme="drop_fraction").keep_masks(channels)
    columns = sorted(drawn.T.tolist(), reverse=True)
    return ssfe.ChannelDiscard(masks=torch.tensor(columns).T)


def classifier(fast: bool) -> list[dict[str, Any]]:
    """How many times faster than M full products."""
    batch, channels, classes = (8, 64, 10) if fast else (256, 2048, 1000)
    found = []
    for label, transform in {
        "4 contiguous groups": ssfe.ChannelDiscard(),
        "4 interleaved groups": ssfe.ChannelDiscard(groups="interleaved"),
        "4 random halves (overlapping)": ssfe.ChannelDiscard(scheme="drop_fraction"),
        "the same halves, channels sorted": sorted_halves(channels),
    }.items():
        passes = dict(zip(("forward", "both"), classifier_calls(transform, batch, channels, classes), strict=True))
        rounds = 2 if fast else 21
        times = {name: times_of(alternate(calls, rounds=rounds)) for name, calls in passes.items()}
        found.append(
            {
                "masks": label,
                "B": batch,
                "C": channels,
                "N": classes,
                "M": transform.transforms,
                "rounds": rounds,
                **times,
            }
        )
    return found


def large(fast: bool) -> list[dict[str, Any]]:
    """Point 3: time against the minimal arithmetic, memory against an N*M-way classifier on one view."""
    batch, classes = (8, 50) if fast else (256, 21_841)
    return [_large(channels, classes, batch, 2 if fast else 5) for channels in ((16, 32) if fast else (512, 2048))]


def _large(channels: int, classes: int, batch: int, rounds: int) -> dict[str, Any]:
    joint = ssfe.JointClassifier(channels, classes, logits="chunked")
    calls = large_calls(joint, batch)
    times = times_of(alternate(calls, rounds=rounds))
    parameters = sum(parameter.nbytes for parameter in joint.parameters())
    peaks = {}
    for name in ("one view", "ours"):
        joint.zero_grad()
        peaks[name] = parameters + allocated_bytes(calls[name])
    if channels <= 512:
        joint.zero_grad()
        joint.logits = "whole"
        peaks["whole logits"] = parameters + allocated_bytes(calls["ours"])
    return {"B": batch, "C": channels, "N": classes, "M": 4, "time": times, "peak_bytes": peaks}


def large_calls(joint: ssfe.JointClassifier, batch: int) -> dict[str, Call]:
    """The minimal arithmetic, into memory that is there and into new memory; one view; ours."""
    weight = joint.weight.detach()
    classes = len(weight) // joint.transforms
    x = torch.randn(batch, weight.shape[1], requires_grad=True)
    labels = torch.randint(classes, (batch,))
    logits, to_x, to_weight = torch.randn(batch, len(weight)), torch.empty_like(x), torch.empty_like(weight)

    def minimal() -> None:
        with torch.no_grad():
            torch.mm(x, weight.T, out=logits)
            torch.mm(logits, weight, out=to_x)
            torch.mm(logits.T, x, out=to_weight)

    def minimal_anew() -> None:
        with torch.no_grad():
            products = torch.mm(x, weight.T)
            torch.mm(products, weight)
            torch.mm(products.T, x)

    def one_view() -> None:
        joint.zero_grad()
        F.cross_entropy(F.linear(x, joint.weight, joint.bias), labels).backward()

    def ours() -> None:
        joint.zero_grad()
        ssfe.JointLoss()(joint(x), labels).backward()

    return {"three products": minimal, "into new memory": minimal_anew, "one view": one_view, "ours": ours}
