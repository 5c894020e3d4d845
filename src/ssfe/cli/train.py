"""``ssfe train``."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import Any

from jsonargparse import ArgumentParser

from ssfe.cli.arguments import values
from ssfe.cli.parsers import OneLineParser, add_training_options
from ssfe.cli.report import report_finished
from ssfe.cli.tables import print_result, say, wide_console
from ssfe.lab.config import TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.options import check_same
from ssfe.lab.run.train import resume, train
from ssfe.lab.training.interrupt import Interrupted

USAGE = (
    "ssfe train [DATA] [--model NAME] [--method ssfe|plain|sla|...] [--epochs N] [--seed S] [--output DIR] [OPTION ...]"
)


def train_parser() -> ArgumentParser:
    """``ssfe train``."""
    parser = OneLineParser(prog="ssfe train", usage=USAGE, description="Train a classifier and ship a stock network.")
    parser.add_argument("--config", action="config", help="YAML file of options, such as a run's config.yaml.")
    parser.add_argument("--output", type=Path | None, help="The run folder to make. Default: a new one under runs/.")
    parser.add_argument("--resume", type=Path | None, help="Continue the interrupted run in this folder.")
    add_training_options(parser)
    return parser


def with_own_config(arguments: list[str]) -> list[str]:
    """The arguments, with the config of the run to ``--resume`` first: what is typed beside it then stands out against
    the run's own options.
    """
    resumed = values(arguments, "resume")
    if not resumed:
        return arguments
    folder = RunFolder(Path(resumed[-1]))
    folder.read_options()
    return [f"--config={folder.config}", *arguments]


def run_train(parsed: dict[str, Any]) -> int:
    """Train or go on, print what came of it, and write the report."""
    resumed = None if parsed["resume"] is None else RunFolder(parsed["resume"])
    if resumed is not None and parsed["output"] is not None:
        raise UserError("--output has no place beside --resume: the run goes on in its own folder")
    options = TrainOptions.from_flat(parsed)
    try:
        if resumed is None:
            folder, result = train(options, parsed["output"], say)
        else:
            check_same(options, resumed.read_options())
            folder, result = resumed, resume(resumed, options, say)
    except Interrupted as stop:
        print(f"ssfe: stopped; continue with: ssfe train --resume {quote(str(stop.folder))}", file=sys.stderr)
        return 128 + stop.number
    print_result(wide_console(), folder, result)
    report_finished(folder.path)
    return 0
