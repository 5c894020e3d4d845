"""A real run and a real comparison, small, and a copy of either to damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command import SMALL, succeed

from ssfe.lab.compare.cells import plan_cells
from ssfe.lab.compare.claim import claim
from ssfe.lab.compare.compare import compare
from ssfe.lab.compare.entries import read_entries
from ssfe.lab.config import DataOptions, TrainOptions
from ssfe.lab.run.experiment import prepare
from ssfe.lab.run.train import resume

METHODS = ["plain", "ssfe", "sla"]
COMMON = TrainOptions(epochs=2, loading=DataOptions(limit_train=96, limit_test=60, batch_size=32))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "run"
    succeed("train", *SMALL, "--epochs", "2", "--output", folder)
    return folder


@pytest.fixture(scope="session")
def finished_comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its cells run in this process, which saves six starts of Python; the rest is `compare` itself."""
    folder = tmp_path_factory.mktemp("report") / "comparison"
    common = prepare(COMMON).options
    claim(folder, common, "epochs", {})
    for cell in plan_cells(common, [str(common.model)], read_entries(METHODS), 2, folder):
        cell.folder.path.mkdir(parents=True)
        cell.folder.write_options(cell.options)
        resume(cell.folder, cell.options, [].append)
    compare(COMMON, methods=METHODS, models=None, seeds=2, budget="epochs", jobs=1, output=folder, say=[].append)
    return folder


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    return lambda folder: Path(shutil.copytree(folder, tmp_path / folder.name))
