from __future__ import annotations

import os

from ssfe.lab.compare.runner import worker_environment


def test_jobs_share_the_cores_and_take_turns_on_the_gpus() -> None:
    assert worker_environment(0, 1, ["0", "1"]) == {}
    cores = os.cpu_count() or 1
    assert worker_environment(0, 2, []) == {"OMP_NUM_THREADS": str(max(1, cores // 2))}
    assert [worker_environment(slot, 3, ["4", "GPU-ab"])["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == [
        "4",
        "GPU-ab",
        "4",
    ]
