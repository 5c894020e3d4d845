"""Run every setting and write the outcomes: python -m tests.battery > docs/works-with.md"""

from __future__ import annotations

import importlib.metadata
import sys

import torch

from . import averages, devices, images, numbers, shipping, step, tuning
from .table import GROUPS, TABLE, Setting

MODULES = (images, averages, step, numbers, devices, tuning, shipping)  # each adds its settings to the table

HEAD = """\
<!-- Written by `python -m tests.battery > docs/works-with.md`; the rows are tests/battery/*.py. Do not edit. -->
# What it works with

Every row is a check in `tests/battery/`, run by `pytest tests/test_battery.py` on a small network: the setting is used
and its effect is asserted, or the error that refuses it is. Where a network was trained, its fold is checked beside:
stock keys, and the logits of the enhanced network.
"""


def outcome(setting: Setting) -> str:
    """Works, refused, or not run for want of a device; raises what the check raises."""
    if setting.needs == "cuda" and not torch.cuda.is_available():
        return "not run: needs a GPU"
    torch.manual_seed(0)
    setting.prove()
    return "works" if setting.refused is None else f"refused: “{setting.refused}”"


def rows(outcomes: dict[str, str]) -> list[str]:
    """The tables, in Markdown."""
    lines = []
    for group in GROUPS:
        lines += ["", f"## {group}", "", "| setting | outcome | checked |", "|---|---|---|"]
        for row in (setting for setting in TABLE if setting.group == group):
            note = f"<br>{row.note}" if row.note else ""
            lines.append(f"| {row.name}{note} | {outcomes[row.name]} | {row.effect} |")
    return lines


def main() -> None:
    torch.set_num_threads(1)
    outcomes = {}
    for row in TABLE:
        print(row.name, file=sys.stderr)
        outcomes[row.name] = outcome(row)
    count = {kind: sum(text.startswith(kind) for text in outcomes.values()) for kind in ("works", "refused", "not run")}
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchvision", "timm", "peft", "torchao")
    )
    print(HEAD)
    print(f"{len(TABLE)} settings: {count['works']} work, {count['refused']} are refused, {count['not run']} not run.")
    print(f"Run with {versions}.")
    print("\n".join(rows(outcomes)))


if __name__ == "__main__":
    main()
