"""TensorBoard and Weights & Biases are told what metrics.csv and result.json hold."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import SMALL, complaint, read_json, succeed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssfe.lab.run import tracking

_COLUMNS = {"train/loss": "train_loss", "train/pretext": "train_pretext", "val/top1": "val_top1", "lr": "lr"}


def with_wandb(home: Path, mode: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``ssfe train``, in a process of its own: wandb reads its environment once, and answers the process's end."""
    mine = {"WANDB_MODE": mode, "WANDB_SILENT": "true", "WANDB_CONFIG_DIR": str(home), "NETRC": str(home / "netrc")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | mine
    command = [sys.executable, "-m", "ssfe.cli", "train", *map(str, arguments)]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_tensorboard_has_the_rows_and_the_result(tmp_path: Path) -> None:
    succeed("train", *SMALL, "--epochs", "2", "--logger", "tensorboard", "--output", tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name, column in _COLUMNS.items():
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(int(row["step"]), pytest.approx(float(row[column]), rel=1e-6)) for row in rows]
    top1 = read_json(tmp_path / "run" / "result.json")["test"]["shipped"]["top1"]
    assert [event.value for event in events.Scalars("test/top1")] == [pytest.approx(top1, rel=1e-6)]


def test_a_resumed_run_is_the_same_run_of_wandb(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begun = with_wandb(tmp_path, "offline", *SMALL, "--epochs", "1", "--logger", "wandb", "--output", folder)
    assert begun.returncode == 0, begun.stderr
    (folder / "result.json").unlink()
    resumed = with_wandb(tmp_path, "offline", "--resume", folder)
    assert resumed.returncode == 0, resumed.stderr
    runs = list((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(runs) == 2
    assert {run.name for run in runs} == {f"run-{(folder / 'wandb' / 'run-id.txt').read_text()}.wandb"}
    assert all(b"test/top1" in run.read_bytes() for run in runs)


def test_a_resumed_run_may_be_tracked_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    succeed("train", *SMALL, "--epochs", "1", "--output", folder)
    (folder / "result.json").unlink()
    succeed("train", "--resume", folder, "--logger", "tensorboard")
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert len(events.Scalars("test/top1")) == 1


def test_a_user_that_wandb_does_not_know_is_told_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ended = with_wandb(tmp_path, "online", *SMALL, "--epochs", "1", "--logger", "wandb", "--output", folder)
    assert ended.returncode == 2
    assert "wandb login, or WANDB_MODE=offline" in ended.stderr
    assert f"--resume {folder}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_package_is_named_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    line = complaint("train", *SMALL, "--logger", "tensorboard", "--output", tmp_path / "run")
    assert line.endswith('pip install ".[tracking]" in the clone of ssfe')
    assert not (tmp_path / "run").exists()
