from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from command import SMALL, succeed

from ssfe.lab.training.epoch_log import COLUMNS, EpochLog, describe_epoch, read_metrics
from ssfe.lab.training.loader import TrainLoader

ROW: dict[str, Any] = {
    "epoch": 3,
    "step": 30,
    "lr": 0.1,
    "train_loss": 1.23456,
    "train_top1": 0.5,
    "train_pretext": 0.75,
    "val_top1": 1.0,
    "val_nll": 0.5,
    "seconds": 2.0,
    "images_per_second": 1234.5,
}


def test_an_epoch_as_a_line() -> None:
    assert describe_epoch(ROW, 10, 4) == (
        "epoch  3/10  loss 1.235  top-1  50.0%  pretext  75.0%  |  validation top-1 100.0%  nll 0.500  |  "
        "1,234 images/s (4,938 views/s)"
    )
    assert describe_epoch(ROW | {"train_pretext": ""}, 9, 1) == (
        "epoch 3/9  loss 1.235  top-1  50.0%  |  validation top-1 100.0%  nll 0.500  |  1,234 images/s"
    )


def test_rows_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.csv") == []


def test_a_line_beside_a_progress_bar_stands_alone(tmp_path: Path) -> None:
    shown = succeed("train", *SMALL, "--epochs", "1", "--progress", "bar", "--output", tmp_path / "run").out
    drawn = [re.split(r"\r|\x1b\[A", line)[-1] for line in shown.split("\n")]  # what stays where the cursor has been
    assert "it/s" in shown
    assert sum(line.startswith("epoch 1/1  loss ") for line in drawn) == 1


def test_rows_say_what_was_trained(tmp_path: Path) -> None:
    for method in ("plain", "ssfe"):
        succeed("train", *SMALL, "--epochs", "2", "--method", method, "--output", tmp_path / method)
        rows = read_metrics(tmp_path / method / "metrics.csv")
        assert [tuple(row) for row in rows] == [COLUMNS] * 2
        assert [row["train_pretext"] == "" for row in rows] == [method == "plain"] * 2
        assert float(rows[-1]["lr"]) == 0  # the rate after the epoch's last step
        for row in rows:
            rate = 192 / float(row["seconds"])
            assert abs(float(row["images_per_second"]) - rate) < 1e-6 * rate


def test_a_row_tells_training_from_validation() -> None:
    def tally(*means: float) -> Any:
        return SimpleNamespace(means=lambda: means)

    loader: Any = object.__new__(TrainLoader)
    loader.batches = SimpleNamespace(batch_size=8)
    rate = SimpleNamespace(param_groups=[{"lr": 0.1}])
    trainer: Any = SimpleNamespace(current_epoch=0, global_step=2, optimizers=[rate], train_dataloader=loader)
    module: Any = SimpleNamespace(
        training_tally=tally(1.0, 0.2, 0.3),
        validation_tally=tally(4.0, 0.5, 0.0),
        steps_per_epoch=2,
        method=SimpleNamespace(pretext=True),
    )
    row = EpochLog(Path("unused"), print, print)._row(trainer, module)
    names = ("train_loss", "train_top1", "train_pretext", "val_nll", "val_top1")
    assert [row[name] for name in names] == [1.0, 0.2, 0.3, 4.0, 0.5]
