"""One line per epoch, for the terminal and for metrics.csv.

Lightning's CSVLogger deletes the rows of the interrupted run when a run is resumed; this one goes on where it stopped.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from ssfe.lab.errors import Diverged
from ssfe.lab.files import write_whole
from ssfe.lab.training.loader import TrainLoader
from ssfe.lab.training.module import Classification

COLUMNS = (
    "epoch",
    "step",
    "lr",
    "train_loss",
    "train_top1",
    "train_pretext",
    "val_top1",
    "val_nll",
    "seconds",
    "images_per_second",
)


class EpochLog(pl.Callback):
    """Writes a row of metrics.csv and says a line after every epoch; keeps count of time and position.

    Args:
        path: of metrics.csv. Rows of epochs that a resumed run repeats are dropped.
        say: what prints a line.
        track: what else takes the row.
    """

    def __init__(self, path: Path, say: Callable[[str], None], track: Callable[[Mapping[str, Any]], None]) -> None:
        self.path = path
        self.say = say
        self.track = track
        self.seconds = 0.0
        self._epoch_seconds = 0.0
        self._sums: list[float] = []
        self._resumed_at = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: seconds of training so far, and the unfinished epoch's sums."""
        return {"seconds": self.seconds, "epoch_seconds": self._epoch_seconds + self._lap(), "sums": self._sums}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.seconds, self._epoch_seconds = state_dict["seconds"], state_dict["epoch_seconds"]
        self._sums = state_dict["sums"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classification)
        pl_module.training_tally.restore(self._sums)
        self._resumed_at = time.perf_counter()
        rows = [row for row in read_metrics(self.path) if int(row["epoch"]) <= trainer.current_epoch]
        write_whole(self.path, lambda path: _write_rows(path, rows))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Classification)
        assert isinstance(trainer.train_dataloader, TrainLoader)
        trainer.train_dataloader.batches_done = batch_idx + 1
        if batch_idx + 1 == pl_module.steps_per_epoch:
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize(pl_module.device)
            self._epoch_seconds += self._lap()

    def keep_sums(self, module: Classification) -> None:
        """Copy the running sums into what the next checkpoint keeps (reading them waits for the device)."""
        self._sums = module.training_tally.state()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classification)
        assert isinstance(trainer.train_dataloader, TrainLoader)
        row = self._row(trainer, pl_module)
        last = row["epoch"] == pl_module.options.epochs  # before, validation may recover
        for what, loss in (("loss", row["train_loss"]), ("validation loss", row["val_nll"] if last else 0.0)):
            if not math.isfinite(loss):
                raise Diverged(
                    f"training diverged: the {what} of epoch {row['epoch']} is {loss}; start a new run with a lower lr "
                    f"than {pl_module.options.optimization.lr:g}, more warmup_epochs, or clip_grad"
                )
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
        self.say(describe_epoch(row, pl_module.options.epochs, pl_module.method.views))
        self.track(row)
        self.seconds += self._epoch_seconds
        self._epoch_seconds, self._sums = 0.0, []
        trainer.train_dataloader.batches_done = 0
        pl_module.training_tally.reset()
        pl_module.validation_tally.reset()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._resumed_at = time.perf_counter()

    def _lap(self) -> float:
        now = time.perf_counter()
        seconds, self._resumed_at = now - self._resumed_at, now
        return seconds

    def _row(self, trainer: pl.Trainer, module: Classification) -> dict[str, Any]:
        assert isinstance(trainer.train_dataloader, TrainLoader)
        loss, top1, pretext = module.training_tally.means()
        val_nll, val_top1, _ = module.validation_tally.means()
        images = module.steps_per_epoch * trainer.train_dataloader.batches.batch_size
        return {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": loss,
            "train_top1": top1,
            "train_pretext": pretext if module.method.pretext else "",
            "val_top1": val_top1,
            "val_nll": val_nll,
            "seconds": self._epoch_seconds,
            "images_per_second": images / self._epoch_seconds if self._epoch_seconds else 0.0,
        }


def describe_epoch(row: dict[str, Any], epochs: int, views: int) -> str:
    """A metrics row as a line for people."""
    rate = row["images_per_second"]
    pretext = f"  pretext {row['train_pretext']:6.1%}" if row["train_pretext"] != "" else ""
    speed = f"{rate:,.0f} images/s" + (f" ({rate * views:,.0f} views/s)" if views > 1 else "")
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['train_loss']:.3f}  "
        f"top-1 {row['train_top1']:6.1%}{pretext}  |  "
        f"validation top-1 {row['val_top1']:6.1%}  nll {row['val_nll']:.3f}  |  {speed}"
    )


def _write_rows(path: Path, rows: Iterable[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv, as text; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        # A row that was cut short is no row.
        return [row for row in csv.DictReader(file) if row["images_per_second"]]
