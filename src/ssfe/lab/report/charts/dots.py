"""A row for each method: seeds as dots, mean and interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ssfe.lab.compare.statistics import Estimate
from ssfe.lab.report.charts.scale import WIDTH, Scale, widened, x_axis
from ssfe.lab.report.charts.svg import WIDE_LETTER, bar, clipped, dot, drawing, line, path, text

_ROW = 38.0
_TOP = 6.0
_RIGHT = 50.0
_BESIDE, _ABOVE = 18, 50
"""Letters of a name for which there is room beside a row, and above it."""
_NAME = 14.0
"""Height of a name above its row."""


@dataclass(frozen=True)
class DotRow:
    """One method: its values by seed, and what they say together."""

    label: str
    style: str
    values: Mapping[int, float]
    estimate: Estimate


def dots(
    rows: Sequence[DotRow], axis: str, form: str, description: str, zero: bool = False, highest: float | None = None
) -> Markup:
    """The chart.

    Intervals that reach far beyond the dots (two seeds have very wide ones) end in an arrow at the edge. Names stand
    beside the rows, or above them where one is long.

    Args:
        rows: from top to bottom.
        axis: title of the axis.
        form: how numbers are written.
        description: for those who do not see it.
        zero: mark zero.
        highest: no value can lie above it, though an interval may.
    """
    longest = max(len(row.label) for row in rows)
    above = _NAME if longest > _BESIDE else 0.0
    names = clipped([row.label for row in rows], _ABOVE)
    left = 14 + (0 if above else WIDE_LETTER * longest)
    bottom = _TOP + (_ROW + above) * len(rows)
    scale = Scale(*_domain(rows, zero, highest), left, WIDTH - _RIGHT)
    drawn = x_axis(scale, _TOP, bottom, axis, count=4)
    if zero:
        drawn.append(line(scale(0), _TOP, scale(0), bottom, "zero"))
    for place, row in enumerate(rows):
        top = _TOP + (_ROW + above) * place
        y = top + above + _ROW / 2
        drawn.append(text(0, top + 12 if above else y + 4, names[row.label], f"name halo {row.style}"))
        drawn += _row(row, scale, y, form)
    return drawing(WIDTH, bottom + 38, description, *drawn)


def _domain(rows: Sequence[DotRow], zero: bool, highest: float | None) -> tuple[float, float]:
    values = [value for row in rows for value in row.values.values()] + ([0.0] if zero else [])
    low, high = min(values), max(values)
    reach = max(high - low, 0.2)
    lows = [row.estimate.low for row in rows if row.estimate.low is not None]
    highs = [row.estimate.high for row in rows if row.estimate.high is not None]
    low = max(min([low, *lows]), low - 0.6 * reach)
    high = min(max([high, *highs]), high + 0.6 * reach)
    low, high = widened(low, high, least=0.05)
    return low, high if highest is None else min(high, highest)


def _row(row: DotRow, scale: Scale, y: float, form: str) -> list[Markup]:
    mean, low, high = row.estimate.mean, row.estimate.low, row.estimate.high
    drawn = []
    if low is not None and high is not None:
        told = f"{row.label}: {mean:{form}}, 95% interval {low:{form}} to {high:{form}}, {row.estimate.count} seeds"
        start, end = scale.within(low), scale.within(high)
        drawn.append(bar(start, y - 5, max(end - start, 1), 10, f"interval {row.style}", told, r=2))
        if low < scale.low:
            drawn.append(path([(start, y - 5), (start - 6, y), (start, y + 5)], f"beyond {row.style}", closed=True))
        if high > scale.high:
            drawn.append(path([(end, y - 5), (end + 6, y), (end, y + 5)], f"beyond {row.style}", closed=True))
    drawn.append(line(scale(mean), y - 12, scale(mean), y + 12, f"mean {row.style}"))
    spread = min(4.0, 20 / max(len(row.values), 1))
    for place, (seed, value) in enumerate(sorted(row.values.items())):
        offset = (place - (len(row.values) - 1) / 2) * spread
        drawn.append(dot(scale(value), y + offset, 3.4, f"dot {row.style}", f"seed {seed}: {value:{form}}"))
    return [*drawn, text(WIDTH - 2, y + 4, f"{mean:{form}}", "value", "end")]
