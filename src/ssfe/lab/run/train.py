"""``ssfe train``: from options to a finished run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shlex import quote

from ssfe.lab.alone import alone
from ssfe.lab.config import TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.run.experiment import Experiment, describe, prepare
from ssfe.lab.run.finish import finish
from ssfe.lab.run.folder import RUNS, RunFolder, check_outside, new_run_folder
from ssfe.lab.run.options import check_idle
from ssfe.lab.run.rescue import rescued
from ssfe.lab.run.same import check_checkpoint, check_images, write_images
from ssfe.lab.run.start import read_start, write_start
from ssfe.lab.run.tracking import tracked
from ssfe.lab.training.fit import fit

Say = Callable[[str], None]


def train(options: TrainOptions, output: Path | None, say: Say) -> tuple[RunFolder, dict[str, object]]:
    """Train a new run in the folder ``output`` (default: a new one under ``runs/``).

    Returns:
        The run folder and the content of its result.json.

    Raises:
        UserError: for mistakes of the user. Interrupted: when stopped by a signal, after a checkpoint.
    """
    check_outside(output or RUNS, options.data)
    check_idle(options)
    experiment = prepare(options)
    folder = RunFolder(output) if output is not None else new_run_folder(experiment.options)
    folder.create()
    folder.write_options(experiment.options)
    return folder, _run(experiment, folder, say)


def resume(folder: RunFolder, options: TrainOptions, say: Say) -> dict[str, object]:
    """Continue an interrupted run to the very result that it would have had.

    Args:
        folder: of the run.
        options: of the run; only ``progress``, ``logger``, ``workers`` and where data and weights lie (``data_dir``, or
            another folder of the same name) may differ from its config.yaml, which follows them. The weights it
            started from are needed only where it has no checkpoint yet.

    Raises:
        UserError: if the run cannot be continued with these options. Interrupted: see :func:`train`.
    """
    if folder.result.exists():
        say(f"{folder.path} is finished already")
        return folder.read_result()
    _check_place(options.data, folder)
    experiment = prepare(options, recorded=read_start(folder) if folder.checkpoint.exists() else None)
    if folder.checkpoint.exists():
        check_images(folder, experiment.splits)
        check_checkpoint(folder.checkpoint, experiment.network)
    _follow(folder, experiment.options)
    say(
        f"continuing {folder.path}"
        if folder.checkpoint.exists()
        else f"starting {folder.path} anew: it has no checkpoint yet"
    )
    return _run(experiment, folder, say)


def _check_place(data: str, folder: RunFolder) -> None:
    if Path(data).is_absolute() and not Path(data).exists():
        raise UserError(
            f"{data}, the run's data, is no longer there: put it back, or say where the folder {Path(data).name} is "
            f"now, ssfe train --resume {quote(str(folder.path))} FOLDER"
        )


def _follow(folder: RunFolder, now: TrainOptions) -> None:
    """Data and weights that were moved are where a resumed run was told they are."""
    stored = folder.read_options()
    loading = replace(stored.loading, data_dir=now.loading.data_dir)
    moved = replace(stored, data=now.data, weights=now.weights, loading=loading)
    if moved != stored:
        folder.write_options(moved)


def _run(experiment: Experiment, folder: RunFolder, say: Say) -> dict[str, object]:
    for line in describe(experiment, folder):
        say(line)
    with (
        alone(folder.checkpoint.parent, "trains this run"),
        rescued(folder),
        tracked(experiment.options, folder) as tracker,
    ):
        if not folder.checkpoint.exists():
            write_images(folder, experiment.splits)
            if experiment.weights_digest is not None:
                write_start(folder, experiment.preprocessing)
        fitted = fit(
            experiment.network,
            experiment.method,
            experiment.splits,
            experiment.preprocessing,
            experiment.options,
            metrics=folder.metrics,
            checkpoint=folder.checkpoint,
            say=say,
            track=tracker.epoch,
        )
        result = finish(experiment, folder, fitted)
        tracker.result(result["test"]["shipped"])
        return result
