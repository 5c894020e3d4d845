"""The memory that a call takes at its worst moment."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def allocated_bytes(call: Callable[[], Any], device: torch.device | None = None) -> int:
    """The most that torch's allocator holds at a time during a call, beyond what it held before: that of a CUDA
    device, else the CPU's.
    """
    gc.collect()  # or what was garbage before would count as freed during the call
    if device is not None and device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    # Accumulating, for else torch 2.11 warns that events are cleared.
    profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True)
    with _quiet_profiler(), profiler as recorded:
        call()
    held = peak = 0
    assert recorded.profiler is not None
    assert recorded.profiler.kineto_results is not None
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


@contextmanager
def _quiet_profiler() -> Iterator[None]:
    """Without the profiler's own log on the terminal."""
    name = "KINETO_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ.setdefault(name, "99")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
