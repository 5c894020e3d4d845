"""docs/deploy.md: its commands make the exports of conftest.py, and its Python runs as it stands."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from lab.export.conftest import PAGE, Exports  # type: ignore[import-not-found]

SNIPPETS = {
    section.partition("\n")[0]: snippet
    for section in PAGE.split("\n## ")
    for snippet in re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)
}


def test_every_format_has_its_snippet() -> None:
    assert list(SNIPPETS) == ["safetensors", "torch.export", "ONNX", "Hugging Face"]


@pytest.mark.parametrize("name", list(SNIPPETS))
def test_a_snippet_gives_the_runs_prediction(
    name: str, exports: Exports, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exports.folder)
    names: dict[str, Any] = {}
    exec(SNIPPETS[name], names)
    if name == "safetensors":
        assert names["classes"] == list("0123456789")
        return
    torch.testing.assert_close(torch.as_tensor(names["logits"])[0], exports.logits[0], rtol=0, atol=1e-5)
    assert capsys.readouterr().out == f"{int(exports.logits[0].argmax())}\n"
