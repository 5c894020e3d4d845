"""How many cores a process may use."""

from __future__ import annotations

import os

SHARE = "SSFE_CORES"
"""Environment variable with the share of a run that others run beside."""


def cores() -> int:
    """This process's share of a comparison's cores, else those that it may run on (SLURM and containers give some)."""
    share = os.environ.get(SHARE)
    if share is not None:
        return int(share)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
