"""``ssfe compare``: plan, run, summarise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from ssfe.lab.alone import alone
from ssfe.lab.compare.budget import equal_time_epochs, step_ratios
from ssfe.lab.compare.cells import Cell, plan_cells
from ssfe.lab.compare.checks import check_entry, check_idle, check_models, check_sizes
from ssfe.lab.compare.claim import claim, is_begun
from ssfe.lab.compare.entries import Entry, as_before, check_distinct, read_entries
from ssfe.lab.compare.results import Ratios, read_rebuilt, write_results
from ssfe.lab.compare.runner import Failure, run_cells
from ssfe.lab.compare.summary import Row
from ssfe.lab.config import TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.files import write_json
from ssfe.lab.run.experiment import Experiment, prepare
from ssfe.lab.run.folder import check_outside
from ssfe.lab.run.options import check_options

Say = Callable[[str], None]


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
    entries = read_entries(methods, common)
    check_options(common)
    for entry in entries:
        check_entry(entry, common, budget)
    plan_cells(common, models or ["-"], entries, seeds, output)
    if not is_begun(output):  # else an earlier call may have had use for it
        check_idle(entries, common)
    check_models(models or [], common)
    experiment = _first(entries, models, common)
    resolved = replace(experiment.options, method=common.method, enhancement=common.enhancement)
    start = {"weights_digest": experiment.weights_digest, "images": experiment.splits.given}
    del experiment  # its images and network would take memory as long as the cells run
    models = list(models or [str(resolved.model)])
    if common.loading.image_size is None:
        check_sizes(models, resolved)
    check_distinct(entries, resolved)  # again, with the defaults that the data decide
    entries = as_before(entries, _labels(output), resolved)
    claim(output, resolved, budget, start)
    with alone(output, "is at work on this comparison"):
        return _compare(resolved, entries, models, seeds, budget, jobs, output, say)


def _first(entries: Sequence[Entry], models: Sequence[str] | None, common: TrainOptions) -> Experiment:
    """The first method's experiment, but with what all share: the learning rate and the like that it resolves are
    theirs.
    """
    options = entries[0].apply(common)
    options = replace(options, augmentation=common.augmentation, optimization=common.optimization)
    return prepare(replace(options, model=models[0] if models else common.model))


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
    failures = [] if epochs is None else [_untimed(cell) for cell in cells if (cell.model, cell.label) not in epochs]
    failed = [failure.cell for failure in failures]
    failures += run_cells([cell for cell in cells if cell not in failed], jobs, say)
    rows = write_results(output, resolved, budget, ratios, cells, failures, say)
    return Comparison(output, rows, failures)


def _labels(output: Path) -> list[str]:
    """What earlier calls of this comparison called their methods."""
    ratios: Ratios = read_rebuilt(output / "step_ratios.json", {}, lambda line: None)  # told when it is made anew
    return sorted({label for measured in ratios.values() for label in measured})


def _step_ratios(
    options: TrainOptions, models: Sequence[str], entries: Sequence[Entry], output: Path, say: Say
) -> Ratios:
    """Measured once and kept, so that a continued comparison has the same."""
    path = output / "step_ratios.json"
    measured: Ratios = read_rebuilt(path, {}, say)
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


def _untimed(cell: Cell) -> Failure:
    return Failure(cell, "its step could not be timed, so how many epochs it may have is unknown")
