from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from runpy import run_path

import pytest

readme_command: Callable[[str, str], str] = run_path(str(Path(__file__).with_name("readme-command")))["readme_command"]

TEXT = """\
# Title

<!-- command: train -->
```bash
python3 -m venv .venv
.venv/bin/tool --flag
```

Prose, and a fence without a mark:

```bash
rm -rf everything
```

<!-- command: test -->
```bash
.venv/bin/pytest -q
```

<!-- command: empty -->
```bash
```

<!-- command: twice -->
```bash
one
```

<!-- command: twice -->
```bash
two
```

<!-- command: apart -->

```bash
not on the next line
```
"""


def test_prints_exactly_the_marked_fence() -> None:
    assert readme_command(TEXT, "train") == "python3 -m venv .venv\n.venv/bin/tool --flag\n"
    assert readme_command(TEXT, "test") == ".venv/bin/pytest -q\n"


@pytest.mark.parametrize("name", ["absent", "empty", "twice", "apart", "tra"])
def test_anything_but_one_body_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"one command marked '{name}'.*found: train, test, empty"):
        readme_command(TEXT, name)


@pytest.mark.parametrize("name", ["train", "test"])
def test_the_readme_has_the_commands_that_ci_runs(name: str) -> None:
    readme = Path(__file__).parent.parent / "README.md"
    assert ".venv/bin/" in readme_command(readme.read_text(encoding="utf-8"), name)
