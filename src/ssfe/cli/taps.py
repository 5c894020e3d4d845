"""``ssfe taps``: where a network can be tapped, and what that costs."""

from __future__ import annotations

import json
from typing import Any

from jsonargparse import ArgumentParser
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ssfe.cli.parsers import OneLineParser
from ssfe.cli.tables import wide_console, with_arguments
from ssfe.lab.taps import CLASSES, TapRow, network_taps


def taps_parser() -> ArgumentParser:
    """``ssfe taps``."""
    parser = OneLineParser(
        prog="ssfe taps",
        usage="ssfe taps MODEL [--model-args JSON] [--image-size S] [--transforms M] [--json]",
        description="List the places of a network where features can be disturbed, and what training costs there.",
    )
    parser.add_argument("model", type=str, metavar="MODEL", help="A network, as for ssfe train --model.")
    parser.add_argument("--model_args", type=dict[str, Any], default={}, help="As for ssfe train.")
    parser.add_argument("--image_size", type=int | None, help="Side of the images, in pixels. Default: the network's.")
    parser.add_argument("--transforms", type=int, default=4, help="M: how many views.")
    parser.add_argument("--json", type=bool, default=False, help="Print JSON instead of a table.")
    return parser


def run_taps(parsed: dict[str, Any]) -> int:
    """Print the taps of ``parsed["model"]``."""
    model, arguments, transforms = parsed["model"], parsed["model_args"], parsed["transforms"]
    size, rows = network_taps(model, parsed["image_size"], transforms, arguments)
    if parsed["json"]:
        taps = [row.to_dict() for row in rows]
        print(
            json.dumps(
                {"model": model, "model_args": arguments, "image_size": size, "transforms": transforms, "taps": taps},
                indent=2,
            )
        )
        return 0
    console = wide_console()
    console.print(_table(f"{with_arguments(model, arguments)}, {size} px, M={transforms}", rows))
    for row in rows:
        if row.reason:
            console.print(row.reason, markup=False, soft_wrap=True)
    console.print(
        f"Cost: FLOPs of training on all views with {CLASSES:,} classes, as a multiple of plain training. With "
        "--views sampled, what follows the tap is computed once. The classifier's input is the default. Fits: the "
        "transformations that can be made there.",
        soft_wrap=True,
    )
    return 0


def _table(title: str, rows: list[TapRow]) -> Table:
    # Without frames, so that the words of the last columns fit into 80 columns whole.
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("tap", "features", "layout"):
        table.add_column(name, no_wrap=True)
    table.add_column("cost", justify="right")
    for name in ("folds", "fits"):
        table.add_column(name, min_width=len("distilled"))
    for row in rows:
        cost = "-" if row.relative_flops is None else f"{row.relative_flops:.3f}"
        shape = " x ".join(map(str, row.shape))
        tap = row.tap or "(classifier's input)"
        folds = "all" if "aggregated" in row.folds else ", ".join(row.folds) or "-"
        table.add_row(tap, shape, row.layout, cost, folds, ", ".join(row.fits) or "-")
    return table
