"""Ratios of an alternation, for a result file; on a GPU, of calls in a row or of a recorded graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch

from ssfe.core.timing import Ratio, alternate

Call = Callable[[], Any]

_IN_A_ROW = 20
"""Calls that a GPU gets before it is waited for: one alone would mostly be waiting."""


def times_of(ratios: Mapping[str, Ratio]) -> dict[str, dict[str, float]]:
    """As JSON has them."""
    return {name: asdict(ratio) for name, ratio in ratios.items()}


def short_times(calls: Mapping[str, Call], rounds: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Times of calls that may take less than a millisecond, in turns; seconds are those of one call."""
    if device.type == "cpu":
        return times_of(alternate(calls, rounds=rounds))
    ratios = alternate({name: _in_a_row(call) for name, call in calls.items()}, rounds=rounds, device=device)
    return times_of({name: replace(own, seconds=own.seconds / _IN_A_ROW) for name, own in ratios.items()})


def recorded(call: Call) -> Call:
    """The call's work on the GPU alone: recorded as a CUDA graph, and replayed without Python."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def _in_a_row(call: Call) -> Call:
    def calls() -> None:
        for _ in range(_IN_A_ROW):
            call()

    return calls
