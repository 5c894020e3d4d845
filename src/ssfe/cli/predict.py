"""``ssfe predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from ssfe.cli.parsers import OneLineParser, add_machine_arguments
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.predict import find_images, predict


def predict_parser() -> ArgumentParser:
    """``ssfe predict``."""
    parser = OneLineParser(
        prog="ssfe predict",
        usage="ssfe predict RUN FILES_OR_FOLDERS ... [OPTION ...]",
        description="Classify images with a run's shipped model.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="A run folder.")
    parser.add_argument("images", type=Path, nargs="+", metavar="FILES_OR_FOLDERS", help="Images, or folders of them.")
    parser.add_argument("--format", type=Literal["csv", "jsonl"], default="csv", help="CSV or JSON lines.")
    parser.add_argument("--top", type=int | None, help="Give the probabilities of this many classes only.")
    parser.add_argument("--output", type=Path | None, help="The file to write. Default: the terminal.")
    parser.add_argument("--batch_size", type=int, default=128, help="Images at a time.")
    add_machine_arguments(parser)
    return parser


def run_predict(parsed: dict[str, Any]) -> int:
    """Predict; the exit status is 1 if an image could not be read."""
    images, notes = find_images(parsed["images"])
    for note in notes:
        print(f"ssfe: {note}", file=sys.stderr)
    failed = predict(
        RunFolder(parsed["run"]),
        images,
        form=parsed["format"],
        top=parsed["top"],
        output=parsed["output"],
        batch_size=parsed["batch_size"],
        workers=parsed["workers"],
        accelerator=parsed["accelerator"],
    )
    for line in failed:
        print(f"ssfe: {line}", file=sys.stderr)
    if failed:
        print(f"ssfe: {len(failed)} image(s) could not be read", file=sys.stderr)
    return 1 if failed else 0
