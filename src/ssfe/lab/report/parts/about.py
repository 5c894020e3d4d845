"""The command that made a result, its options and versions."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ssfe.lab.config import GROUPS, TrainOptions
from ssfe.lab.report.page import About
from ssfe.lab.run.options import FREE


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


def typed_options(options: Mapping[str, Any], own: Sequence[str] = (), without: Collection[str] = ()) -> list[str]:
    """The data, the command's ``own`` options, and those of ``options`` that differ from their defaults, as typed."""
    defaults = TrainOptions().to_flat()
    chosen = [
        f"--{name.replace('_', '-')} {shlex.quote(written(value))}"
        for name, value in options.items()
        if name in defaults and name not in {*without, *FREE, "data"} and value != defaults[name]
    ]
    return [shlex.quote(str(options["data"])), *own, *chosen]


def written(value: Any) -> str:
    """A value as the command takes it."""
    if value is None or isinstance(value, bool | dict | list):
        return json.dumps(value)
    return str(value)
