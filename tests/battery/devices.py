"""Several processes or devices."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from ssfe import enhance, fold
from ssfe.core.enhanced import joint_classifier
from tests.reference.networks import TinyNet

from . import small, two_processes
from .small import CLASSES, assert_folds, network, problem, train
from .table import proven_elsewhere, setting


@setting(
    "Several devices", "SyncBatchNorm: conversion", note="torch trains with it on GPUs only, which has not been tried"
)
def sync_batch_norm() -> None:
    """before or after enhance: the converted network is enhanced and folds; its evaluation is unchanged"""
    before = enhance(nn.SyncBatchNorm.convert_sync_batchnorm(TinyNet(CLASSES)))
    assert isinstance(assert_folds(before).stem[1], nn.SyncBatchNorm)
    model, (images, _) = network(), problem()
    train(model, steps=3)
    expected = model.eval()(images)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert isinstance(converted.stem[1], nn.SyncBatchNorm)
    assert joint_classifier(converted) is converted.fc
    torch.testing.assert_close(converted.eval()(images), expected)
    assert_folds(converted)


proven_elsewhere(
    "Several devices",
    "DistributedDataParallel",
    "two gloo processes end with the gradients and weights of one process on the joined batch, in float64",
    "tests/test_ddp.py::test_two_processes_equal_one",
)


@setting(
    "Several devices",
    "FSDP2 (fully_shard)",
    note="load the full state_dict into an enhanced network; fold that",
    never={
        "one sampled view": "every process draws views of its own",
        "a chunked loss": "FSDP frees the weight before the loss; the network's error says so",
    },
)
def fsdp2() -> None:
    """two gloo processes, weights sharded, end with the weights of one process on the joined batch"""
    # Once in some twenty runs a process ends with an error of its own; what is tested is what they compute.
    problems = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            codes, errors = _run_two(folder)
            if codes == [0, 0]:
                state = torch.load(Path(folder) / "state.pt", weights_only=True)
                break
            problems.append(f"exit codes {codes}: {errors}")
    else:
        raise AssertionError("\n".join(problems))
    model = two_processes.network()
    two_processes.train(model, slice(None))
    torch.testing.assert_close(state, dict(model.state_dict()), rtol=1e-4, atol=1e-5)
    fresh = two_processes.network()
    fresh.load_state_dict(state)
    torch.testing.assert_close(fold(fresh).state_dict(), fold(model).state_dict(), rtol=1e-4, atol=1e-5)


def _run_two(folder: str) -> tuple[list[int], str]:
    """The exit codes of the two processes, and what they wrote to stderr."""
    command = [sys.executable, "-m", two_processes.__name__, folder]
    root = Path(__file__).parent.parent.parent
    processes = [
        subprocess.Popen([*command, str(rank), small.current_way()], stderr=subprocess.PIPE, text=True, cwd=root)
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    return [process.returncode for process in processes], "\n".join(errors)


@setting("Several devices", "wrapped in DataParallel or DDP before enhance", refused="wrapped in DataParallel already")
def wrapped_before() -> None:
    """nothing is attached in vain"""
    enhance(nn.DataParallel(nn.Sequential(nn.Linear(3, 2))))
