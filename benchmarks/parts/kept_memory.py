"""A part measured once more, in a process whose malloc keeps the memory that is freed.

glibc hands large blocks back to the system and maps them anew for the next tensor, page by page: on a CPU that can take
as long as the arithmetic on them.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

TUNABLES = "GLIBC_TUNABLES"
KEEP = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "mmap_max": 0, "trim_threshold": 9999999999, "top_pad": 2**28}.items()
)


def with_memory_kept(part: str, fast: bool) -> list[dict[str, Any]]:
    """The part's results from such a process; none where there is no glibc, or this process is one already."""
    if platform.libc_ver()[0] != "glibc" or os.environ.get(TUNABLES) == KEEP:
        return []
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.cost", part, "--output", folder, *(["--fast"] if fast else [])]
        root = Path(__file__).parents[2]
        subprocess.run(command, check=True, cwd=root, env={**os.environ, TUNABLES: KEEP})
        (file,) = Path(folder).glob("cost-*.json")
        found = json.loads(file.read_text())[part]
    return [{**one, "memory": "kept"} for one in found]
