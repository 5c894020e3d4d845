"""``ssfe compare``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser
from rich.table import Table

from ssfe.cli.parsers import OneLineParser, add_training_options
from ssfe.cli.report import report_finished
from ssfe.cli.tables import say, wide_console
from ssfe.lab.compare.compare import Comparison, compare
from ssfe.lab.compare.markdown import HEADER, filled, table_cells, uneven_seeds
from ssfe.lab.compare.runner import ComparisonStopped
from ssfe.lab.compare.summary import BASELINE, Row
from ssfe.lab.config import TrainOptions

_SHOWN = 7  # The rest, and readings that are not shipped, stand in results.md: a terminal is 80 columns wide.

USAGE = "ssfe compare [DATA] [--methods plain,ssfe,...] [--models NAME,...] [--seeds N] [--jobs J] [OPTION ...]"


def compare_parser() -> ArgumentParser:
    """The parser of ``ssfe compare``: its own options, and those of training."""
    parser = OneLineParser(prog="ssfe compare", usage=USAGE, description="Train methods side by side, over seeds.")
    parser.add_argument("--config", action="config", help="YAML file of options.")
    parser.add_argument(
        "--methods",
        type=str,
        default="plain,ssfe",
        help="Separated by commas: plain; ssfe; sla, joint labels of rotated images; ssfe+sla; and to tell which "
        "part does what: discard, its views with ordinary labels; multitask, two heads instead of joint labels; "
        "dropout, of the same features. With options of their own, of the method, of augmentation and optimization: "
        "ssfe:transforms=8:identity, plain:label_smoothing=0.1:lr=0.2.",
    )
    parser.add_argument("--models", type=str | None, help="Networks, separated by commas. Default: as for ssfe train.")
    parser.add_argument("--seeds", type=int, default=3, help="How many, from --seed on.")
    parser.add_argument(
        "--budget",
        type=Literal["epochs", "time"],
        default="epochs",
        help="epochs: the same for all. time: as many as cost what plain training costs.",
    )
    parser.add_argument("--jobs", type=int, default=1, help="Runs at a time.")
    parser.add_argument(
        "--output", type=Path, default=Path("comparison"), help="The comparison's folder; one that is there continues."
    )
    add_training_options(parser, without=("model", "method"))
    return parser


def run_compare(parsed: dict[str, Any]) -> int:
    """Run a comparison; the exit status is 1 if a cell failed."""
    try:
        comparison = compare(
            TrainOptions.from_flat(parsed),
            methods=_listed(parsed["methods"]),
            models=_listed(parsed["models"]) if parsed["models"] else None,
            seeds=parsed["seeds"],
            budget=parsed["budget"],
            jobs=parsed["jobs"],
            output=parsed["output"],
            say=say,
        )
    except (ComparisonStopped, KeyboardInterrupt) as stop:  # the latter while steps are timed
        print("ssfe: stopped, nothing is lost; the same command continues the comparison", file=sys.stderr)
        return 128 + (stop.number if isinstance(stop, ComparisonStopped) else signal.SIGINT)
    console = wide_console()
    for table in comparison_tables(comparison):
        console.print(table)
    for model in dict.fromkeys(row.model for row in comparison.rows):
        if parsed["budget"] == "time":
            console.print(epochs_of([row for row in comparison.rows if row.model == model]))
        if note := uneven_seeds([row for row in comparison.rows if row.model == model]):
            console.print(note)
    console.print(f"{comparison.folder / 'results.md'}, {comparison.folder / 'results.json'}", soft_wrap=True)
    report_finished(comparison.folder)
    for failure in comparison.failures:
        print(f"ssfe: {failure.cell.name} failed: {failure.reason}", file=sys.stderr)
    return 1 if comparison.failures else 0


def _listed(names: str) -> list[Any]:
    return [name.strip() for name in names.split(",") if name.strip()]


def epochs_of(rows: list[Row]) -> str:
    """The epochs of each method, and the time that they take by the ratio of its step: epochs are whole."""
    plain = max((row.epochs for row in rows if row.method == BASELINE), default=0)
    told = [
        f"{row.method} {row.epochs}"
        + (f" ({row.epochs * row.step_ratio / plain:.2f} of plain's time)" if plain else "")
        for row in rows
        if row.shipped and row.step_ratio is not None
    ]
    return f"epochs: {', '.join(told)}"


def comparison_tables(comparison: Comparison) -> list[Table]:
    """A table for each model."""
    tables = []
    for model in dict.fromkeys(row.model for row in comparison.rows):
        table = Table(title=f"{model}: test images, mean and 95% interval over seeds", title_justify="left")
        shipped = [row for row in comparison.rows if row.model == model and row.shipped]
        header, rows = filled(HEADER[:_SHOWN], [table_cells(row, short=True)[:_SHOWN] for row in shipped])
        for position, name in enumerate(header):
            # Labels fold, however long; a figure that is cut short is none.
            table.add_column(name, justify="right" if position else "left", no_wrap=position > 0, overflow="fold")
        for cells in rows:
            table.add_row(*cells)
        tables.append(table)
    return tables
