"""``compare.yaml``: what a comparison was started with, so that later calls continue the same one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ssfe.lab.config import TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.files import read_yaml, write_whole
from ssfe.lab.run.options import FREE, differs

_EACH = ("model", "method", "seed", *FREE)
"""What cells of one comparison may differ in."""


def is_begun(output: Path) -> bool:
    """Whether a comparison was started in this folder."""
    return _path(output).exists()


def claim(output: Path, options: TrainOptions, budget: str, start: Mapping[str, Any]) -> None:
    """Write the comparison's own options and the digests that it starts from, or check that they are those of its
    first call.

    Args:
        output: the comparison's folder.
        options: of all runs, resolved.
        budget: ``"epochs"`` or ``"time"``.
        start: digests by name, of weights and images; None for what there is not.

    Raises:
        UserError: for a folder that holds something else, or a comparison that was started otherwise.
    """
    asked = {"budget": budget, **{name: value for name, value in options.to_flat().items() if name not in _EACH}}
    start = {name: value for name, value in start.items() if value is not None}
    if is_begun(output):
        _check_same(output, options, asked, start)
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty and holds no comparison: choose another --output")
    output.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({**asked, **start}, sort_keys=False)
    write_whole(_path(output), lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def _path(output: Path) -> Path:
    return output / "compare.yaml"


def _check_same(output: Path, options: TrainOptions, asked: Mapping[str, Any], start: Mapping[str, Any]) -> None:
    # An option that is younger than the comparison had its default.
    before = {**TrainOptions().to_flat(), **read_yaml(_path(output))}
    for name, what in (("weights_digest", options.weights), ("images", options.data)):
        if name in start and before.get(name, start[name]) != start[name]:
            raise UserError(
                f"{what} has other {name.removesuffix('_digest')} than those that {output} was started with: put "
                "them back, or choose another --output"
            )
    for name, value in asked.items():
        if differs(name, before.get(name), value):
            raise UserError(
                f"{output} was started with {name}={before.get(name)}, not {value}: use the same options to "
                "continue it, or another --output"
            )
