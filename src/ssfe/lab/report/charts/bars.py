"""A bar for each class, from zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ssfe.lab.report.charts.scale import WIDTH, Scale, x_axis
from ssfe.lab.report.charts.svg import NARROW_LETTER, bar, clip, drawing, line, text

_ROW, _TOP, _GAP, _LETTERS = 18.0, 4.0, 10.0, 18


@dataclass(frozen=True)
class Bar:
    """A class's value, in the axis's unit, and what its tooltip says."""

    label: str
    value: float
    told: str


def bars(
    groups: Sequence[Sequence[Bar]],
    axis: str,
    form: str,
    style: str,
    description: str,
    limits: tuple[float, float],
) -> Markup:
    """The chart: groups of bars with a gap between them, values written in ``form``, the axis over ``limits``."""
    every = [item for group in groups for item in group]
    left = 10 + NARROW_LETTER * max(len(clip(item.label, _LETTERS)) for item in every)
    bottom = _TOP + _ROW * len(every) + _GAP * (len(groups) - 1)
    scale = Scale(*limits, left, WIDTH - 44)
    drawn = x_axis(scale, _TOP, bottom, axis, 4)
    y = _TOP
    for group in groups:
        for item in group:
            sign = " minus" if item.value < 0 else ""
            drawn.append(text(0, y + 13, clip(item.label, _LETTERS), "label"))
            drawn.append(bar(scale(0), y + 3, scale(item.value) - scale(0), _ROW - 6, f"bar{sign} {style}", item.told))
            drawn.append(text(WIDTH - 2, y + 13, f"{item.value:{form}}", "value", "end"))
            y += _ROW
        y += _GAP
    drawn.append(line(scale(0), _TOP, scale(0), bottom, "zero"))
    return drawing(WIDTH, bottom + 38, description, *drawn)
