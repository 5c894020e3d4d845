"""The report of what has just been run, and its line on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from ssfe.lab.errors import UserError
from ssfe.lab.report.write import write_report


def report(folder: Path, say: Callable[[str], None]) -> None:
    """Write the report of a finished run or comparison. What goes wrong is told in a line: the results are safe."""
    try:
        say(f"Report: {write_report(folder)}")
    except Exception as error:
        reason = error.line if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        line = " ".join(reason.split())[:300]
        print(f"ssfe: no report ({line}); all results are there, and ssfe report {folder} makes it", file=sys.stderr)
