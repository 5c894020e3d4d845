"""Options of a run: checked, resolved, and compared with those of a run to be continued."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

from ssfe.lab.config import DataOptions, OptimizerOptions, TrainOptions
from ssfe.lab.data import DataSplits, names
from ssfe.lab.errors import UserError
from ssfe.lab.methods.transformation import idle_with_scheme
from ssfe.lab.models import ModelSpec
from ssfe.lab.run.tracking import check_logger

_LEARNING_RATE = {"sgd": 0.1, "adamw": 1e-3}
_SLOWER_TO_TUNE = 10
"""How much lower the rate is for weights that have been trained: at a fresh network's they would be lost."""
_WEIGHT_DECAY = {"sgd": 5e-4, "adamw": 0.05}
FREE = {"progress", "logger", "workers"}
"""Options that change nothing in the result: a run may be continued with others."""


def check_options(options: TrainOptions) -> None:
    """Check the numbers that no other part checks.

    Raises:
        UserError: naming the option, its value and its range.
    """
    for name, value in options.to_flat().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name}={value} must be a finite number")
    check_loading(options.loading.batch_size, options.loading.workers)
    check_logger(options.engine.logger)
    optimization = options.optimization
    augmentation, scale = options.augmentation, options.enhancement.gradient_scale
    rules = [
        ("epochs", options.epochs, options.epochs >= 1, "at least 1"),
        ("lr", optimization.lr, optimization.lr is None or optimization.lr > 0, "positive"),
        ("momentum", optimization.momentum, 0 <= optimization.momentum < 1, "in [0, 1)"),
        ("weight_decay", optimization.weight_decay, (optimization.weight_decay or 0) >= 0, "not negative"),
        ("warmup_epochs", optimization.warmup_epochs, optimization.warmup_epochs >= 0, "not negative"),
        ("clip_grad", optimization.clip_grad, optimization.clip_grad is None or optimization.clip_grad > 0, "positive"),
        ("gradient_scale", scale, scale > 0, "positive"),
        ("ema", optimization.ema, 0 <= optimization.ema < 1, "in [0, 1)"),
        ("label_smoothing", augmentation.label_smoothing, 0 <= augmentation.label_smoothing < 1, "in [0, 1)"),
        ("random_erasing", augmentation.random_erasing, 0 <= augmentation.random_erasing <= 1, "in [0, 1]"),
        ("mixup", augmentation.mixup, augmentation.mixup >= 0, "positive, or 0 for off"),
        ("cutmix", augmentation.cutmix, augmentation.cutmix >= 0, "positive, or 0 for off"),
    ]
    for name, value, holds, wanted in rules:
        if not holds:
            raise UserError(f"{name}={value} must be {wanted}")


def check_idle(options: TrainOptions) -> None:
    """Check that no option of a new run is without effect beside another. (A run that goes on keeps what it has.)

    Raises:
        UserError: naming both.
    """
    check_momentum(options)
    enhancement = options.enhancement
    name = idle_with_scheme(enhancement)
    if name is not None:
        value = getattr(enhancement, name)
        raise UserError(f"{name}={value} has no effect with scheme={enhancement.scheme}: leave it out")


def check_momentum(options: TrainOptions) -> None:
    """Check that momentum is given to SGD alone. UserError if not."""
    own = options.optimization
    if own.optimizer != "sgd" and own.momentum != OptimizerOptions().momentum:
        raise UserError(f"momentum={own.momentum} has no effect with {own.optimizer}: leave it out")


def check_loading(batch_size: int | None, workers: int | None) -> None:
    """Check the numbers of images at a time and of processes that load them; None: left to a default.

    Raises:
        UserError: naming the option, its value and its range.
    """
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size={batch_size} must be at least 1")
    if workers is not None and workers < 0:
        raise UserError(f"workers={workers} must not be negative; 0 loads images without more processes")


def resolve(options: TrainOptions, splits: DataSplits, spec: ModelSpec) -> TrainOptions:
    """The options with every default that depends on data or network filled in."""
    optimization = options.optimization
    lr = _LEARNING_RATE[optimization.optimizer]
    if optimization.optimizer == "sgd":
        lr *= min(options.loading.batch_size, len(splits.train)) / 128
    if options.pretrained or options.weights is not None:
        lr /= _SLOWER_TO_TUNE
    decay = _WEIGHT_DECAY[optimization.optimizer]
    return replace(
        options,
        data=named(options.data),
        model=options.model or spec.name,
        weights=_absolute(options.weights),
        loading=replace(_anywhere(options.loading), image_size=splits.image_size),
        augmentation=replace(
            options.augmentation, flip=splits.flip if options.augmentation.flip is None else options.augmentation.flip
        ),
        optimization=replace(
            optimization,
            lr=lr if optimization.lr is None else optimization.lr,
            weight_decay=decay if optimization.weight_decay is None else optimization.weight_decay,
        ),
    )


def named(data: str) -> str:
    """The data's name as a run stores it: a path that exists as an absolute one, so that it means the same anywhere."""
    if data in names():
        return data
    prefix, path = ("hf:", data[3:]) if data.startswith("hf:") else ("", data)
    found = Path(path).expanduser()
    return f"{prefix}{found.resolve()}" if found.exists() else data


def differs(name: str, before: object, now: object) -> bool:
    """Whether an option differs in a way that changes results: not by where the data's folder, or the weights, lie."""
    if name in ("data", "weights") and isinstance(before, str) and isinstance(now, str):
        old, new = Path(before.removeprefix("hf:")), Path(now.removeprefix("hf:"))
        return before != now and not (old.is_absolute() and new.is_absolute() and old.name == new.name)
    return before != now


def _anywhere(loading: DataOptions) -> DataOptions:
    return replace(loading, data_dir=_absolute(loading.data_dir))


def _absolute(path: Path | None) -> Path | None:
    # Links are kept: what is stored must not be read as another path on the day that one becomes a link.
    return path and Path(os.path.abspath(path.expanduser()))  # noqa: PTH100


def check_same(asked: TrainOptions, stored: TrainOptions) -> None:
    """Check that a run is continued with its own options.

    Raises:
        UserError: naming the first option that differs.
    """
    before = stored.to_flat()
    settled = replace(asked, data=named(asked.data), weights=_absolute(asked.weights), loading=_anywhere(asked.loading))
    for name, value in settled.to_flat().items():
        if name not in {*FREE, "data_dir"} and differs(name, before[name], value):
            raise UserError(
                f"the run was started with {name}={before[name]}, not {value}: leave {name} out to continue it, or "
                "start a new run without --resume"
            )
