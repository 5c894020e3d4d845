"""Running the cells of a comparison, several side by side, and going on past those that fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from ssfe.lab.compare.cells import Cell
from ssfe.lab.cores import SHARE, cores
from ssfe.lab.errors import UserError
from ssfe.lab.run.options import FREE, differs

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Failure:
    """A cell that ended without a result, and why, in one line."""

    cell: Cell
    reason: str


class ComparisonStopped(Exception):
    """The comparison was stopped by signal ``number``; the running cells left checkpoints."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


def run_cells(cells: Sequence[Cell], jobs: int, say: Callable[[str], None]) -> list[Failure]:
    """Run all cells that have no result yet, ``jobs`` at a time, each in a process of its own; on several GPUs
    they take turns.

    Each cell's output goes to ``log.txt`` in its folder. Cells with a checkpoint continue from it.

    Returns:
        The cells that failed. The others are finished.

    Raises:
        UserError: if a cell's folder was made with other options.
        ComparisonStopped: on Ctrl-C or SIGTERM, after the running cells have written their checkpoints.
    """
    for cell in cells:
        _write_options(cell)
    waiting = [cell for cell in cells if not cell.finished]
    total, failures = len(cells), list[Failure]()
    if waiting:
        say(f"log     of each run: {_log(waiting[0]).parent.parent}/*/{_log(waiting[0]).name}")
    running: dict[subprocess.Popen[bytes], Cell] = {}
    slots: dict[subprocess.Popen[bytes], int] = {}
    before = signal.signal(signal.SIGTERM, _raise_stopped)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                cell = waiting.pop(0)
                slot = min(set(range(jobs)) - {slots[process] for process in running})
                process = _start(cell, worker_environment(slot, jobs, _gpus()))
                running[process], slots[process] = cell, slot
                say(f"start   {cell.name} ({total - len(waiting)}/{total})")
            time.sleep(_POLL_SECONDS)
            for process in [process for process in running if process.poll() is not None]:
                cell = running.pop(process)
                if not cell.finished:
                    failures.append(Failure(cell, _reason(cell, process.returncode)))
                say(f"{'done ' if cell.finished else 'FAILED'}   {cell.name}")
    except KeyboardInterrupt:
        raise ComparisonStopped(signal.SIGINT) from None
    finally:
        _stop(running)
        signal.signal(signal.SIGTERM, before)
    return failures


def _write_options(cell: Cell) -> None:
    if not cell.folder.config.exists():
        cell.folder.path.mkdir(parents=True, exist_ok=True)
        cell.folder.write_options(cell.options)
        return
    before, now = cell.folder.read_options().to_flat(), cell.options.to_flat()
    different = [name for name, value in now.items() if differs(name, before.get(name), value) and name not in FREE]
    if different:
        name = different[0]
        raise UserError(
            f"{cell.folder.path} was started with {name}={before.get(name)}, not {now[name]}: use the same options to "
            "continue the comparison, or another --output"
        )
    if before != now and not cell.finished:  # workers, or data that has moved
        cell.folder.write_options(cell.options)


def worker_environment(slot: int, jobs: int, gpus: Sequence[str]) -> dict[str, str]:
    """What a cell's process is to see of the machine.

    Args:
        slot: which of the ``jobs`` processes that run side by side it is.
        jobs: how many there are; each gets its share of the cores.
        gpus: names of the GPUs, as in CUDA_VISIBLE_DEVICES; the processes take them in turn.
    """
    environment: dict[str, str] = {}
    if jobs > 1:
        share = str(max(1, cores() // jobs))
        environment |= {"OMP_NUM_THREADS": share, SHARE: share}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return environment


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return [str(number) for number in range(torch.cuda.device_count())]


def _start(cell: Cell, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ssfe.lab.compare.worker", str(cell.folder.path)]
    with _log(cell).open("ab") as log:
        # What the user has set wins, but for the GPU, whose name comes from the user's own list.
        own = {**environment, **os.environ, **{k: v for k, v in environment.items() if k.startswith("CUDA")}}
        return subprocess.Popen(command, stdout=log, stderr=log, env=own)


def _stop(running: dict[subprocess.Popen[bytes], Cell]) -> None:
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in running:
        process.wait()


def _raise_stopped(number: int, frame: FrameType | None) -> None:
    raise ComparisonStopped(number)


def _log(cell: Cell) -> Path:
    return cell.folder.path / "log.txt"


def _reason(cell: Cell, status: int) -> str:
    number = -status if status < 0 else status - 128
    if number in list(signal.Signals):
        return f"ended by {signal.Signals(number).name}; the same command continues it"
    lines = [line for line in _log(cell).read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"ended with status {status}"
