"""The joint classifier and its loss alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import ssfe
from benchmarks.parts.times import Call, recorded, short_times, times_of
from ssfe.core.memory import allocated_bytes
from ssfe.core.timing import alternate
from tests.reference import classifier as reference

CPU = torch.device("cpu")


def classifier_calls(
    transform: ssfe.ChannelDiscard,
    batch: int,
    channels: int,
    classes: int,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
) -> tuple[dict[str, Call], dict[str, Call]]:
    """Forward, and forward with backward: M full products (reference), ours, and one N*M-wide product."""
    joint = ssfe.JointClassifier(channels, classes, transform, logits="whole", device=device, dtype=dtype)
    x = torch.randn(batch, channels, device=device, dtype=dtype, requires_grad=True)
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


def classifier(fast: bool, device: torch.device) -> list[dict[str, Any]]:
    """How many times faster than M full products; on a GPU also without the time that Python takes."""
    batch, channels, classes = (8, 64, 10) if fast else (256, 2048, 1000)
    schemes = {
        "4 contiguous groups": ssfe.ChannelDiscard(),
        "4 interleaved groups": ssfe.ChannelDiscard(groups="interleaved"),
        "4 random halves (overlapping)": ssfe.ChannelDiscard(scheme="drop_fraction"),
        "the same halves, channels sorted": sorted_halves(channels),
    }
    found = []
    for launch, dtype in _ways(device):
        for label, transform in schemes.items():
            passes = zip(
                ("forward", "both"),
                classifier_calls(transform, batch, channels, classes, device, dtype),
                strict=True,
            )
            rounds = 2 if fast else 21
            sizes = {"B": batch, "C": channels, "N": classes, "M": transform.transforms}
            about = {"masks": label, **sizes, "precision": _name(dtype), "launch": launch, "rounds": rounds}
            found.append({**about, **{name: _times(calls, rounds, device, launch) for name, calls in passes}})
    return found


def _ways(device: torch.device) -> list[tuple[str, torch.dtype]]:
    if device.type == "cpu":
        return [("eager", torch.float32)]
    return [(launch, dtype) for dtype in (torch.float32, torch.bfloat16) for launch in ("eager", "CUDA graph")]


def _times(calls: dict[str, Call], rounds: int, device: torch.device, launch: str) -> dict[str, dict[str, float]]:
    if launch == "CUDA graph":
        calls = {name: recorded(call) for name, call in calls.items()}
    return short_times(calls, rounds, device)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def large(fast: bool, device: torch.device) -> list[dict[str, Any]]:
    """Point 3: time against the minimal arithmetic, memory against an N*M-way classifier on one view."""
    batch, classes = (8, 50) if fast else (256, 21_841)
    rounds = 2 if fast else 5 if device.type == "cpu" else 21
    dtypes = dict.fromkeys(dtype for _, dtype in _ways(device))
    sizes = (16, 32) if fast else (512, 2048)
    return [_large(channels, classes, batch, rounds, device, dtype) for dtype in dtypes for channels in sizes]


def _large(
    channels: int, classes: int, batch: int, rounds: int, device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    joint = ssfe.JointClassifier(channels, classes, logits="chunked", device=device, dtype=dtype)
    calls = large_calls(joint, batch)
    times = times_of(alternate(calls, rounds=rounds, device=device))
    parameters = sum(parameter.nbytes for parameter in joint.parameters())
    peaks = {}
    for name in ("one view", "ours"):
        joint.zero_grad()
        peaks[name] = parameters + allocated_bytes(calls[name], device)
    if channels <= 512 or device.type != "cpu":
        joint.zero_grad()
        joint.logits = "whole"
        peaks["whole logits"] = parameters + allocated_bytes(calls["ours"], device)
    sizes = {"B": batch, "C": channels, "N": classes, "M": 4}
    return {**sizes, "precision": _name(dtype), "time": times, "peak_bytes": peaks}


def large_calls(joint: ssfe.JointClassifier, batch: int) -> dict[str, Call]:
    """The minimal arithmetic, into memory that is there and into new memory; one view; ours."""
    weight = joint.weight.detach()
    classes = len(weight) // joint.transforms
    x = torch.randn(batch, weight.shape[1], device=weight.device, dtype=weight.dtype, requires_grad=True)
    labels = torch.randint(classes, (batch,), device=weight.device)
    logits, to_x, to_weight = weight.new_empty(batch, len(weight)), torch.empty_like(x), torch.empty_like(weight)

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
        F.cross_entropy(F.linear(x, joint.weight, joint.bias).float(), labels).backward()

    def ours() -> None:
        joint.zero_grad()
        ssfe.JointLoss()(joint(x), labels).backward()

    return {"three products": minimal, "into new memory": minimal_anew, "one view": one_view, "ours": ours}
