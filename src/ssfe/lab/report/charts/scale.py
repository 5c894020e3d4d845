"""Axes: from data to units of the drawing, with round numbers for ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from ssfe.lab.report.charts.svg import line, text

WIDTH = 360.0
"""Units of a chart's width: it is shown 300 to 480 pixels wide, so that text keeps its size on a phone."""


@dataclass(frozen=True)
class Scale:
    """A linear axis: ``low`` lies at ``start``, ``high`` at ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def within(self, value: float) -> float:
        """The place of ``value``, or of the nearer end of the axis."""
        return self(min(max(value, self.low), self.high))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers in [low, high], about ``count`` of them."""
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 10) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def widened(low: float, high: float, share: float = 0.06, least: float = 1e-3) -> tuple[float, float]:
    """A domain a little larger than the data."""
    room = max((high - low) * share, least)
    return low - room, high + room


def label(value: float, marks: list[float]) -> str:
    """A tick's text, with as many digits as tell it from its neighbours."""
    step = marks[1] - marks[0] if len(marks) > 1 else abs(value) or 1
    digits = next((d for d in range(6) if abs(round(step, d) - step) < 1e-9 * max(1, step)), 6)
    return f"{value:,.{digits}f}"


def x_axis(scale: Scale, top: float, bottom: float, title: str = "", count: int = 5, unit: str = "") -> list[Markup]:
    """Vertical grid lines with numbers below, and the axis's title."""
    marks = ticks(scale.low, scale.high, count)
    drawn = [line(scale(mark), top, scale(mark), bottom, "grid") for mark in marks]
    drawn += [text(scale(mark), bottom + 15, label(mark, marks) + unit, "tick", "middle") for mark in marks]
    middle = (scale.start + scale.end) / 2
    return [*drawn, text(middle, bottom + 32, title, "axis", "middle")] if title else drawn


def y_axis(scale: Scale, left: float, right: float, title: str = "", count: int = 5, unit: str = "") -> list[Markup]:
    """Horizontal grid lines with numbers at the left, and the axis's title above."""
    marks = ticks(scale.low, scale.high, count)
    drawn = [line(left, scale(mark), right, scale(mark), "grid") for mark in marks]
    drawn += [text(left - 6, scale(mark) + 4, label(mark, marks) + unit, "tick", "end") for mark in marks]
    return [*drawn, text(2, 11, title, "axis")] if title else drawn
