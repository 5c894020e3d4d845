"""Run every setting and write the outcomes: python -m tests.battery > docs/works-with.md"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import torch

from . import averages, devices, images, numbers, shipping, step, tuning
from .small import WAYS, enhanced_with, networks_made
from .table import GROUPS, TABLE, Setting

MODULES = (images, averages, step, numbers, devices, tuning, shipping)  # each adds its settings to the table

HEAD = """\
<!-- Written by `python -m tests.battery > docs/works-with.md`; the rows are tests/battery/*.py. Do not edit. -->
# What it works with

Every row is a check in `tests/battery/`, run by `pytest tests/test_battery.py` on a small network, or the test that it
names: the setting is used and its effect is asserted, or the error that refuses it is. Where a network was trained, it
is folded too: no key of ssfe is left, and its logits are those of evaluation mode.

"In n ways": the check was run on a network enhanced in each of these ways: {ways}.
"""


def ways_run(setting: Setting) -> int:
    """Run a setting in every way to enhance that it depends on, and count them; raises what the check raises."""
    if isinstance(setting.check, str):
        subprocess.run([sys.executable, "-m", "pytest", "-q", setting.check], check=True, stdout=sys.stderr)
        return 1
    done = 0
    for way in (way for way in WAYS if way not in setting.never):
        before = networks_made()
        torch.manual_seed(0)
        with enhanced_with(way):
            setting.prove()
        done += 1
        if networks_made() == before:
            return done
    return done


def outcome(setting: Setting, ways: int) -> str:
    """In words."""
    often = f" in {ways} ways" if ways > 1 else ""
    but = "".join(f"; not with {way}: {why}" for way, why in setting.never.items())
    return f"works{often}{but}" if setting.refused is None else f"refused{often}: “{setting.refused}”"


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
    outcomes, runs = {}, {"works": 0, "refused": 0}
    for row in TABLE:
        print(row.name, file=sys.stderr)
        ways = ways_run(row)
        outcomes[row.name] = outcome(row, ways)
        runs["works" if row.refused is None else "refused"] += ways
    refused = sum(row.refused is not None for row in TABLE)
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchvision", "timm", "peft", "torchao")
    )
    print(HEAD.format(ways=", ".join(WAYS)))
    print(f"{len(TABLE)} settings: {len(TABLE) - refused} work and {refused} are refused, each with its reason;")
    print(
        f"of {sum(runs.values())} combinations of setting and way {runs['works']} work, {runs['refused']} are refused."
    )
    print(f"Run with {versions}.")
    print("\n".join(rows(outcomes)))


if __name__ == "__main__":
    main()
