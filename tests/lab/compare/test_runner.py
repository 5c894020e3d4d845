from __future__ import annotations

import os

import pytest

from ssfe.lab.compare.runner import worker_environment
from ssfe.lab.cores import cores


def test_jobs_share_the_cores_and_take_turns_on_the_gpus() -> None:
    assert worker_environment(0, 1, ["0", "1"]) == {}
    half = str(max(1, cores() // 2))
    assert worker_environment(0, 2, []) == {"OMP_NUM_THREADS": half, "SSFE_CORES": half}
    assert [worker_environment(slot, 3, ["4", "GPU-ab"])["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == [
        "4",
        "GPU-ab",
        "4",
    ]


def test_a_run_beside_others_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSFE_CORES", raising=False)
    if hasattr(os, "sched_getaffinity"):
        assert cores() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("SSFE_CORES", "3")
    assert cores() == 3
