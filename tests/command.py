"""The command in-process, and photographs to feed it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw

from ssfe.cli.commands import run

COLOURS = {"apple": (200, 40, 40), "lime": (60, 190, 60), "plum": (70, 50, 190)}
SMALL = ("--limit_train", "200", "--limit_test", "100", "--batch_size", "64")
"""Digits in a moment."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status and what it printed."""

    code: int
    out: str
    err: str


def ssfe(*arguments: str | Path) -> Ended:
    """``ssfe ARGUMENTS``."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run([str(argument) for argument in arguments])
        except SystemExit as leave:  # --help and --print_config
            code = int(leave.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def succeed(*arguments: str | Path) -> Ended:
    """``ssfe ARGUMENTS``, which must end well."""
    ended = ssfe(*arguments)
    assert (ended.code, ended.err) == (0, "")
    return ended


def complaint(*arguments: str | Path) -> str:
    """The one line in which ``ssfe ARGUMENTS`` says what is wrong."""
    ended = ssfe(*arguments)
    assert ended.code == 2, ended
    assert ended.err.startswith("ssfe: ")
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    assert len(ended.err) < 650
    assert "Traceback" not in ended.out
    return ended.err.strip()


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def metrics_without_time(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: row[key] for key in row if key not in ("seconds", "images_per_second")} for row in rows]


def photograph(path: Path, colour: Sequence[int], number: int, size: tuple[int, int] = (80, 60)) -> None:
    """A patch of colour on grey, in one of the modes that files come in."""
    image = PIL.Image.new("RGB", size, (90 + number,) * 3)
    PIL.ImageDraw.Draw(image).ellipse((number % 4, 1, size[0] - 2, size[1] - 2), fill=tuple(colour))
    mode = ("RGB", "L", "RGBA", "P")[number % 4]
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert(mode).save(path.with_suffix(".png" if mode in ("RGBA", "P") else ".jpg"))


def photographs(root: Path, count: int, size: tuple[int, int] = (80, 60)) -> Path:
    """A folder with ``count`` images of each of three classes."""
    for name, colour in COLOURS.items():
        for number in range(count):
            photograph(root / name / f"{number}", colour, number, size)
    return root
