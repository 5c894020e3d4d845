"""The tables of a comparison, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from ssfe.lab.compare.pairs import CAPTION, PAIRED, method_pairs, pair_cells
from ssfe.lab.compare.statistics import Estimate, PairedDifference
from ssfe.lab.compare.summary import Row, Run

HEADER = (
    *("method", "top-1 %", "vs plain", "p (Holm)", "NLL", "ECE", "step"),  # what a terminal shows
    *("seeds", "val top-1 %", "val vs plain", "epochs", "parameters"),
)
CALIBRATION_HEADER = (
    *("method", "NLL vs plain", "p (Holm)", "ECE vs plain", "p (Holm)"),
    *("T", "NLL at T", "vs plain", "p (Holm)", "ECE at T", "vs plain", "p (Holm)"),
)


def table_cells(row: Row, short: bool = False) -> tuple[str, ...]:
    """A row's cells, as text, in the order of :data:`HEADER`; with ``short``, intervals as ``mean ±half``."""
    pairs = None if row.difference is None else row.difference.estimate.count
    seeds = row.top1.count
    return (
        _name(row),
        interval(row.top1, 100, ".2f", short),
        *against_plain(row, "top1", 100, "+.2f", short),
        _mean(row, "nll"),
        _mean(row, "ece"),
        "" if row.step_ratio is None else f"{row.step_ratio:.2f}x",
        f"{seeds}" if pairs in (None, seeds) else f"{seeds}, {pairs} with plain",
        interval(row.metrics["val_top1"], 100, ".2f", short) if "val_top1" in row.metrics else "",
        against_plain(row, "val_top1", 100, "+.2f", short)[0],
        str(row.epochs),
        f"{row.parameters:,}",
    )


def calibration_cells(row: Row) -> tuple[str, ...]:
    """A row's cells in the order of :data:`CALIBRATION_HEADER`."""
    return (
        _name(row),
        *against_plain(row, "nll", 1, "+.3f"),
        *against_plain(row, "ece", 1, "+.3f"),
        "" if row.temperature is None else f"{row.temperature.mean:.2f}",
        _mean(row, "scaled_nll"),
        *against_plain(row, "scaled_nll", 1, "+.3f"),
        _mean(row, "scaled_ece"),
        *against_plain(row, "scaled_ece", 1, "+.3f"),
    )


def interval(value: Estimate, scale: float, form: str, short: bool = False) -> str:
    """``mean [low, high]``, or ``mean ±half``, or the mean alone where there is no interval."""
    mean = format(scale * value.mean, form)
    if value.low is None or value.high is None:
        return mean
    if short:
        return f"{mean} ±{scale * max(value.high - value.mean, value.mean - value.low):.2f}"  # one end may be cut off
    return f"{mean} [{format(scale * value.low, form)}, {format(scale * value.high, form)}]"


def table(rows: Sequence[Row]) -> str:
    """Accuracy and cost of these rows."""
    return markdown_table(*filled(HEADER, [table_cells(row) for row in rows]))


def calibration_table(rows: Sequence[Row]) -> str:
    """NLL and ECE against plain training, as they are and after temperature scaling; empty where there is neither."""
    header, cells = filled(CALIBRATION_HEADER, [calibration_cells(row) for row in rows])
    return markdown_table(header, cells) if len(header) > 1 else ""


def filled(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows without the columns that are empty in all rows: where plain training is missing, or fewer seeds
    than an interval needs.
    """
    kept = [place for place in range(len(header)) if any(row[place] for row in rows)]
    return tuple(header[place] for place in kept), [tuple(row[place] for place in kept) for row in rows]


def pairs_tables(results: Sequence[Run], model: str) -> str:
    """Tables of methods against each other, with a caption; empty where there are not two besides plain."""
    found = {metric: pair_cells(method_pairs(results, model, metric), metric) for metric in PAIRED}
    drawn = [f"{PAIRED[metric][0]}:\n\n{markdown_table(*cells)}" for metric, cells in found.items() if cells[1]]
    return "\n\n".join([*drawn, CAPTION]) if drawn else ""


def uneven_seeds(rows: Sequence[Row]) -> str:
    """A warning where methods have different numbers of seeds, else nothing."""
    counts = {row.method: row.top1.count for row in rows if row.shipped}
    if len(set(counts.values())) < 2:
        return ""
    return (
        f"The methods have {min(counts.values())} to {max(counts.values())} seeds: do not set their rows against each "
        "other, but compare two methods on the seeds that both have, as the table of pairs does."
    )


LEGEND = """Mean and 95% interval over seeds (Student's t), which does not cover the choice of test images; differences
to plain training paired by seed, p of the paired t-test corrected (Holm) over the methods of the comparison, also those
still to be run, for each metric by itself. NLL in nats. Step: the time of a training step as a ratio to plain, measured
in alternation. Val: on validation images, to choose by. T: the temperature that minimises NLL on validation images (Guo
et al. 2017); at T, the logits are divided by it, which leaves top-1 as it is."""


def markdown(rows: Sequence[Row], results: Sequence[Run], data: str, failures: Sequence[str] = ()) -> str:
    """The tables of all models."""
    parts = []
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        parts += [f"### {model} on {data}", table(own), uneven_seeds(own)]
        parts += [calibration_table([row for row in own if row.shipped]), pairs_tables(results, model)]
    failed = [f"Failed, and not in the tables: {failure}" for failure in failures]
    return "\n\n".join([*filter(None, parts), LEGEND, *failed]) + "\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    head = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join(head + ["| " + " | ".join(row) + " |" for row in rows])


def _name(row: Row) -> str:
    return row.method if row.shipped else f"{row.method}, {row.reading} (not shipped)"


def _mean(row: Row, metric: str) -> str:
    return f"{row.metrics[metric].mean:.3f}" if metric in row.metrics else ""


def against_plain(row: Row, metric: str, scale: float, form: str, short: bool = False) -> tuple[str, str]:
    """A metric's difference to plain training, and its p-value after correction, as text; empty where there is none."""
    difference = row.differences.get(metric)
    return ("", "") if difference is None else (interval(difference.estimate, scale, form, short), _p(difference))


def _p(difference: PairedDifference) -> str:
    p = difference.p_holm
    return "" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"
