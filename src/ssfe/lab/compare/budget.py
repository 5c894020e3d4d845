"""Epochs that cost every method the same time: the price of a training step, measured in alternation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ssfe.core.timing import alternate
from ssfe.lab.compare.entries import Entry
from ssfe.lab.config import TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.run.experiment import Experiment, prepare
from ssfe.lab.training.device import find_device
from ssfe.lab.training.images import Batch, Loaded
from ssfe.lab.training.module import Classification
from ssfe.lab.training.optimization import make_optimizer

UNTIMED = {"crop", "flip", "augment", "random_erasing", "mixup", "cutmix", "clip_grad", "ema"}
"""Options of training whose work is not in the step that is timed: the same for all methods, they favour none."""
_WARM_UP, _ROUNDS = 2, 15
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def step_ratios(
    common: TrainOptions, model: str, entries: Sequence[Entry], say: Callable[[str], None]
) -> dict[str, float]:
    """Seconds of a training step of each entry, by its label, as a ratio to plain training; without those entries that
    do not fit the network, of which it says why.

    A step is that of a run on one batch already in memory: normalisation, forward, loss, training accuracy, backward
    and optimizer, but neither augmentation, gradient clipping nor an average of the weights. The methods take turns,
    and the ratio is the median over the rounds of the ratio within a round, so that a machine whose speed drifts does
    not favour one.
    """
    steps: dict[str, Callable[[], None]] = {}
    splits = None
    for entry in [Entry("plain", "plain"), *(entry for entry in entries if entry.label != "plain")]:
        try:
            experiment = prepare(entry.apply(replace(common, model=model)), splits=splits)
        except UserError as error:
            say(f"timing  {model} {entry.label} failed: {error.line}")
            continue
        splits = experiment.splits
        step = _step(experiment)
        try:
            step()
        except torch.OutOfMemoryError:
            say(f"timing  {model} {entry.label} failed: out of memory; lower batch_size for all")
            continue
        steps[entry.label] = step
    if "plain" not in steps:
        return {}
    device = find_device(common.engine.accelerator)
    ratios = alternate(steps, rounds=_ROUNDS, warm_up=_WARM_UP, device=device)
    return {entry.label: ratios[entry.label].median for entry in entries if entry.label in steps}


def equal_time_epochs(epochs: int, ratio: float) -> int:
    """The epochs that cost what ``epochs`` of plain training cost, to the nearest whole one, and at least one."""
    return max(1, round(epochs / ratio))


def _step(experiment: Experiment) -> Callable[[], None]:
    options, device = experiment.options, experiment.device
    dtype = _DTYPES.get(experiment.precision)
    layout = torch.channels_last if options.engine.channels_last else torch.contiguous_format
    network = experiment.network.to(device).to(memory_format=layout).train()
    training = Classification(network, experiment.method, _as_it_is, experiment.preprocessing, None, options, 1)
    if options.engine.compile:
        network.compile()
    optimizer = make_optimizer(network, options.optimization)
    prepare_image = experiment.preprocessing.eval_transform()
    chosen = range(experiment.images_per_step)
    images = torch.stack([prepare_image(experiment.splits.train[index][0]) for index in chosen]).to(device)
    labels = experiment.splits.train.labels[: len(images)].to(device)

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            loss = training.training_step((images, labels), 0)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _as_it_is(loaded: Loaded) -> Batch:
    images, labels = loaded
    return images, labels
