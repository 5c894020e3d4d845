"""benchmarks.cost runs, and the committed page is what it writes from the committed results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="benchmarks need the extra dev")

ROOT = Path(__file__).parents[2]


def test_fast(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.cost", "--fast", "--output", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (result,) = tmp_path.glob("cost-*.json")
    found = json.loads(result.read_text())
    assert {"classifier", "large", "steps", "inference", "growth"} < set(found)
    assert all({"cpu", "cores", "torch"} < set(found["machines"][part]) for part in ("classifier", "steps"))
    assert "| test_resnet, 32 px | 4 | float32 | sla |" in (tmp_path / "cost.md").read_text()
    assert "</svg>" in (tmp_path / "cost-growth.svg").read_text()


def test_the_committed_page_comes_from_the_committed_results(tmp_path: Path) -> None:
    from benchmarks.parts.docs import write_docs

    page = ROOT / "docs" / "cost.md"
    (tmp_path / "cost.md").write_text(page.read_text())
    write_docs(ROOT / "benchmarks" / "results", tmp_path)
    assert (tmp_path / "cost.md").read_text() == page.read_text()
