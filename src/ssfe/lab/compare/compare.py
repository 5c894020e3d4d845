"""``ssfe compare``: plan, run, summarise."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from ssfe.lab.alone import alone
from ssfe.lab.compare.budget import UNTIMED, equal_time_epochs, step_ratios
from ssfe.lab.compare.cells import Cell, cell_name, plan_cells
from ssfe.lab.compare.entries import Entry, as_before, read_entries
from ssfe.lab.compare.markdown import markdown
from ssfe.lab.compare.runner import Failure, run_cells
from ssfe.lab.compare.summary import BASELINE, Row, Run, summarise
from ssfe.lab.config import MethodOptions, TrainOptions
from ssfe.lab.data.memory import SMALL_SIDE
from ssfe.lab.errors import UserError
from ssfe.lab.files import read_yaml, write_json, write_whole
from ssfe.lab.methods import make_method, method_options
from ssfe.lab.methods.transformation import idle_with_scheme
from ssfe.lab.models.names import check_name, check_pretrained, own_size
from ssfe.lab.run.experiment import prepare
from ssfe.lab.run.folder import check_outside
from ssfe.lab.run.options import FREE, check_momentum, check_options, differs

Say = Callable[[str], None]
Ratios = dict[str, dict[str, float]]
"""Seconds of a training step as a ratio to plain training, by model and label."""


@dataclass(frozen=True)
class Comparison:
    """A comparison that has run.

    Attributes:
        folder: with results.json, results.md and cells/.
        rows: of the table.
        failures: cells without a result.
    """

    folder: Path
    rows: list[Row]
    failures: list[Failure]


def compare(
    common: TrainOptions,
    *,
    methods: Sequence[str],
    models: Sequence[str] | None,
    seeds: int,
    budget: Literal["epochs", "time"],
    jobs: int,
    output: Path,
    say: Say,
) -> Comparison:
    """Run every (model, method, seed), or what is left of it, and summarise.

    Args:
        common: options of all runs.
        methods: to compare, as :func:`~ssfe.lab.compare.entries.read_entries` reads them.
        models: to compare them on; None: the one that the data's image size suggests.
        seeds: how many.
        budget: ``"epochs"``: all methods train for ``common.epochs``. ``"time"``: each for as many epochs as cost what
            plain training for ``common.epochs`` costs, from the ratio of their training steps measured here.
        jobs: runs at a time.
        output: folder of the comparison; one that is there continues, and keeps the cells that it has.
        say: prints a line.

    Raises:
        UserError: for impossible options, before anything runs. ComparisonStopped: on Ctrl-C or SIGTERM.
    """
    if jobs < 1:
        raise UserError(f"jobs={jobs} must be at least 1")
    check_outside(output, common.data)
    # Nothing runs before the cells are known to make sense; the data is read once here to say so early.
    entries = as_before(read_entries(methods, common), _labels(output), common)
    check_options(common)
    for entry in entries:
        _check(entry, common, budget)
    plan_cells(common, models or ["-"], entries, seeds, output)
    if not (output / "compare.yaml").exists():  # else an earlier call may have had use for it
        _check_idle(entries, common)
    for model in models or []:
        check_name(model)
    if common.weights is not None and len(models or []) > 1:
        raise UserError(f"the weights {common.weights} are of one network: compare the methods on that one alone")
    # By the first method, but with what all share: the learning rate and the like that it resolves are theirs.
    first = replace(entries[0].apply(common), augmentation=common.augmentation, optimization=common.optimization)
    experiment = prepare(replace(first, model=models[0] if models else common.model))
    resolved = replace(experiment.options, method=common.method, enhancement=common.enhancement)
    models = list(models or [str(resolved.model)])
    if common.loading.image_size is None:
        _check_sizes(models, resolved)
    start = {"weights_digest": experiment.weights_digest, "images": experiment.splits.given}
    del experiment  # its images and network would take memory as long as the cells run
    _claim(output, resolved, budget, start)
    with alone(output, "is at work on this comparison"):
        return _compare(resolved, entries, models, seeds, budget, jobs, output, say)


def _compare(
    resolved: TrainOptions,
    entries: Sequence[Entry],
    models: Sequence[str],
    seeds: int,
    budget: str,
    jobs: int,
    output: Path,
    say: Say,
) -> Comparison:
    """Run the cells, and write what they and the earlier ones say."""
    ratios = _step_ratios(resolved, models, entries, output, say)
    epochs = _equal_time(resolved.epochs, ratios) if budget == "time" else None
    cells = plan_cells(resolved, models, entries, seeds, output, epochs)
    untimed = [cell for cell in cells if epochs is not None and (cell.model, cell.label) not in epochs]
    failures = [
        Failure(cell, "its step could not be timed, so how many epochs it may have is unknown") for cell in untimed
    ]
    failures += run_cells([cell for cell in cells if cell not in untimed], jobs, say)
    path = output / "results.json"
    earlier = _read_json(path, {"cells": [], "failures": []}, say)
    results = _with_earlier(cells, output, earlier["cells"])
    rows = summarise(results, ratios)
    failed = _failed(cells, failures, results, earlier["failures"], ratios)
    _write_summary(output, resolved, budget, ratios, results, failed, rows)
    return Comparison(output, rows, failures)


def _labels(output: Path) -> list[str]:
    """What earlier calls of this comparison called their methods."""
    ratios: Ratios = _read_json(output / "step_ratios.json", {}, lambda line: None)  # told when it is made anew
    return sorted({label for measured in ratios.values() for label in measured})


def _read_json(path: Path, otherwise: dict[str, Any], say: Say) -> dict[str, Any]:
    """A file that is made anew at the end, so that a damaged one need not be read."""
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


def _failed(
    cells: Sequence[Cell],
    failures: Sequence[Failure],
    results: Sequence[Run],
    earlier: Sequence[dict[str, str]],
    ratios: Ratios,
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


def _check(entry: Entry, common: TrainOptions, budget: str) -> None:
    untimed = sorted(UNTIMED & entry.options.keys())
    if budget == "time" and untimed:
        raise UserError(
            f"{entry.label}: what {untimed[0]} costs is no part of the step that is timed: give it to all methods, or "
            "compare with --budget epochs"
        )
    applied = entry.apply(common)
    idle = idle_with_scheme(applied.enhancement)
    if idle in entry.options:
        raise UserError(f"{entry.label}: {idle} has no effect with scheme={applied.enhancement.scheme}: leave it out")
    try:
        check_options(applied)
        if "momentum" in entry.options:
            check_momentum(applied)
        make_method(entry.method, applied.enhancement, applied.augmentation)
    except (UserError, ValueError) as error:
        raise UserError(f"{entry.label}: {error}") from error


def _check_sizes(models: Sequence[str], resolved: TrainOptions) -> None:
    """Check that all networks' pretrained weights are used to images of one size, where that is the images' size."""
    if not resolved.pretrained or (resolved.loading.image_size or 0) <= SMALL_SIDE:
        return
    for model in models:
        check_pretrained(model)
    sizes = {own_size(model): model for model in models}
    if len(sizes) > 1:
        told = " and ".join(f"those of {model} on {size} px" for size, model in list(sizes.items())[:2])
        raise UserError(f"pretrained weights were trained on images of several sizes, {told}: choose one, --image-size")


def _check_idle(entries: Sequence[Entry], common: TrainOptions) -> None:
    """Check that every option serves some method."""
    check_momentum(common)
    own, useful = vars(common.enhancement), set[str]()
    for entry in entries:
        useful |= method_options(entry.method) - {idle_with_scheme(entry.apply(common).enhancement)}
    idle = [name for name, value in vars(MethodOptions()).items() if own[name] != value and name not in useful]
    if idle:
        raise UserError(f"{idle[0]}={own[idle[0]]} has no effect on any of these methods: leave it out")


def _step_ratios(
    options: TrainOptions, models: Sequence[str], entries: Sequence[Entry], output: Path, say: Say
) -> Ratios:
    """Measured once and kept, so that a continued comparison has the same."""
    path = output / "step_ratios.json"
    measured: Ratios = _read_json(path, {}, say)
    for model in models:
        missing = [entry for entry in entries if entry.label not in measured.get(model, {})]
        if missing:
            say(f"timing  {model}: a training step of {', '.join(entry.label for entry in missing)} against plain")
            measured[model] = {**measured.get(model, {}), **step_ratios(options, model, missing, say)}
    torch.cuda.empty_cache()  # the cells are processes of their own
    write_json(path, measured)
    return measured


def _equal_time(epochs: int, ratios: Ratios) -> dict[tuple[str, str], int]:
    return {
        (model, label): equal_time_epochs(epochs, ratio)
        for model, measured in ratios.items()
        for label, ratio in measured.items()
    }


def _claim(output: Path, options: TrainOptions, budget: str, start: Mapping[str, Any]) -> None:
    """Write the comparison's own options and the digests that it starts from, or check that they are those of its
    first call.
    """
    path = output / "compare.yaml"
    asked = {
        "budget": budget,
        **{k: v for k, v in options.to_flat().items() if k not in ("model", "method", "seed", *FREE)},
    }
    start = {name: value for name, value in start.items() if value is not None}
    if path.exists():
        # An option that is younger than the comparison had its default.
        before = {**TrainOptions().to_flat(), **read_yaml(path)}
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
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty and holds no comparison: choose another --output")
    output.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({**asked, **start}, sort_keys=False)
    write_whole(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def _write_summary(
    output: Path,
    options: TrainOptions,
    budget: str,
    ratios: Ratios,
    results: list[Run],
    failures: list[dict[str, str]],
    rows: list[Row],
) -> None:
    """results.json and results.md, from the finished cells."""
    failed = [f"{failure['cell']}: {failure['reason']}" for failure in failures]
    content = {
        "data": options.data,
        "budget": budget,
        "options": options.to_flat(),
        "step_ratios": ratios,
        "rows": [row.to_dict() for row in rows],
        "cells": results,
        "failures": failures,
    }
    write_json(output / "results.json", content)
    text = markdown(rows, results, options.data, failed)
    write_whole(output / "results.md", lambda path: path.write_text(text, encoding="utf-8"))
