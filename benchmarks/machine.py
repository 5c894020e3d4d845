"""The machine that a benchmark ran on."""

from __future__ import annotations

import datetime
import os
import re
from pathlib import Path
from typing import Any

import torch

from ssfe.lab.run.machine import commit_of, cpu_name


def describe_machine(gpu: bool) -> dict[str, Any]:
    """For a result file; the GPU where it is used and there is one."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if gpu and torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "commit": commit_of(Path(__file__)),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def machine_name(gpu: bool) -> str:
    """Part of a file name: the GPU where it is used and there is one, else the CPU and its cores."""
    used = gpu and torch.cuda.is_available()
    name = torch.cuda.get_device_name() if used else f"{cpu_name()} {os.cpu_count()} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
