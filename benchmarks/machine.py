"""The machine that a benchmark ran on."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch


def describe_machine(gpu: bool) -> dict[str, Any]:
    """For a result file; the GPU where it is used and there is one."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if gpu and torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def machine_name(gpu: bool) -> str:
    """Part of a file name: the GPU where it is used and there is one, else the CPU and its cores."""
    used = gpu and torch.cuda.is_available()
    name = torch.cuda.get_device_name() if used else f"{_processor()} {os.cpu_count()} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _commit() -> str | None:
    """Of the code measured; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() or None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return named[1].strip() if named else platform.processor() or platform.machine()
