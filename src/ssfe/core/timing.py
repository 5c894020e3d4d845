"""Timing things in turns: A B C A B C ..., so that a machine whose speed drifts favours none."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

Name = TypeVar("Name", bound=str)


@dataclass(frozen=True)
class Ratio:
    """How much longer one thing takes than the first of its alternation.

    Attributes:
        median: over the rounds, of the ratio within a round.
        low, high: quartiles of these ratios.
        seconds: median seconds of one call.
    """

    median: float
    low: float
    high: float
    seconds: float


def alternate(
    calls: Mapping[Name, Callable[[], Any]], *, rounds: int, warm_up: int = 1, device: torch.device | None = None
) -> dict[Name, Ratio]:
    """Time every call once per round, in turn; ratios are to the first one's time in the same round.

    Args:
        calls: what to time, the reference first.
        rounds: at least 2.
        warm_up: rounds before, that do not count.
        device: waited for before and after a call, where it is an accelerator.

    Raises:
        ValueError: for fewer than 2 rounds.
    """
    if rounds < 2:
        raise ValueError(f"rounds={rounds}: a spread needs at least 2")
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for number in range(warm_up + rounds):
        for name, call in calls.items():
            took = _seconds(call, device)
            if number >= warm_up:
                seconds[name].append(took)
    reference = next(iter(seconds.values()))
    return {name: _ratio(own, reference) for name, own in seconds.items()}


def _seconds(call: Callable[[], Any], device: torch.device | None) -> float:
    _wait(device)
    began = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type != "cpu":
        torch.accelerator.synchronize(device)


def _ratio(seconds: list[float], reference: list[float]) -> Ratio:
    ratios = [own / other for own, other in zip(seconds, reference, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high, statistics.median(seconds))
