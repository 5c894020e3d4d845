from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from ssfe.lab.compare import runner, worker
from ssfe.lab.compare.cells import Cell


class Ended:
    """A cell's process that is over."""

    def __init__(self, folder: Path) -> None:
        with (folder / "log.txt").open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            self.returncode = worker.main(folder)

    def poll(self) -> int:
        return self.returncode


@pytest.fixture
def cells_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cells of a comparison run in the tests' process: a new one takes longer to start than to train."""

    def start(cell: Cell, environment: Mapping[str, str]) -> Ended:
        return Ended(cell.folder.path)

    monkeypatch.setattr(runner, "_start", start)
    monkeypatch.setattr(runner, "_POLL_SECONDS", 0)
