"""``ssfe evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ssfe.cli.parsers import OneLineParser, add_machine_arguments
from ssfe.cli.tables import about_uneven_classes, evaluation_table, wide_console
from ssfe.lab.run.evaluate import evaluate
from ssfe.lab.run.folder import RunFolder


def evaluate_parser() -> ArgumentParser:
    """``ssfe evaluate``."""
    parser = OneLineParser(
        prog="ssfe evaluate",
        usage="ssfe evaluate RUN [DATA] [OPTION ...]",
        description="Measure a run's shipped model.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="A run folder.")
    parser.add_argument("data", type=str | None, nargs="?", metavar="DATA", help="Default: the run's own test images.")
    parser.add_argument("--data_dir", type=Path | None, help="As for ssfe train.")
    parser.add_argument("--limit_test", type=int | None, help="Evaluate on this many images only.")
    parser.add_argument("--json", type=bool, default=False, help="Print JSON instead of a table.")
    parser.add_argument("--batch_size", type=int | None, help="Images at a time. Default: as in its own evaluation.")
    add_machine_arguments(parser)
    return parser


def run_evaluate(parsed: dict[str, Any]) -> int:
    """Measure and print."""
    outcome = evaluate(
        RunFolder(parsed["run"]),
        parsed["data"],
        data_dir=parsed["data_dir"],
        limit_test=parsed["limit_test"],
        batch_size=parsed["batch_size"],
        workers=parsed["workers"],
        accelerator=parsed["accelerator"],
    )
    if parsed["json"]:
        print(json.dumps(outcome, indent=2))
    else:
        wide_console().print(evaluation_table(outcome))
        for line in about_uneven_classes(outcome["metrics"]):
            print(line)
        for note in outcome["notes"]:
            print(f"note: {note}")
    return 0
