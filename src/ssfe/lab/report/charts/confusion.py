"""A confusion matrix as shares of its rows."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ssfe.lab.report.charts.svg import NARROW_LETTER, bar, drawing, tag, text
from ssfe.lab.report.collect import Floats

_SIDE, _TOP = 150.0, 20.0


def confusion(counts: Floats, names: Sequence[str], style: str, description: str) -> Markup:
    """(M, M) counts, row: the truth, column: what was recognised; numbers in the cells up to M = 8."""
    size = len(counts)
    left = 8 + NARROW_LETTER * max(map(len, names))
    cell = _SIDE / size
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    drawn = []
    for i, row in enumerate(shares):
        drawn.append(text(left - 6, _TOP + (i + 0.5) * cell + 4, names[i], "tick", "end"))
        for j, share in enumerate(row):
            told = f"true {names[i]}, recognised as {names[j]}: {share:.1%} ({int(counts[i, j]):,} views)"
            x, y = left + j * cell, _TOP + i * cell
            drawn.append(bar(x + 0.75, y + 0.75, cell - 1.5, cell - 1.5, "empty", told))
            drawn.append(
                tag("rect", x=x + 0.75, y=y + 0.75, width=cell - 1.5, height=cell - 1.5, class_=f"share {style}")
                if share >= 0.995
                else tag(
                    "rect",
                    x=x + 0.75,
                    y=y + 0.75,
                    width=cell - 1.5,
                    height=cell - 1.5,
                    class_=f"share {style}",
                    fill_opacity=f"{share:.2f}",
                )
            )
            if size <= 8:
                shade = "onshare" if share > 0.55 else "incell"
                drawn.append(text(x + cell / 2, y + cell / 2 + 4, f"{100 * share:.0f}", shade, "middle"))
    if size <= 8:
        drawn += [text(left + (j + 0.5) * cell, _TOP - 6, name, "tick", "middle") for j, name in enumerate(names)]
    return drawing(left + _SIDE + 4, _TOP + _SIDE + 4, description, *drawn)
