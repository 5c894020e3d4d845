"""The table: a row for each setting, with the check that proves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

Group = Literal[
    "Images and labels", "Averaged weights", "The step", "Numbers", "Several devices", "Fine-tuning", "Regularisation",
    "Shipping",
]  # fmt: skip
GROUPS: tuple[Group, ...] = Group.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Setting:
    """One row.

    Attributes:
        group: the heading it stands under.
        name: the setting, as users call it.
        effect: what the check asserts, in one line.
        check: runs the setting and asserts the effect; or the test elsewhere that does, as file::function.
        refused: what the error says, if the setting is refused; the check must raise it.
        note: what the user has to do, if anything.
        never: the ways to enhance (``small.WAYS``) with which the check makes no sense, and why.
    """

    group: Group
    name: str
    effect: str
    check: Callable[[], None] | str
    refused: str | None = None
    note: str = ""
    never: Mapping[str, str] = field(default_factory=dict)

    def prove(self) -> None:
        """Run the check.

        Raises:
            AssertionError, pytest.fail.Exception: if the setting has not the effect, or is not refused as said.
        """
        if isinstance(self.check, str):
            file, function = self.check.split("::")
            assert f"\ndef {function}(" in (ROOT / file).read_text()
            return
        if self.refused is None:
            return self.check()
        with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
            self.check()
        assert self.refused in str(caught.value)


ROOT = Path(__file__).parent.parent.parent
TABLE: list[Setting] = []


def setting(
    group: Group,
    name: str,
    *,
    refused: str | None = None,
    note: str = "",
    never: Mapping[str, str] | None = None,
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Add a check to the table; the first line of its docstring is the effect."""

    def add(check: Callable[[], None]) -> Callable[[], None]:
        effect = " ".join((check.__doc__ or "").split())
        TABLE.append(Setting(group, name, effect, check, refused, note, never or {}))
        return check

    return add


def proven_elsewhere(group: Group, name: str, effect: str, test: str) -> None:
    """Add a setting that the suite has a test for already."""
    TABLE.append(Setting(group, name, effect, test, note=f"`{test}`"))
