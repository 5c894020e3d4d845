"""Training a prepared network with Lightning, from the start or from a checkpoint."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import TQDMProgressBar, WeightAveraging
from torch import Tensor, nn
from tqdm import tqdm

from ssfe.lab.config import TrainOptions
from ssfe.lab.data import DataSplits, Preprocessing, batch_transform
from ssfe.lab.methods import Method
from ssfe.lab.training.device import find_device, resolve_precision
from ssfe.lab.training.epoch_log import EpochLog, read_metrics
from ssfe.lab.training.images import CroppedImages, ResidentImages, TrainImages, training_images
from ssfe.lab.training.interrupt import Checkpoints, StopRequest
from ssfe.lab.training.loader import EpochBatches, TrainLoader, evaluation_batch, evaluation_loader, worker_count
from ssfe.lab.training.module import Classification
from ssfe.lab.training.quiet import SILENT

_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Fitted:
    """What training leaves besides the network's weights.

    Attributes:
        device: where it ran.
        precision: the arithmetic used: fp32, bf16 or fp16.
        seconds: of training, all sessions of the run together, validation left out.
        epoch_seconds: median over the epochs of the seconds of one.
        images: images trained on, epochs included.
    """

    device: torch.device
    precision: str
    seconds: float
    epoch_seconds: float
    images: int


def fit(
    network: nn.Module,
    method: Method,
    splits: DataSplits,
    preprocessing: Preprocessing,
    options: TrainOptions,
    *,
    metrics: Path,
    checkpoint: Path,
    say: Callable[[str], None],
    track: Callable[[Mapping[str, Any]], None] = lambda row: None,
) -> Fitted:
    """Train ``network`` in place; continue from ``checkpoint`` if that exists.

    Afterwards the network holds the weights to evaluate: those of the last epoch, averaged where ``ema`` is on.

    Args:
        network: as ``method`` prepared it.
        options: resolved.
        metrics: metrics.csv, a row per epoch.
        checkpoint: written after every epoch and on interruption.
        say: prints a line.
        track: takes each row of metrics.csv.

    Raises:
        Interrupted: after SIGINT or SIGTERM, when the checkpoint is written.
    """
    device = find_device(options.engine.accelerator)
    precision = resolve_precision(options.engine, device)
    # Processes that load images, if asked for, have them in the host's memory.
    holder = torch.device("cpu") if options.loading.workers else device
    images = training_images(splits.train, preprocessing, options.augmentation, splits.flip, options.seed, holder)
    loader = _train_loader(images, splits.train.in_memory, options, device)
    module = Classification(
        network.to(memory_format=torch.channels_last) if options.engine.channels_last else network,
        method,
        images.finish,
        preprocessing,
        batch_transform(options.augmentation, len(splits.classes)),
        options,
        len(loader),
    )
    bar = options.engine.progress == "bar" or (options.engine.progress == "auto" and sys.stdout.isatty())
    log = EpochLog(metrics, _spoken(options.engine.progress, bar, say), track)
    request = StopRequest()
    callbacks = [*_averaging(options.optimization.ema, device), log, Checkpoints(checkpoint, request, log)]
    trainer = _trainer(options, precision, callbacks, checkpoint.parent, bar)
    if options.engine.compile:
        network.compile()
    workers = worker_count(options.loading.workers, splits.val.in_memory)
    transform, batch_size = preprocessing.eval_transform(), evaluation_batch(options)
    validation = evaluation_loader(splits.val, transform, batch_size, workers, device)
    resumed = str(checkpoint) if checkpoint.exists() else None
    if resumed:
        # Lightning starts the worker processes, which load ahead, before it sets the epoch.
        state = torch.load(resumed, map_location="cpu", weights_only=True)
        loader.batches.set_epoch(state["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    with request.handlers_restored():
        trainer.fit(module, loader, validation, ckpt_path=resumed, weights_only=True)
    _load_evaluated_weights(module, checkpoint)
    seen = options.epochs * len(loader) * loader.batches.batch_size
    epoch_seconds = statistics.median(float(row["seconds"]) for row in read_metrics(metrics))
    return Fitted(device, precision, log.seconds, epoch_seconds, seen)


def _train_loader(
    images: TrainImages | CroppedImages, in_memory: bool, options: TrainOptions, device: torch.device
) -> TrainLoader:
    # Augmenting images one by one keeps an accelerator waiting, though they lie in memory.
    light = in_memory and (isinstance(images, CroppedImages) or device.type == "cpu")
    return TrainLoader(
        images,
        EpochBatches(len(images), options.loading.batch_size, options.seed),
        worker_count(options.loading.workers, light),
        pin_memory=device.type == "cuda" and not isinstance(images, ResidentImages),
    )


def _averaging(decay: float, device: torch.device) -> list[pl.Callback]:
    """An exponential moving average of weights and buffers; integers (indices, counts) are taken as they are.

    In the first steps the decay is (1 + n) / (10 + n) after n of them, as in TensorFlow's ExponentialMovingAverage: a
    short training would end with the average of its first weights.
    """

    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        """All tensors of one dtype at once, and the count left where it is: a small network's step would wait."""
        if averaged[0].is_floating_point():
            steps = torch.as_tensor(count, device=averaged[0].device)
            change = torch._foreach_sub(current, averaged)
            torch._foreach_mul_(change, 1 - ((1 + steps) / (10 + steps)).clamp(max=decay))
            torch._foreach_add_(averaged, change)
        else:
            torch._foreach_copy_(averaged, current)

    # On the device from the start: the callback is set up before Lightning moves the network there.
    return [WeightAveraging(device=device, multi_avg_fn=average)] if decay else []


def _spoken(progress: str, bar: bool, say: Callable[[str], None]) -> Callable[[str], None]:
    """How the epochs' lines are printed: beside a progress bar, by its own means."""
    if progress == "none":
        return lambda line: None
    return tqdm.write if bar else say


def _trainer(
    options: TrainOptions, precision: str, callbacks: list[pl.Callback], folder: Path, bar: bool
) -> pl.Trainer:
    return pl.Trainer(
        accelerator=options.engine.accelerator,
        devices=1,
        precision=_PRECISIONS[precision],  # type: ignore[arg-type]
        max_epochs=options.epochs,
        gradient_clip_val=options.optimization.clip_grad,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
        callbacks=[*callbacks, TQDMProgressBar(leave=False)] if bar else callbacks,
        **{**SILENT, "enable_progress_bar": bar},
    )


def _load_evaluated_weights(module: Classification, checkpoint: Path) -> None:
    # Where EMA is on, the checkpoint's state_dict is the average; where it is off, these are the weights already there.
    # Read from the file so that a run resumed after its last epoch ends with the same weights as one that went through.
    module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
