"""The README's Python runs as it stands, in order, as a reader would run it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from ssfe.cli.commands import run

BLOCKS = re.findall(r"^```python\n(.*?)^```$", (Path(__file__).parent.parent / "README.md").read_text(), re.M | re.S)


def test_two_lines_change_a_loop_and_fold_gives_the_stock_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    batch = (torch.randn(4, 3, 64, 64), torch.tensor([0, 3, 9, 3]))
    names: dict[str, Any] = {"loader": [batch, batch]}
    training, folding = BLOCKS[:2]
    assert training.count("# changed") == 2
    exec(training, names)
    assert names["logits"].shape == (4, 10)
    exec(folding, names)
    stock: nn.Module = names["stock"]
    fresh = timm.create_model("resnet18", num_classes=10)
    fresh.load_state_dict(torch.load("model.pt", weights_only=True))
    assert type(stock) is type(fresh)
    torch.testing.assert_close(fresh.eval()(batch[0]), names["logits"], rtol=0, atol=1e-5)


def test_the_shipped_model_loads_without_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", "--epochs", "1", "--limit-train", "100", "--progress", "none"]) == 0
    names: dict[str, Any] = {}
    exec(BLOCKS[2], names)
    assert names["network"](torch.randn(2, 1, 8, 8)).shape == (2, 10)
