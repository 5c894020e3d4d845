"""What a run was made on and with, for result.json."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import torch

import ssfe

_PACKAGES = ("ssfe", "torch", "torchvision", "timm", "lightning")


def machine_record(device: torch.device, precision: str) -> dict[str, Any]:
    """The processors, the precision of training, and the versions of what computed."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": cpu_name(),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in _PACKAGES},
        "commit": commit_of(Path(ssfe.__file__)) or _installed_commit(),
    }


def cpu_name() -> str:
    """The processor's name as its maker gives it, or the architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return named[1].strip() if named else platform.processor() or platform.machine()


def commit_of(file: Path) -> str | None:
    """The git commit that a file belongs to, with ``-dirty`` if its checkout has uncommitted changes.

    None where git does not track the file: a package installed within somebody's repository is not part of it.
    """
    git = ["git", "--no-optional-locks", "-C", str(file.parent)]
    if _output([*git, "ls-files", "--error-unmatch", file.name]) is None:
        return None
    return _output([*git, "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"])


def _installed_commit() -> str | None:
    """The commit that ``pip install git+https://...`` took, which pip leaves in direct_url.json (PEP 610)."""
    record = json.loads(distribution("ssfe").read_text("direct_url.json") or "{}")
    commit: str | None = record.get("vcs_info", {}).get("commit_id")
    return commit


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    except OSError:  # no git
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
