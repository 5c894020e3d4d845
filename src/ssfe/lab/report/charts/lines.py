"""Curves over epochs, with a band from the lowest to the highest seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from ssfe.lab.report.charts.scale import WIDTH, Scale, widened, x_axis, y_axis
from ssfe.lab.report.charts.svg import dot, drawing, path
from ssfe.lab.report.collect import Floats

_HEIGHT, _LEFT, _TOP, _POINTS = 236.0, 42.0, 22.0, 120
_LEAST_PERCENT = 0.5
"""Room above and below a curve in percent: a flat one is not to look like a change."""


@dataclass(frozen=True)
class Curve:
    """One method: (E,) epochs, and the mean, lowest and highest value over the seeds at each."""

    label: str
    style: str
    epochs: Floats
    mean: Floats
    low: Floats
    high: Floats


def over_seeds(label: str, style: str, runs: Sequence[tuple[Floats, Floats]]) -> Curve | None:
    """The curve of several runs, each (epochs, values); None if no run has a value."""
    known = [(epochs[~np.isnan(values)], values[~np.isnan(values)]) for epochs, values in runs]
    every = sorted({float(epoch) for epochs, _ in known for epoch in epochs})
    if not every:
        return None
    at = [np.concatenate([values[epochs == epoch] for epochs, values in known]) for epoch in every]
    mean, low, high = (np.array([reduce(values) for values in at]) for reduce in (np.mean, np.min, np.max))
    return _thinned(Curve(label, style, np.array(every), mean, low, high))


def lines(curves: Sequence[Curve], unit: str, description: str) -> Markup:
    """The chart; the values' ``unit`` stands at their axis."""
    bottom = _HEIGHT - 38
    first, last = (float(f([f(curve.epochs) for curve in curves])) for f in (min, max))
    x = Scale(first, last if last > first else first + 1, _LEFT, WIDTH - 8)
    low, high = min(float(c.low.min()) for c in curves), max(float(c.high.max()) for c in curves)
    y = Scale(*widened(low, high, least=_LEAST_PERCENT if unit == "%" else 1e-3), bottom, _TOP)
    drawn = [*x_axis(x, _TOP, bottom, "epoch", min(6, max(1, int(last - first)))), *y_axis(y, _LEFT, WIDTH - 8, unit)]
    for curve in curves:
        places = [x(epoch) for epoch in curve.epochs]
        edges = [[*zip(places, map(y, edge), strict=True)] for edge in (curve.high, curve.low)]
        band = [*edges[0], *reversed(edges[1])]
        if (curve.high > curve.low).any():
            drawn.append(path(band, f"band {curve.style}", closed=True))
    for curve in curves:
        points = [(x(epoch), y(value)) for epoch, value in zip(curve.epochs, curve.mean, strict=True)]
        told = f"{curve.label}: {curve.mean[-1]:.4g}{'%' if unit == '%' else f' {unit}'} at the end"
        drawn.append(
            path(points, f"curve {curve.style}", told)
            if len(points) > 1
            else dot(*points[0], 4, f"dot {curve.style}", told)
        )
    return drawing(WIDTH, _HEIGHT, description, *drawn)


def _thinned(curve: Curve) -> Curve:
    """At most 120 epochs, the last among them: more cannot be seen, and make the file large."""
    count = len(curve.epochs)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _POINTS)).round().astype(int))
    parts = (curve.epochs[chosen], curve.mean[chosen], curve.low[chosen], curve.high[chosen])
    return Curve(curve.label, curve.style, *parts)
