"""A colour and a dash pattern for each method, the same in every chart of a report."""

from __future__ import annotations

from collections.abc import Sequence

COLOURS = 10
"""Beside the baseline's grey, in style.css; more methods than that begin again, thinner and hollow."""


def styles(labels: Sequence[str], baseline: str = "plain") -> dict[str, str]:
    """The CSS classes of each label: ``m0`` for the baseline, ``m1`` to ``m10`` for the others in their order, then
    ``m1 again`` and so on."""
    others = [label for label in labels if label != baseline]
    named = {label: f"m{place % COLOURS + 1}{' again' * (place >= COLOURS)}" for place, label in enumerate(others)}
    return {label: named.get(label, "m0") for label in labels}
