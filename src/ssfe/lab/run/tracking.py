"""Where a run's numbers go beside its folder: TensorBoard, or Weights & Biases.

Both are Lightning's loggers. They are given rows of metrics.csv and the shipped model's result, and a run reads nothing
from them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from ssfe.lab.config import TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.run.folder import RunFolder

_SCALARS = {"train_loss": "train/loss", "train_top1": "train/top1", "train_pretext": "train/pretext"}
_SCALARS |= {"val_top1": "val/top1", "val_nll": "val/nll", "lr": "lr", "images_per_second": "images_per_second"}
_RESULTS = ("top1", "balanced_accuracy", "top5", "nll", "ece")


class Tracker:
    """What follows a run; without a logger, nothing happens."""

    def __init__(self, logger: Logger | None = None) -> None:
        self._logger = logger
        self._step = 0

    def epoch(self, row: Mapping[str, Any]) -> None:
        """A row of metrics.csv, at its step."""
        self._step = int(row["step"])
        self._log({name: row[column] for column, name in _SCALARS.items() if row[column] != ""})

    def result(self, test: Mapping[str, float]) -> None:
        """The shipped model's scores on test images, at the last step."""
        self._log({f"test/{name}": test[name] for name in _RESULTS if name in test})

    def _log(self, values: Mapping[str, float]) -> None:
        if self._logger is not None:
            self._logger.log_metrics(dict(values), step=self._step)


def check_logger(name: str) -> None:
    """Check that the logger's package is installed.

    Raises:
        UserError: if not, with the command that installs it.
    """
    found = None if name == "none" else find_spec(name)
    if name != "none" and (found is None or found.origin is None):  # a mere folder of that name has no origin
        raise UserError(f'logger={name} needs the package {name}: pip install ".[tracking]" in the clone of ssfe')


@contextmanager
def tracked(options: TrainOptions, folder: RunFolder) -> Iterator[Tracker]:
    """The tracker that the options ask for, with these options as hyperparameters; closed afterwards.

    Raises:
        UserError: if Weights & Biases cannot be reached, or knows no user.
    """
    name = options.engine.logger
    if name == "none":
        yield Tracker()
        return
    logger = (_tensorboard if name == "tensorboard" else _wandb)(options.to_flat(), folder)
    code = 1
    try:
        yield Tracker(logger)
        code = 0
    finally:
        logger.finalize("failed" if code else "success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(code)


def _tensorboard(hyperparameters: dict[str, Any], folder: RunFolder) -> TensorBoardLogger:
    logger = TensorBoardLogger(folder.path, name="tensorboard", version="", default_hp_metric=False)
    logger.log_hyperparams(hyperparameters)
    return logger


def _wandb(hyperparameters: dict[str, Any], folder: RunFolder) -> WandbLogger:
    """A run named after the folder; the same run where the folder's is resumed."""
    import wandb

    known = folder.path / "wandb" / "run-id.txt"
    if not known.exists():
        known.parent.mkdir(exist_ok=True)
        known.write_text(secrets.token_hex(4), encoding="utf-8")
    run = known.read_text(encoding="utf-8")
    project = os.environ.get("WANDB_PROJECT", "ssfe")
    logger = WandbLogger(folder.path.name, folder.path, id=run, project=project)
    try:
        logger.log_hyperparams(hyperparameters)  # begins the run
    except wandb.errors.Error as error:
        raise UserError(
            f"logger=wandb cannot begin ({str(error).strip().rstrip('.')}): wandb login, or WANDB_MODE=offline"
        ) from error
    return logger
