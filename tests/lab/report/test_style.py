"""The page's colours can be read: contrast as WCAG 2.2 defines and demands it."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

STYLE = (files("ssfe.lab.report") / "templates" / "style.css").read_text(encoding="utf-8")


def colours(block: str) -> dict[str, str]:
    pairs = re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", block)
    return {
        name: value if len(value) == 7 else "#" + "".join(2 * digit for digit in value[1:]) for name, value in pairs
    }


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_and_drawings_stand_out(scheme: str) -> None:
    starts = {"light": ":root {", "dark": "@media (prefers-color-scheme: dark)", "print": "@media print"}
    block = STYLE[STYLE.index(starts[scheme]) :]
    found = colours(block[: block.index("}")])
    assert {"page", "card", "ink", "soft", "right", "wrong", *(f"m{i}" for i in range(11))} <= set(found)
    for ground in (found["page"], found["card"]):
        for name in ("ink", "soft", "right", "wrong"):
            assert contrast(found[name], ground) >= 4.5, (name, ground)
        for i in range(11):
            assert contrast(found[f"m{i}"], ground) >= 3, (i, ground)
