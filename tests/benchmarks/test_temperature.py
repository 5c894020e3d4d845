"""Cells that are older than temperature scaling get what new ones have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import temperature

from ssfe.lab.compare.compare import compare
from ssfe.lab.config import DataOptions, TrainOptions
from ssfe.lab.run.folder import RunFolder


def test_an_older_comparison_catches_up(tmp_path: Path) -> None:
    common = TrainOptions(epochs=1, loading=DataOptions(limit_train=64, limit_test=50, batch_size=32))
    compare(common, methods=["plain"], models=None, seeds=1, budget="epochs", jobs=1, output=tmp_path, say=[].append)
    (path,) = (tmp_path / "cells").iterdir()
    cell = RunFolder(path)
    new = cell.read_result()
    expected = new.pop("temperature_scaled")
    cell.write_result(new)
    assert temperature.main([str(tmp_path)]) == 0
    assert cell.read_result()["temperature_scaled"] == pytest.approx(expected)
    (summary,) = json.loads((tmp_path / "results.json").read_text())["cells"]
    assert summary["temperature_scaled"] == pytest.approx(expected)
    assert summary["label"] == "plain"
