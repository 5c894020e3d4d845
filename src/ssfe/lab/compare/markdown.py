"""The table of a comparison, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssfe.lab.compare.pairs import CAPTION, method_pairs, pair_cells
from ssfe.lab.compare.statistics import Estimate
from ssfe.lab.compare.summary import Row

HEADER = (
    *("method", "top-1 %", "vs plain", "p (Holm)", "NLL", "ECE", "step"),  # what a terminal shows
    *("NLL vs plain", "seeds", "epochs", "parameters"),
)


def table_cells(row: Row, short: bool = False) -> tuple[str, ...]:
    """A row's cells, as text, in the order of :data:`HEADER`; with ``short``, intervals as ``mean ±half``."""
    difference = row.difference
    p = None if difference is None else difference.p_holm
    return (
        row.method if row.shipped else f"{row.method}, {row.reading} (not shipped)",
        interval(row.top1, 100, ".2f", short),
        "" if difference is None else interval(difference.estimate, 100, "+.2f", short),
        "" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001",
        f"{row.nll.mean:.3f}",
        f"{row.ece.mean:.3f}",
        "" if row.step_ratio is None else f"{row.step_ratio:.2f}x",
        "" if row.nll_difference is None else interval(row.nll_difference, 1, "+.3f", short),
        str(row.top1.count),
        str(row.epochs),
        f"{row.parameters:,}",
    )


def interval(value: Estimate, scale: float, form: str, short: bool = False) -> str:
    """``mean [low, high]``, or ``mean ±half``, or the mean alone where there is no interval."""
    mean = format(scale * value.mean, form)
    if value.low is None or value.high is None:
        return mean
    if short:
        return f"{mean} ±{scale * (value.high - value.mean):.2f}"
    return f"{mean} [{format(scale * value.low, form)}, {format(scale * value.high, form)}]"


def table(rows: Sequence[Row]) -> str:
    """A table of these rows."""
    return _drawn(HEADER, [table_cells(row) for row in rows])


def pairs_table(results: Sequence[dict[str, Any]], model: str) -> str:
    """The table of methods against each other, with its caption; empty where there are not two besides plain."""
    header, rows = pair_cells(method_pairs(results, model))
    return f"{_drawn(header, rows)}\n\n{CAPTION}" if rows else ""


def uneven_seeds(rows: Sequence[Row]) -> str:
    """A warning where methods have different numbers of seeds, else nothing."""
    counts = {row.method: row.top1.count for row in rows if row.shipped}
    if len(set(counts.values())) < 2:
        return ""
    told = ", ".join(f"{method} {count}" for method, count in counts.items())
    return (
        f"The methods have different numbers of seeds ({told}): do not set their rows against each other, but "
        "compare two methods on the seeds that both have, as the table of pairs does."
    )


def _drawn(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join(head + ["| " + " | ".join(row) + " |" for row in rows])


LEGEND = """Mean and 95% interval over seeds (Student's t) on test images; differences to plain training paired by seed,
p of the paired t-test corrected over the methods (Holm). NLL in nats. Step: the time of a training step as a
ratio to plain, measured in alternation."""


def markdown(rows: Sequence[Row], results: Sequence[dict[str, Any]], data: str, failures: Sequence[str] = ()) -> str:
    """The tables of all models."""
    parts = []
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        parts += [f"### {model} on {data}", table(own), uneven_seeds(own), pairs_table(results, model)]
    failed = [f"Failed, and not in the table: {failure}" for failure in failures]
    return "\n\n".join([*filter(None, parts), LEGEND, *failed]) + "\n"
