"""Ratios of an alternation, for a result file."""

from __future__ import annotations

from dataclasses import asdict

from ssfe.alternation import Ratio


def times_of(ratios: dict[str, Ratio]) -> dict[str, dict[str, float]]:
    """As JSON has them."""
    return {name: asdict(ratio) for name, ratio in ratios.items()}
