"""Accuracy: by seed, against plain, and against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ssfe.lab.compare.statistics import Estimate
from ssfe.lab.compare.summary import BASELINE, Row
from ssfe.lab.report.charts.dots import DotRow, dots
from ssfe.lab.report.charts.tradeoff import Point, tradeoff
from ssfe.lab.report.collect import RunRecord
from ssfe.lab.report.page import Figure, Panel
from ssfe.lab.report.parts.names import count_of

Values: TypeAlias = Mapping[str, Mapping[int, float]]
"""Top-1 in percent, by label and seed."""


def accuracies(runs: Mapping[str, Sequence[RunRecord]], shipped: Sequence[Row], styles: Mapping[str, str]) -> Figure:
    """Each seed's accuracy, the difference to plain, and accuracy against cost.

    Args:
        runs: of one model, by label.
        shipped: their rows of the table of results.
        styles: CSS classes, by label.
    """
    top1 = {label: {run.seed: 100 * run.shipped["top1"] for run in of_label} for label, of_label in runs.items()}
    panels = [
        Panel(
            dots(
                [DotRow(row.method, styles[row.method], top1[row.method], _percent(row.top1)) for row in shipped],
                "top-1 %",
                ".2f",
                "Test accuracy of each method: " + _read_out(shipped, top1),
                highest=100.5,
            ),
            "Test accuracy",
        )
    ]
    compared = [row for row in shipped if row.difference is not None]
    if compared:
        plain = top1[BASELINE]
        changes = [
            DotRow(
                row.method,
                styles[row.method],
                {seed: value - plain[seed] for seed, value in top1[row.method].items() if seed in plain},
                _percent(row.difference.estimate),
            )
            for row in compared
            if row.difference is not None
        ]
        told = "Difference in test accuracy to plain training, seed by seed"
        panels.append(Panel(dots(changes, "points", "+.2f", told, zero=True), "Difference to plain, same seed"))
    panels.append(_cost(runs, shipped, top1, styles))
    return Figure(
        title="Accuracy",
        panels=panels,
        caption="Dot: a seed; line: their mean; bar: its 95% interval, with an arrow where it reaches beyond the axis.",
        absent="" if all(row.top1.count > 1 for row in shipped) else "one seed has no interval: see --seeds",
    )


def _cost(
    runs: Mapping[str, Sequence[RunRecord]], shipped: Sequence[Row], top1: Values, styles: Mapping[str, str]
) -> Panel:
    """Against step ratio times epochs: seconds of runs at different hours are noise. Seconds where that is unknown."""
    base = next((row.epochs for row in shipped if row.method == BASELINE), shipped[0].epochs)
    relative = all(row.step_ratio is not None for row in shipped)
    points = []
    for row in shipped:
        seconds = [float(run.result["seconds"]) for run in runs[row.method]]
        cost = (row.step_ratio or 0) * row.epochs / base if relative else sum(seconds) / len(seconds)
        points.append(Point(row.method, styles[row.method], cost, 100 * row.top1.mean, top1[row.method]))
    title = "training time, plain = 1" if relative else "seconds of training"
    caption = "Time: ratio of a training step to plain, times epochs." if relative else "Time as measured in each run."
    told = "Test accuracy against training time: " + ", ".join(
        f"{p.label} {p.mean:.2f} at {p.cost:.2f}" for p in points
    )
    return Panel(tradeoff(points, title, "top-1 %", told), "Accuracy against training time", caption)


def _percent(value: Estimate) -> Estimate:
    low, high = (None if end is None else 100 * end for end in (value.low, value.high))
    return Estimate(100 * value.mean, low, high, value.count)


def _read_out(shipped: Sequence[Row], top1: Values) -> str:
    return ", ".join(
        f"{row.method} {100 * row.top1.mean:.2f} ({count_of(len(top1[row.method]), 'seed')})" for row in shipped
    )
