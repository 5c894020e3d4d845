"""Accuracy against cost: a point for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ssfe.lab.report.charts.scale import WIDTH, Scale, widened, x_axis, y_axis
from ssfe.lab.report.charts.svg import WIDE_LETTER, clipped, dot, drawing, line, text

_HEIGHT, _LEFT, _TOP, _LINE = 244.0, 40.0, 22.0, 13.0
_LETTERS = 18
_GAP = 15.0
"""Between a point and its name."""


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
    """Names in a column beside each group of near points, moved apart where they would overlap; a line leads from a
    name to its point unless it is beside it. Where there are more names than lines, colours have to do."""
    drawn = []
    names = clipped([point.label for point in points], _LETTERS)
    for group in _groups(points, x, names):
        if len(group) * _LINE > bottom - _TOP:
            continue
        places = _apart([y(point.mean) for point in group], bottom)
        for point, (side, edge), place in zip(group, _edges(group, x, names), places, strict=True):
            at, height = x(point.cost), y(point.mean)
            if abs(place - height) > 3 or abs(edge - at) > _GAP:
                drawn.append(line(at + 6 * side, height, edge - 2 * side, place, f"leader {point.style}"))
            style, anchor = f"name halo {point.style}", "start" if side > 0 else "end"
            drawn.append(text(edge, place + 4, names[point.label], style, anchor))
    return drawn


def _groups(points: Sequence[Point], x: Scale, names: Mapping[str, str]) -> list[list[Point]]:
    """Points, from left to right, with no room for a column of names between those of one group."""
    groups: list[list[Point]] = []
    for point in sorted(points, key=lambda point: point.cost):
        if groups and x(point.cost) - x(groups[-1][-1].cost) < _GAP + _widest(groups[-1], names) + _GAP:
            groups[-1].append(point)
        else:
            groups.append([point])
    return groups


def _edges(group: Sequence[Point], x: Scale, names: Mapping[str, str]) -> list[tuple[int, float]]:
    """For each point 1 and where its name begins, or -1 and where it ends: in a column at the right of the group, if
    they fit there, or at its left; if neither, beside the point itself.
    """
    left, right, widest = x(group[0].cost) - _GAP, x(group[-1].cost) + _GAP, _widest(group, names)
    if right + widest < WIDTH:
        return [(1, right)] * len(group)
    if left - widest > 0:
        return [(-1, left)] * len(group)
    own = [x(point.cost) for point in group]
    return [(1, at + _GAP) if at + _GAP + widest < WIDTH else (-1, at - _GAP) for at in own]


def _widest(group: Sequence[Point], names: Mapping[str, str]) -> float:
    return WIDE_LETTER * max(len(names[point.label]) for point in group)


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
