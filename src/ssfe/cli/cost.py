"""``ssfe cost``."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

from jsonargparse import ArgumentParser

from ssfe.cli.parsers import OneLineParser
from ssfe.cli.tables import with_arguments
from ssfe.lab.config import MethodOptions
from ssfe.lab.cost import Precision, model_cost

_WITHOUT_COST = {"inference", "distill", "gradient_scale"}
"""Options of the method that change what a step costs by nothing, or by next to nothing."""

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
    parser.add_argument("--classes", type=int, default=100, help="N, how many classes.")
    parser.add_argument("--rounds", type=int, default=7, help="How often each step is timed.")
    parser.add_argument("--precision", type=Precision, default="fp32", help="Arithmetic.")
    parser.add_argument("--accelerator", type=str, default="auto", help="auto, cpu, cuda, mps, ...")
    parser.add_argument("--json", type=bool, default=False, help="Print JSON instead of a table.")
    parser.add_class_arguments(MethodOptions, skip=_WITHOUT_COST)
    return parser


def run_cost(parsed: dict[str, Any]) -> int:
    """Measure and print."""
    described = {field.name for field in fields(MethodOptions)} - _WITHOUT_COST
    options = MethodOptions(**{name: parsed[name] for name in described})
    names = ("model_args", "image_size", "batch", "classes", "rounds", "precision", "accelerator")
    cost = model_cost(parsed["model"], options, **{name: parsed[name] for name in names})
    if parsed["json"]:
        described_as = {"model": parsed["model"], "model_args": parsed["model_args"]}
        print(json.dumps({**described_as, **cost.to_dict()}, indent=2))
    else:
        print(replace(cost, network=with_arguments(parsed["model"] or cost.network, parsed["model_args"])))
    return 0
