"""Accuracy against cost: a point for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ssfe.lab.report.charts.scale import WIDTH, Scale, widened, x_axis, y_axis
from ssfe.lab.report.charts.svg import WIDE_LETTER, clip, dot, drawing, line, text

_HEIGHT, _LEFT, _TOP, _LINE = 244.0, 40.0, 22.0, 13.0
_LETTERS = 18


@dataclass(frozen=True)
class Point:
    """One method: its cost, and its value for each seed and on average."""

    label: str
    style: str
    cost: float
    mean: float
    values: Mapping[int, float]


def tradeoff(points: Sequence[Point], cost: str, value: str, description: str) -> Markup:
    """The chart; ``cost`` and ``value`` are the titles of its axes."""
    bottom = _HEIGHT - 38
    values = [v for point in points for v in (point.mean, *point.values.values())]
    x = Scale(0, max(point.cost for point in points) * 1.08, _LEFT, WIDTH - 8)
    y = Scale(*widened(min(values), max(values), 0.1, 0.05), bottom, _TOP)
    drawn = [*x_axis(x, _TOP, bottom, cost, 4), *y_axis(y, _LEFT, WIDTH - 8, value)]
    for point in points:
        at = x(point.cost)
        drawn += [
            dot(at, y(v), 2.4, f"faint {point.style}", f"{point.label} seed {seed}: {v:.2f}")
            for seed, v in point.values.items()
        ]
        told = f"{point.label}: {point.mean:.2f} at {point.cost:.2f}"
        drawn.append(dot(at, y(point.mean), 5.5, f"dot {point.style}", told))
    return drawing(WIDTH, _HEIGHT, description, *drawn, *_labels(points, x, y, bottom))


def _labels(points: Sequence[Point], x: Scale, y: Scale, bottom: float) -> list[Markup]:
    """Names beside the points, moved apart where they would overlap; a line leads from a moved one to its point.
    Where there are more names than lines, colours have to do."""
    drawn = []
    for side in (1, -1):
        chosen = [point for point in points if _side(point, x) == side]
        if len(chosen) * _LINE > bottom - _TOP:
            continue
        places = _apart([y(point.mean) for point in chosen], bottom)
        for point, place in zip(chosen, places, strict=True):
            at, name = x(point.cost), clip(point.label, _LETTERS)
            if abs(place - y(point.mean)) > 3:
                drawn.append(line(at + 6 * side, y(point.mean), at + 13 * side, place, f"leader {point.style}"))
            drawn.append(
                text(at + 15 * side, place + 4, name, f"name halo {point.style}", "start" if side > 0 else "end")
            )
    return drawn


def _side(point: Point, x: Scale) -> int:
    """1 where the name fits at the right of the point, else -1."""
    return 1 if x(point.cost) + 15 + WIDE_LETTER * min(len(point.label), _LETTERS) < WIDTH else -1


def _apart(wanted: list[float], bottom: float) -> list[float]:
    """Places as near to the wanted ones as lines of text allow."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = [0.0] * len(wanted)
    last = _TOP - _LINE
    for index in order:
        last = placed[index] = max(wanted[index], last + _LINE)
    last = bottom + _LINE / 2
    for index in reversed(order):
        last = placed[index] = min(placed[index], last - _LINE)
    return placed
