"""The command that made a result, its options, and what it was made on and with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ssfe.lab.config import GROUPS, TrainOptions
from ssfe.lab.report.page import About
from ssfe.lab.run.typed import written


def about(command: str, options: Mapping[str, Any], machine: Mapping[str, Any]) -> About:
    """The last section."""
    groups: list[tuple[str, type[Any]]] = [
        ("Run", TrainOptions),
        *((kind.__doc__ or name, kind) for name, kind in GROUPS.items()),
    ]
    tables = []
    for title, kind in groups:
        names = [item.name for item in fields(kind) if item.name in options]
        tables.append((title.partition("\n")[0], [(name, written(options[name])) for name in names]))
    made = [(name, written(value)) for name, value in machine.items() if name != "versions" and value]
    versions = [(name, str(value)) for name, value in machine.get("versions", {}).items()]
    return About("How this was made", command, [*tables, ("Made on", made), ("Versions", versions)])
