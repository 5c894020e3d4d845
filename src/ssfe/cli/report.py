"""``ssfe report``, and the report of what has just been run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ssfe.cli.parsers import OneLineParser
from ssfe.cli.tables import say
from ssfe.lab.errors import UserError
from ssfe.lab.report.write import write_report


def report_parser() -> ArgumentParser:
    """``ssfe report``."""
    parser = OneLineParser(
        prog="ssfe report",
        usage="ssfe report FOLDER [--output FILE]",
        description="Show a run or a comparison as one HTML file.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="The folder of a run, or of a comparison.")
    parser.add_argument("--output", type=Path | None, help="The file to write. Default: report.html in the folder.")
    return parser


def run_report(parsed: dict[str, Any]) -> int:
    """Write the report, and print where it is."""
    print(write_report(parsed["folder"], parsed["output"]))
    return 0


def report_finished(folder: Path) -> None:
    """Write the report of a finished run or comparison. What goes wrong is told in a line: the results are safe."""
    try:
        say(f"Report: {write_report(folder)}")
    except Exception as error:
        reason = error.line if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        line = " ".join(reason.split())[:300]
        print(f"ssfe: no report ({line}); all results are there, and ssfe report {folder} makes it", file=sys.stderr)
