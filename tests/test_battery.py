"""The battery: every setting of tests/battery has its effect, or is refused with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from .battery.__main__ import rows
from .battery.table import TABLE, Setting

PAGE = Path(__file__).parent.parent / "docs" / "works-with.md"


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: getattr(setting.check, "__name__", setting.name))
def test_has_its_effect(setting: Setting) -> None:
    if setting.needs == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    setting.prove()


def test_the_page_has_the_rows_of_the_table() -> None:
    page = PAGE.read_text()
    outcomes = dict.fromkeys((row.name for row in TABLE), "OUTCOME")
    for line in rows(outcomes):
        before, _, after = line.partition("OUTCOME")
        assert any(found.startswith(before) and found.endswith(after) for found in page.splitlines()), (
            f"docs/works-with.md lacks {line!r}: run python -m tests.battery > docs/works-with.md"
        )
    assert page.count("| works |") + page.count("| refused: ") + page.count("| not run: ") == len(TABLE)
