"""The machine that a benchmark ran on."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch


def processor() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def describe_machine() -> dict[str, str | int]:
    """For a result file."""
    return {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def machine_name() -> str:
    """Part of a file name: the GPU where there is one, else the CPU and its cores."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{processor()} {os.cpu_count()} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
