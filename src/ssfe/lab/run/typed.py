"""Options of a run as somebody would type them, to make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssfe.lab.config import TrainOptions
from ssfe.lab.run.options import FREE


def typed_options(options: Mapping[str, Any], own: Sequence[str] = (), without: Collection[str] = ()) -> list[str]:
    """The data, the command's ``own`` options, and those of ``options`` that differ from their defaults and change the
    result, each quoted for a shell.
    """
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
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def public_name(data: str) -> str:
    """The data's name without the folders that it lies in on its owner's machine."""
    prefix, path = ("hf:", data[3:]) if data.startswith("hf:") else ("", data)
    return f"{prefix}{Path(path).name}" if Path(path).is_absolute() else data
