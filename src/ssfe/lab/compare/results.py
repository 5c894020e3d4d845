"""``results.json`` and ``results.md``: what all calls of a comparison have found, of all cells that are still there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssfe.lab.compare.cells import Cell, cell_name
from ssfe.lab.compare.markdown import markdown
from ssfe.lab.compare.runner import Failure
from ssfe.lab.compare.summary import BASELINE, Row, Run, summarise
from ssfe.lab.config import TrainOptions
from ssfe.lab.files import write_json, write_whole

Ratios = dict[str, dict[str, float]]
"""Seconds of a training step as a ratio to plain training, by model and label."""


def write_results(
    output: Path,
    options: TrainOptions,
    budget: str,
    ratios: Ratios,
    cells: Sequence[Cell],
    failures: Sequence[Failure],
    say: Callable[[str], None],
) -> list[Row]:
    """Write both files, and return the rows of their table.

    Args:
        output: the comparison's folder.
        options: of all runs, resolved.
        budget: ``"epochs"`` or ``"time"``.
        ratios: of all methods that were timed, now or before.
        cells: of this call.
        failures: of this call.
        say: prints a line.
    """
    earlier = read_rebuilt(output / "results.json", {"cells": [], "failures": []}, say)
    results = _with_earlier(cells, output, earlier["cells"])
    rows = summarise(results, ratios)
    failed = _failed(cells, failures, results, earlier["failures"], ratios)
    content = {
        "data": options.data,
        "budget": budget,
        "options": options.to_flat(),
        "step_ratios": ratios,
        "rows": [row.to_dict() for row in rows],
        "cells": results,
        "failures": failed,
    }
    write_json(output / "results.json", content)
    text = markdown(rows, results, options.data, [f"{failure['cell']}: {failure['reason']}" for failure in failed])
    write_whole(output / "results.md", lambda path: path.write_text(text, encoding="utf-8"))
    return rows


def read_rebuilt(path: Path, otherwise: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """A file that is made anew in the end, so that one that is missing or damaged may be read as ``otherwise``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not otherwise.keys() <= content.keys():
            raise ValueError("other content")
    except FileNotFoundError:
        return otherwise
    except ValueError:
        say(f"note    {path} is damaged and made anew: name all methods again that are to be in it")
        return otherwise
    return content


def _with_earlier(cells: Sequence[Cell], output: Path, earlier: Sequence[Run]) -> list[Run]:
    """The results of the finished cells, and of those that an earlier call added to this comparison and whose folders
    are still there; plain first.
    """
    results = {
        str(cell.folder.path.relative_to(output)): {**cell.folder.read_result(), "label": cell.label}
        for cell in cells
        if cell.finished
    }
    kept = [result for result in earlier if (output / result["folder"] / "result.json").exists()]
    merged = {result["folder"]: result for result in kept} | results
    ordered = sorted(merged.items(), key=lambda item: item[1]["label"] != BASELINE)
    return [{**result, "folder": folder} for folder, result in ordered]


def _failed(
    cells: Sequence[Cell],
    failures: Sequence[Failure],
    results: Sequence[Run],
    earlier: Sequence[dict[str, str]],
    ratios: Mapping[str, Mapping[str, float]],
) -> list[dict[str, str]]:
    """The cells that failed now, and those that failed in an earlier call and were not run again: except failures of
    methods that fit none of the networks (no step of theirs was timed), mistakes that have been corrected since.
    """
    settled = {cell.name for cell in cells} | {cell_name(r["model"], r["label"], r["seed"]) for r in results}
    fitting = {label for measured in ratios.values() for label in measured}
    kept = [
        failure for failure in earlier if failure["cell"] not in settled and failure["cell"].split(" ")[1] in fitting
    ]
    return kept + [{"cell": failure.cell.name, "reason": failure.reason} for failure in failures]
