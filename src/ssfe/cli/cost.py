"""``ssfe cost``."""

from __future__ import annotations

import json
from typing import Any, Literal

from jsonargparse import ArgumentParser
from rich.box import SIMPLE_HEAD
from rich.table import Table

import ssfe
from ssfe.cli.parsers import OneLineParser
from ssfe.cli.tables import wide_console, with_arguments
from ssfe.core.transformations.channels import Groups, Scheme
from ssfe.lab.config import MethodOptions
from ssfe.lab.cost import Precision, model_cost
from ssfe.lab.errors import UserError
from ssfe.lab.methods.transformation import make_transformation

USAGE = "ssfe cost [MODEL] [--image-size PX] [--batch B] [--classes N] [--tap NAME] [--json] [OPTION ...]"


def cost_parser() -> ArgumentParser:
    """``ssfe cost``."""
    parser = OneLineParser(
        prog="ssfe cost",
        usage=USAGE,
        description="Measure a training step of a network: plain, with feature enhancement, with SLA's rotations.",
    )
    parser.add_argument(
        "model", type=str | None, nargs="?", metavar="MODEL", help="Of timm, or cifar_resnet20 and the like (default)."
    )
    parser.add_argument("--model_args", type=dict[str, Any], default={}, help="As for ssfe train.")
    parser.add_argument("--image_size", type=int | None, help="Pixels. Default: what the network was made for.")
    parser.add_argument("--batch", type=int, default=32, help="Images in a step.")
    parser.add_argument("--classes", type=int, default=100, help="N.")
    parser.add_argument(
        "--transformation", type=Literal["channels", "regions", "turns"], default="channels", help="As for ssfe train."
    )
    parser.add_argument("--transforms", type=int | None, help="M, views of the features. Default: as for ssfe train.")
    parser.add_argument("--scheme", type=Scheme, default="drop_group", help="As for ssfe train.")
    parser.add_argument("--groups", type=Groups, default="contiguous", help="As for ssfe train.")
    parser.add_argument("--fraction", type=float, default=0.5, help="As for ssfe train.")
    parser.add_argument(
        "--identity", type=bool | None, help="Whether the first view is undisturbed. Default: as for ssfe train."
    )
    parser.add_argument("--tap", type=str | None, help="A module to tap (ssfe taps MODEL). Default: as for ssfe train.")
    parser.add_argument("--views", type=Literal["all", "sampled"], default="all", help="As for ssfe train.")
    parser.add_argument("--rounds", type=int, default=7, help="How often each step is timed.")
    parser.add_argument("--precision", type=Precision, default="fp32", help="Arithmetic.")
    parser.add_argument("--accelerator", type=str, default="auto", help="auto, cpu, cuda, mps, ...")
    parser.add_argument("--json", type=bool, default=False, help="Print JSON instead of a table.")
    return parser


def run_cost(parsed: dict[str, Any]) -> int:
    """Measure and print."""
    described = ("transformation", "transforms", "scheme", "groups", "fraction", "identity", "tap")
    try:
        transform = make_transformation(MethodOptions(**{name: parsed[name] for name in described}))
    except ValueError as error:
        raise UserError(str(error)) from error
    names = ("model_args", "image_size", "batch", "classes", "views", "tap", "rounds", "precision", "accelerator")
    cost = model_cost(parsed["model"], transform=transform, **{name: parsed[name] for name in names})
    if parsed["json"]:
        described_as = {"model": parsed["model"], "model_args": parsed["model_args"]}
        print(json.dumps({**described_as, **cost.to_dict()}, indent=2))
    else:
        name = with_arguments(parsed["model"] or cost.network, parsed["model_args"])
        wide_console().print(cost_table(cost, name))
    return 0


def cost_table(cost: ssfe.Cost, name: str) -> Table:
    """One row for each method."""
    batch, _, size, _ = cost.images
    title = f"{name}: a training step of {batch} images of {size} px, {cost.device}, {cost.precision}"
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    for name in ("GFLOPs", "parameters", "shipped", "peak MiB", "seconds", "to plain"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, own in cost.methods.items():
        sizes = f"{own.parameters:,}", f"{own.shipped_parameters:,}", f"{own.peak_bytes / 2**20:,.0f}"
        ratio = f"{own.time.median:.2f} [{own.time.low:.2f}, {own.time.high:.2f}]"
        table.add_row(name, f"{own.flops / 1e9:.3f}", *sizes, f"{own.time.seconds:.3f}", ratio)
    table.caption = f"GFLOPs: of an image. To plain: median and quartiles of {cost.rounds} rounds, in alternation"
    return table
