"""Every method against every other but plain training, which has a column of its own, on the seeds that both have."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from ssfe.lab.compare.statistics import PairedDifference, paired_difference
from ssfe.lab.compare.summary import BASELINE

CAPTION = (
    "Top-1 of the row minus that of the column, in points: mean over the n seeds that both have, and half its 95% "
    "interval. An interval is right for one pair chosen beforehand, not for the largest of many."
)


def method_pairs(results: Sequence[dict[str, Any]], model: str) -> dict[tuple[str, str], PairedDifference | None]:
    """Differences in top-1 of the shipped readings on one model: shares, the later method's minus the earlier one's.

    Args:
        results: the result.json of finished cells, each with its ``label``.
        model: whose cells are wanted.

    Returns:
        For each (later, earlier) two methods; None where they share no seed.
    """
    top1: dict[str, dict[int, float]] = {}
    for result in results:
        if result["model"] == model and result["label"] != BASELINE:
            top1.setdefault(result["label"], {})[result["seed"]] = result["test"]["shipped"]["top1"]
    return {(later, earlier): paired_difference(top1[later], top1[earlier]) for earlier, later in combinations(top1, 2)}


def pair_cells(pairs: dict[tuple[str, str], PairedDifference | None]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a table of them, as text, each pair once."""
    columns = list(dict.fromkeys(earlier for _, earlier in pairs))
    rows = list(dict.fromkeys(later for later, _ in pairs))
    written = [(row, *(_written(pairs.get((row, column))) for column in columns)) for row in rows]
    return ("row minus column", *columns), written


def _written(difference: PairedDifference | None) -> str:
    if difference is None:
        return ""
    found = difference.estimate
    half = "" if found.high is None else f"±{100 * (found.high - found.mean):.2f}, "
    return f"{100 * found.mean:+.2f} [{half}n={found.count}]"
