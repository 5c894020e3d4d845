"""A run that is stopped and resumed ends as one that was not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from command import SMALL, complaint, metrics_without_time, photographs, read_json, ssfe, succeed

from ssfe.lab.run.folder import RunFolder
from ssfe.lab.training.epoch_log import EpochLog
from ssfe.lab.training.interrupt import Checkpoints
from ssfe.lab.training.module import Classification

AtStep = Callable[[int, Callable[[], None]], None]

STEPS = 3  # of an epoch
DEFAULT = (*SMALL, "--epochs", "3")
EVERYTHING = (
    *(*DEFAULT, "--ema", "0.9", "--views", "sampled", "--mixup", "0.4", "--augment", "trivialaugment"),
    *("--workers", "1", "--optimizer", "adamw", "--clip_grad", "1", "--random_erasing", "0.5"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Path]:
    """Uninterrupted runs, by their options."""
    runs = {options: tmp_path_factory.mktemp("whole") / "run" for options in (DEFAULT, EVERYTHING)}
    for options, folder in runs.items():
        succeed("train", *options, "--output", folder)
    return runs


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def assert_equal_runs(folder: Path, whole: Path) -> None:
    ours, theirs = (safetensors.torch.load_file(run / "model.safetensors") for run in (folder, whole))
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert metrics_without_time(folder / "metrics.csv") == metrics_without_time(whole / "metrics.csv")
    results = [read_json(run / "result.json") for run in (folder, whole)]
    assert results[0]["test"] == results[1]["test"]
    assert results[0]["val"] == results[1]["val"]


@pytest.mark.parametrize(
    ("options", "number", "step"),
    [
        pytest.param(DEFAULT, signal.SIGTERM, STEPS + 2, id="SIGTERM in mid-epoch"),
        pytest.param(DEFAULT, signal.SIGTERM, 1, id="SIGTERM in the first step"),
        pytest.param(DEFAULT, signal.SIGINT, 2 * STEPS, id="SIGINT in the last step of an epoch"),
        pytest.param(DEFAULT, signal.SIGTERM, STEPS, id="SIGTERM in the last step of an epoch"),
        pytest.param(EVERYTHING, signal.SIGINT, STEPS + 1, id="SIGINT in mid-epoch with everything on"),
    ],
)
def test_a_signal_is_followed_by_the_same_result(
    options: tuple[str, ...],
    number: signal.Signals,
    step: int,
    whole: dict[tuple[str, ...], Path],
    at_step: AtStep,
    tmp_path: Path,
) -> None:
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    folder = tmp_path / "run"
    at_step(step, send(number))
    stopped = ssfe("train", *options, "--output", folder)
    assert stopped.code == 128 + number
    assert stopped.err == f"ssfe: stopped; continue with: ssfe train --resume {folder}\n"
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    if step != STEPS:  # Lightning itself stops on SIGTERM before an epoch is validated whole.
        assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == step
    assert not (folder / "model.safetensors").exists()
    succeed("train", "--resume", folder)
    assert_equal_runs(folder, whole[options])


def test_a_run_may_be_stopped_again_and_again(
    whole: dict[tuple[str, ...], Path], at_step: AtStep, tmp_path: Path
) -> None:
    at_step(2, send(signal.SIGTERM))
    at_step(1 + 2, send(signal.SIGINT))  # counts the two steps of the first session as well
    folder = tmp_path / "run"
    assert ssfe("train", *DEFAULT, "--output", folder).code == 143
    assert ssfe("train", "--resume", folder).code == 130
    succeed("train", "--resume", folder)
    assert_equal_runs(folder, whole[DEFAULT])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_last_step_of_all(
    number: signal.Signals, whole: dict[tuple[str, ...], Path], at_step: AtStep, tmp_path: Path
) -> None:
    """The run may end, or have to be continued, but never ends well without a model."""
    folder = tmp_path / "run"
    at_step(3 * STEPS, send(number))
    stopped = ssfe("train", *DEFAULT, "--output", folder)
    assert stopped.code == 0 if (folder / "result.json").exists() else stopped.code == 128 + number
    succeed("train", "--resume", folder)
    assert_equal_runs(folder, whole[DEFAULT])


def test_sigterm_while_an_epoch_is_validated(
    whole: dict[tuple[str, ...], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    step, folder = Classification.validation_step, tmp_path / "run"

    def validation_step(self: Classification, batch: Any, batch_idx: int) -> None:
        if self.global_step == 2 * STEPS and batch_idx == 0:
            send(signal.SIGTERM)()
        step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Classification, "validation_step", validation_step)
        stopped = ssfe("train", *DEFAULT, "--output", folder)
    assert (stopped.code, f"ssfe train --resume {folder}" in stopped.err) == (143, True)
    succeed("train", "--resume", folder)
    assert_equal_runs(folder, whole[DEFAULT])


def test_kill_9_after_an_epoch(whole: dict[tuple[str, ...], Path], tmp_path: Path) -> None:
    """In a process of its own, which dies two steps after the checkpoint of the first epoch."""
    script = f"""
        import os, signal, sys
        from ssfe.cli import main
        from ssfe.lab.training.module import Classification

        step = Classification.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == {STEPS + 2}:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self, batch, batch_idx)

        Classification.training_step = training_step
        sys.exit(main())
    """
    folder = tmp_path / "run"
    command = [sys.executable, "-c", textwrap.dedent(script), "train", *DEFAULT, "--output", str(folder)]
    killed = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == STEPS
    succeed("train", "--resume", folder)
    assert_equal_runs(folder, whole[DEFAULT])


@pytest.mark.parametrize("step", [2, STEPS + 2])
def test_a_second_ctrl_c_stops_at_once(
    step: int, whole: dict[tuple[str, ...], Path], at_step: AtStep, tmp_path: Path
) -> None:
    def twice() -> None:
        send(signal.SIGINT)()
        send(signal.SIGINT)()

    at_step(step, twice)
    folder = tmp_path / "run"
    stopped = ssfe("train", *DEFAULT, "--output", folder)
    hint = f"ssfe: stopped; continue with: ssfe train --resume {folder}\n"
    assert (stopped.code, stopped.err) == (130, hint)
    succeed("train", "--resume", folder)
    assert_equal_runs(folder, whole[DEFAULT])


def test_ctrl_c_while_the_result_is_measured(
    whole: dict[tuple[str, ...], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("ssfe.lab.run.train.finish", interrupted)
        stopped = ssfe("train", *DEFAULT, "--output", folder)
    assert (stopped.code, f"--resume {folder}" in stopped.err) == (130, True)
    resumed = succeed("train", "--resume", folder).out
    assert not re.search(r"^epoch", resumed, re.MULTILINE)
    assert_equal_runs(folder, whole[DEFAULT])


def test_a_finished_run_is_told_again_and_not_trained(
    whole: dict[tuple[str, ...], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = whole[DEFAULT]
    # The report is a view of the others, and made anew.
    paths = [path for path in folder.rglob("*") if path.name != "report.html"]
    files = {path: path.stat().st_mtime_ns for path in paths}
    monkeypatch.setattr("ssfe.lab.run.train.prepare", None)  # nothing is even loaded
    shown = succeed("train", "--resume", folder).out
    assert f"{folder} is finished already" in shown
    assert f"{read_json(folder / 'result.json')['test']['shipped']['top1']:.1%}" in shown
    assert {path: path.stat().st_mtime_ns for path in paths} == files


def test_progress_and_workers_may_change(whole: dict[tuple[str, ...], Path], at_step: AtStep, tmp_path: Path) -> None:
    at_step(STEPS + 1, send(signal.SIGTERM))
    folder = tmp_path / "run"
    assert ssfe("train", *DEFAULT, "--output", folder).code == 143
    shown = succeed("train", "--resume", folder, "--workers", "1", "--progress=none").out
    assert not re.search(r"^epoch", shown, re.MULTILINE)
    assert_equal_runs(folder, whole[DEFAULT])


def test_a_run_is_resumed_from_anywhere(at_step: AtStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photographs(tmp_path / "fruit", 5, size=(20, 20))
    monkeypatch.chdir(tmp_path)
    at_step(2, send(signal.SIGTERM))
    typed = ("fruit", "--epochs", "2", "--batch_size", "4", "--workers", "0", "--data_dir", "here")
    assert ssfe("train", *typed, "--output", "run").code == 143
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    succeed("train", "--resume", tmp_path / "run", "../fruit", "--data_dir", "../here")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return photographs(tmp_path / "fruit", 8, size=(100, 90))


PHOTOS = ("--model", "cifar_resnet20", "--image_size", "32", "--batch_size", "8", "--workers", "1", "--epochs", "2")


def test_an_image_that_is_damaged_in_mid_run(large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, saved = large / "lime" / "0.jpg", Checkpoints.on_train_epoch_end
    content = victim.read_bytes()

    def damage(self: Checkpoints, *arguments: Any) -> None:
        saved(self, *arguments)
        for path in large.rglob("*.*"):  # whichever of them are trained on
            if path.name.startswith("0."):
                path.write_bytes(content[:-200])

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_epoch_end", damage)
        line = complaint("train", large, *PHOTOS, "--output", tmp_path / "run")
    named = re.search(r"Cannot read the image (\S+) \(", line)
    assert named is not None
    assert Path(named[1]).name.startswith("0.")
    assert "replace it by an image of the same name; the run is kept" in line
    assert line.endswith(f"then continue with ssfe train --resume {tmp_path}/run")
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 1
    photographs(large, 1, size=(100, 90))
    succeed("train", "--resume", tmp_path / "run")
    succeed("train", large, *PHOTOS, "--output", tmp_path / "whole")
    assert_equal_runs(tmp_path / "run", tmp_path / "whole")


def test_images_may_not_come_or_go(large: Path, at_step: AtStep, tmp_path: Path) -> None:
    """A folder without splits would be split otherwise, and tested with images that were trained on."""
    at_step(1, send(signal.SIGTERM))
    assert ssfe("train", large, *PHOTOS, "--workers", "0", "--output", tmp_path / "run").code == 143
    (large / "lime" / "0.jpg").rename(tmp_path / "0.jpg")
    line = complaint("train", "--resume", tmp_path / "run")
    assert f"{large} changed since the run was started" in line
    assert "put back what is missing" in line
    (tmp_path / "0.jpg").rename(large / "lime" / "0.jpg")
    (tmp_path / "elsewhere").mkdir()
    moved = large.rename(tmp_path / "elsewhere" / large.name)
    line = complaint("train", "--resume", tmp_path / "run")
    assert f"say where the folder fruit is now, ssfe train --resume {tmp_path}/run FOLDER" in line
    assert "data=" in complaint("train", "--resume", tmp_path / "run", "digits")
    succeed("train", "--resume", tmp_path / "run", moved)
    assert RunFolder(tmp_path / "run").read_options().data == str(moved)


def test_seconds_are_those_of_all_sessions(at_step: AtStep, tmp_path: Path) -> None:
    at_step(STEPS + 2, send(signal.SIGTERM))
    folder = tmp_path / "run"
    ssfe("train", *DEFAULT, "--output", folder)
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    before = next(state for name, state in saved["callbacks"].items() if EpochLog.__qualname__ in name)
    succeed("train", "--resume", folder)
    assert read_json(folder / "result.json")["seconds"] > before["seconds"] + before["epoch_seconds"] > 0
