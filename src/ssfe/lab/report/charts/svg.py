"""SVG elements as escaped markup."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

NARROW_LETTER, WIDE_LETTER = 6.1, 6.9
"""Width of a letter at the charts' text size, plain and bold, in units of the drawing, as far as one can say without
the font."""


def tag(name: str, *children: Markup | str, **attributes: float | str | None) -> Markup:
    """An element. ``stroke_width`` is written ``stroke-width`` and ``class_`` ``class``; None leaves one out."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _short(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inner)


def drawing(width: float, height: float, label: str, *children: Markup) -> Markup:
    """A whole drawing that scales with the page; ``label`` is read out in its place."""
    return tag("svg", *children, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label)


def text(x: float, y: float, content: str, class_: str | None = None, anchor: str | None = None) -> Markup:
    """Text with its baseline at ``y``."""
    return tag("text", content, x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: list[tuple[float, float]], class_: str, title: str = "", closed: bool = False) -> Markup:
    """A line through the points."""
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return tag("path", *_titles(title), d=f"M{steps}{'Z' if closed else ''}", class_=class_)


def dot(x: float, y: float, r: float, class_: str, title: str = "") -> Markup:
    """A circle."""
    return tag("circle", *_titles(title), cx=x, cy=y, r=r, class_=class_)


def bar(x: float, y: float, width: float, height: float, class_: str, title: str = "", r: float = 0) -> Markup:
    """A rectangle; a negative width reaches to the left."""
    left = min(x, x + width)
    return tag(
        "rect", *_titles(title), x=left, y=y, width=abs(width), height=height, class_=class_, rx=r if r else None
    )


def clip(label: str, letters: int) -> str:
    """The label, without its middle where it would not fit: variants of a method differ at their ends."""
    end = letters // 2
    return label if len(label) <= letters else f"{label[: letters - 1 - end]}…{label[-end:]}"


def clipped(labels: Sequence[str], letters: int) -> dict[str, str]:
    """Each label, clipped to so many letters, or to as many more as keep different ones apart."""
    while len({clip(label, letters) for label in labels}) < len(set(labels)):
        letters += 1
    return {label: clip(label, letters) for label in labels}


def _titles(title: str) -> list[Markup]:
    return [tag("title", title)] if title else []


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{round(value, 1):g}"
