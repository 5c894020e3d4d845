"""The battery: every setting of tests/battery has its effect, or is refused with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from .battery.__main__ import rows
from .battery.small import WAYS, enhanced_with
from .battery.table import TABLE, Setting

PAGE = Path(__file__).parent.parent / "docs" / "works-with.md"


RUNS = [
    pytest.param(setting, way, id=f"{getattr(setting.check, '__name__', setting.name)}, {way}")
    for setting in TABLE
    for way in WAYS
    if way not in setting.never and not (isinstance(setting.check, str) and way != "the defaults")
]


@pytest.mark.parametrize(("setting", "way"), RUNS)
def test_has_its_effect(setting: Setting, way: str) -> None:
    with enhanced_with(way):
        setting.prove()


def test_the_page_has_the_rows_of_the_table() -> None:
    page = PAGE.read_text()
    outcomes = dict.fromkeys((row.name for row in TABLE), "OUTCOME")
    for line in rows(outcomes):
        before, _, after = line.partition("OUTCOME")
        assert any(found.startswith(before) and found.endswith(after) for found in page.splitlines()), (
            f"docs/works-with.md lacks {line!r}: run python -m tests.battery > docs/works-with.md"
        )
    refused = sum(setting.refused is not None for setting in TABLE)
    assert page.count("| works") == len(TABLE) - refused
    assert page.count("| refused") == refused


def test_a_row_that_does_not_hold_is_found() -> None:
    def nothing() -> None:
        pass

    with pytest.raises(pytest.fail.Exception):
        Setting("The step", "x", "", nothing, refused="because").prove()
    with pytest.raises(AssertionError):
        Setting("The step", "x", "", "tests/test_ddp.py::test_no_such").prove()
