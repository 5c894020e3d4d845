"""The examples run as they stand; each ends by checking that what it ships is the stock network."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "digits")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process of its own: its folder first on the path, and no state of Accelerate left behind."""
    from accelerate.state import AcceleratorState

    monkeypatch.syspath_prepend(EXAMPLES)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    sys.modules.pop("digits", None)


def test_one_for_each_front() -> None:
    assert NAMES == ["accelerate_loop", "lightning_callback", "plain_pytorch", "timm_task", "transformers_trainer"]


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.parametrize("name", NAMES)
def test_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "timm_task":
        front = pytest.importorskip("ssfe.integrations.timm", exc_type=ImportError)
        if not hasattr(front.JointTask, "create_evaluator"):
            pytest.skip("the example needs timm 1.0.31 or newer")
    torch.manual_seed(0)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert "folded into a stock" in capsys.readouterr().out
