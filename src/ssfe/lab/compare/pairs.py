"""Every method against every other but plain training, which has columns of its own, on the seeds that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from ssfe.lab.compare.statistics import PairedDifference, paired_difference
from ssfe.lab.compare.summary import BASELINE, Run, scores

PAIRED = {
    "top1": ("top-1, in points", 100, "+.2f"),
    "nll": ("NLL, in nats", 1, "+.3f"),
    "ece": ("ECE", 1, "+.3f"),
    "scaled_nll": ("NLL at T", 1, "+.3f"),
}
"""Title, factor and form of each metric's table."""

CAPTION = (
    "The method of the row minus that of the column: mean over the n seeds that both have, and half its 95% interval. "
    "An interval is right for one pair chosen beforehand, not for the largest of many."
)

Pairs = Mapping[tuple[str, str], PairedDifference | None]


def method_pairs(results: Sequence[Run], model: str, metric: str = "top1") -> Pairs:
    """Differences in a metric of the shipped readings on one model, the later method's minus the earlier one's.

    Args:
        results: of the finished cells.
        model: whose cells are wanted.
        metric: see :data:`~ssfe.lab.compare.summary.METRICS`.

    Returns:
        For each (later, earlier) two methods; None where they share no seed with that metric.
    """
    runs: dict[str, dict[int, Run]] = {}
    for result in results:
        if result["model"] == model and result["label"] != BASELINE:
            runs.setdefault(result["label"], {})[result["seed"]] = result
    found = {label: scores(of_label, "shipped", metric) for label, of_label in runs.items()}
    return {
        (later, earlier): paired_difference(found[later], found[earlier]) for earlier, later in combinations(found, 2)
    }


def pair_cells(pairs: Pairs, metric: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a table of them, as text, each pair once; no rows where no pair has the metric."""
    columns = list(dict.fromkeys(earlier for _, earlier in pairs))
    rows = list(dict.fromkeys(later for later, _ in pairs)) if any(pairs.values()) else []
    written = [(row, *(_written(pairs.get((row, column)), metric) for column in columns)) for row in rows]
    return ("row minus column", *columns), written


def _written(difference: PairedDifference | None, metric: str) -> str:
    if difference is None:
        return ""
    _, scale, form = PAIRED[metric]
    found = difference.estimate
    half = "" if found.high is None else f"±{format(scale * (found.high - found.mean), form[1:])}, "
    return f"{format(scale * found.mean, form)} [{half}n={found.count}]"
