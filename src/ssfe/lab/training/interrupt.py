"""Checkpoints, and stopping cleanly on Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl

from ssfe.lab.files import write_whole
from ssfe.lab.training.epoch_log import EpochLog
from ssfe.lab.training.module import Classification

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether a signal has asked the run to stop. A second Ctrl-C is not waited for: it stops at once."""

    number: int | None = None

    def listen(self) -> None:
        """From now on SIGINT and SIGTERM set :attr:`number` instead of ending the process."""
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number

    @staticmethod
    @contextmanager
    def handlers_restored() -> Iterator[None]:
        """Afterwards the handlers are those of before."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Interrupted(Exception):
    """Training was stopped by signal ``number``, and the run in ``folder`` can be resumed."""

    def __init__(self, number: int, folder: Path) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number
        self.folder = folder


class Checkpoints(pl.Callback):
    """Writes the one checkpoint of a run after every epoch, and after the step in which a stop was requested.

    Args:
        path: of the checkpoint, replaced as a whole: at every moment a complete one lies there.
        request: where a stop is asked for.
        epoch_log: its unfinished sums are kept in a checkpoint in mid-epoch.
    """

    def __init__(self, path: Path, request: StopRequest, epoch_log: EpochLog) -> None:
        self.path = path
        self.request = request
        self.epoch_log = epoch_log

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Here, because Lightning has put up its own SIGTERM handler just before, which stops without a checkpoint.
        self.request.listen()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Classification)
        # At the epoch's last step validation comes first, and then the epoch's own checkpoint.
        if self.request.number is not None and batch_idx + 1 < pl_module.steps_per_epoch:
            self.epoch_log.keep_sums(pl_module)
            self._save(trainer)
            raise Interrupted(self.request.number, self.path.parent.parent)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)
        assert isinstance(pl_module, Classification)
        if self.request.number is not None and trainer.current_epoch + 1 < pl_module.options.epochs:
            raise Interrupted(self.request.number, self.path.parent.parent)

    def _save(self, trainer: pl.Trainer) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, trainer.save_checkpoint)
