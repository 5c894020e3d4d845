"""Every snippet of docs/loops.md is an excerpt of the example it names, whose own test runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SNIPPETS = re.findall(
    r"^<!-- example: (\w+) -->\n```python\n(.*?)^```$", (ROOT / "docs" / "loops.md").read_text(), re.M | re.S
)


def test_every_example_has_a_section() -> None:
    examples = {path.stem for path in (ROOT / "examples").glob("*.py")} - {"digits"}
    assert {name for name, _ in SNIPPETS} == examples


@pytest.mark.parametrize(("name", "snippet"), SNIPPETS)
def test_is_an_excerpt(name: str, snippet: str) -> None:
    lines = [line.strip() for line in (ROOT / "examples" / f"{name}.py").read_text().splitlines()]
    parts: list[list[str]] = [[]]
    for line in map(str.strip, snippet.splitlines()):
        if line == "...":
            parts.append([])
        else:
            parts[-1].append(line)
    start = 0
    for part in filter(None, parts):
        places = [i for i in range(start, len(lines)) if lines[i : i + len(part)] == part]
        assert places, f"{name}.py does not have, in this order: {part}"
        start = places[0] + len(part)
