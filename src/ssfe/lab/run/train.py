"""``ssfe train``: from options to a finished run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from ssfe.lab.config import TrainOptions
from ssfe.lab.data import (
    DataSplits,
    Preprocessing,
    batch_transform,
    load_data,
    preprocessing_for,
    train_transform,
)
from ssfe.lab.errors import UserError
from ssfe.lab.methods import Method, Readings, make_method
from ssfe.lab.models import ModelSpec, choose_model
from ssfe.lab.run.folder import RunFolder, new_run_folder
from ssfe.lab.run.metrics import Measured, measure
from ssfe.lab.run.model_file import ModelCard, load_shipped, save_shipped
from ssfe.lab.run.options import check_options, resolve
from ssfe.lab.run.rescue import rescued
from ssfe.lab.run.result import Outcome, make_result
from ssfe.lab.run.same import check_checkpoint, check_images, write_images
from ssfe.lab.run.start import read_start, starting, write_start
from ssfe.lab.run.temperature import temperature_scaled
from ssfe.lab.run.tracking import tracked
from ssfe.lab.seeds import derive_seed
from ssfe.lab.training.device import find_device, resolve_precision
from ssfe.lab.training.fit import Fitted, fit
from ssfe.lab.training.images import Batch
from ssfe.lab.training.loader import evaluation_batch, evaluation_loader, worker_count

Say = Callable[[str], None]


@dataclass(frozen=True)
class Experiment:
    """Everything a run needs, built from its options.

    Attributes:
        options: resolved: fed back, they give the same run.
        network: prepared by the method.
        weights_digest: of the file of weights that it starts from, if it was given one.
    """

    options: TrainOptions
    splits: DataSplits
    preprocessing: Preprocessing
    spec: ModelSpec
    method: Method
    network: nn.Module
    stock_parameters: int
    notes: tuple[str, ...]
    weights_digest: str | None

    @property
    def images_per_step(self) -> int:
        """The batch size, or all images if they are fewer."""
        return min(self.options.loading.batch_size, len(self.splits.train))


def prepare(
    options: TrainOptions, splits: DataSplits | None = None, recorded: Preprocessing | None = None
) -> Experiment:
    """Load the data, build the network and prepare it.

    Args:
        options: of the run.
        splits: what these options would load, where it is loaded already.
        recorded: the preprocessing of a run that goes on from its checkpoint; see
            :func:`~ssfe.lab.run.start.starting`.

    Raises:
        UserError: for whatever in the options or the data cannot be trained on.
    """
    check_options(options)
    start = starting(options, recorded)
    options = start.options
    resolve_precision(options.engine, find_device(options.engine.accelerator))
    splits = splits or load_data(options.data, options.loading, seed=options.seed)
    spec, note = choose_model(
        options.model,
        image_size=splits.image_size,
        channels=start.channels(splits),
        num_classes=len(splits.classes),
        pretrained=options.pretrained,
        model_args=options.model_args,
    )
    # The method draws nothing, so that all methods start from the same weights.
    torch.manual_seed(derive_seed(options.seed, "weights"))
    network, about_weights = start.network(spec, splits)
    stock_parameters = sum(parameter.numel() for parameter in network.parameters())
    used_to = start.used_to(network, spec)
    try:
        size = splits.image_size
        image_shape = (int(spec.kwargs["in_chans"]), size, size)
        method = make_method(options.method, options.enhancement, options.augmentation, image_shape)
        network = method.prepare(network)
    except (ValueError, TypeError) as error:
        raise UserError(f"{options.model or spec.name} with method {options.method}: {error}") from error
    preprocessing = preprocessing_for(splits, used_to)
    # Made here for their complaints alone: before there is a run folder.
    train_transform(preprocessing, options.augmentation, splits.flip)
    batch_transform(options.augmentation, len(splits.classes))
    return Experiment(
        options=resolve(options, splits, spec),
        splits=splits,
        preprocessing=preprocessing,
        spec=spec,
        method=method,
        network=network,
        stock_parameters=stock_parameters,
        notes=(*splits.notes, *about_weights, note),
        weights_digest=start.digest,
    )


def train(options: TrainOptions, output: Path | None, say: Say) -> tuple[RunFolder, dict[str, object]]:
    """Train a new run in the folder ``output`` (default: a new one under ``runs/``).

    Returns:
        The run folder and the content of its result.json.

    Raises:
        UserError: for mistakes of the user. Interrupted: when stopped by a signal, after a checkpoint.
    """
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
    with rescued(folder), tracked(experiment.options, folder) as tracker:
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


def finish(experiment: Experiment, folder: RunFolder, fitted: Fitted) -> dict[str, Any]:
    """Fold, write the model, evaluate every reading once on validation and test images, and write the result."""
    network = experiment.network.to(fitted.device).eval()
    card = ModelCard(
        spec=experiment.spec,
        classes=experiment.splits.classes,
        preprocessing=experiment.preprocessing,
        method=experiment.options.method,
        inference=experiment.method.shipped,
    )
    save_shipped(folder, experiment.method.deploy(network).cpu().to(memory_format=torch.contiguous_format), card)
    # Read back: what is measured is what a reader of the file gets, to the last bit.
    shipped = load_shipped(folder)[0].to(fitted.device)
    outcome = Outcome(
        val=_measure(experiment, network, shipped, fitted, "val"),
        test=_measure(experiment, network, shipped, fitted, "test"),
        scaled=scaled(experiment, shipped, fitted.device),
        training_parameters=sum(parameter.numel() for parameter in network.parameters()),
        shipped_parameters=sum(parameter.numel() for parameter in shipped.parameters()),
        stock_parameters=experiment.stock_parameters,
    )
    result = make_result(experiment.options, experiment.splits, experiment.method, fitted, outcome)
    outcome.test.predictions.write(folder.predictions)
    folder.write_result(result)
    return result


def describe(experiment: Experiment, folder: RunFolder) -> list[str]:
    """What is about to be trained, in a few lines."""
    splits = experiment.splits
    counts = f"{len(splits.train):,} training, {len(splits.val):,} validation and {len(splits.test):,} test images"
    size = f"{splits.channels}x{splits.image_size}x{splits.image_size}"
    return [
        f"data    {splits.name}: {counts}, {size}, {len(splits.classes)} classes",
        f"model   {experiment.notes[-1]}; {experiment.stock_parameters / 1e6:.2f} M parameters",
        *(f"note    {note}" for note in experiment.notes[:-1]),
        f"method  {_describe_method(experiment)}",
        f"folder  {folder.path}",
    ]


def _describe_method(experiment: Experiment) -> str:
    images, method = experiment.images_per_step, experiment.method
    views = f" = {images * method.views} views" if method.views > 1 else ""
    return f"{method.summary}; a step takes {images} images{views}"


def scaled(experiment: Experiment, shipped: nn.Module, device: torch.device) -> dict[str, float]:
    """The shipped network after temperature scaling; see :func:`~ssfe.lab.run.temperature.temperature_scaled`."""
    val, test = (_batches(experiment, part, device) for part in ("val", "test"))
    return temperature_scaled(lambda images: shipped(experiment.preprocessing.normalize(images)), val, test, device)


def _batches(experiment: Experiment, part: str, device: torch.device) -> DataLoader[Batch]:
    split = getattr(experiment.splits, part)
    workers = worker_count(experiment.options.loading.workers, split.in_memory)
    transform, batch_size = experiment.preprocessing.eval_transform(), evaluation_batch(experiment.options)
    return evaluation_loader(split, transform, batch_size, workers, device)


def _measure(experiment: Experiment, network: nn.Module, shipped: nn.Module, fitted: Fitted, part: str) -> Measured:
    batches = _batches(experiment, part, fitted.device)

    def readings(images: torch.Tensor) -> Readings:
        inputs = experiment.preprocessing.normalize(images)
        every = experiment.method.readings(network, inputs)
        return replace(every, classes={"shipped": shipped(inputs), **every.classes})

    return measure(batches, readings, fitted.device)
