"""What a report consists of: a page of blocks, which the template draws one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        svg: the drawing.
        title: above it.
        caption: how to read it, below it.
    """

    svg: Markup
    title: str
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """Charts side by side.

    Attributes:
        title: of the section.
        panels: the charts; none: ``absent`` says why.
        caption: what is shown and how to read it.
        size: the width that a panel asks for: ``"wide"``, ``"medium"`` or ``"small"``.
        legend: method labels with their style classes, where the charts do not name them.
        absent: why there is nothing to show, or what is left out.
        third: whether the section takes a third of a wide page.
    """

    kind: ClassVar[str] = "figure"
    title: str
    panels: list[Panel]
    caption: str
    size: str = "medium"
    legend: dict[str, str] = field(default_factory=dict)
    absent: str = ""
    third: bool = False


@dataclass(frozen=True)
class TableRow:
    """A row of texts; the first names the method, which ``style`` colours; the shipped ones are ``strong``."""

    cells: tuple[str, ...]
    style: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table, and a second one, ``more``, that opens on demand."""

    kind: ClassVar[str] = "table"
    title: str
    header: tuple[str, ...]
    rows: list[TableRow]
    caption: str
    more: list[TableRow] = field(default_factory=list)
    more_title: str = ""
    third: bool = False


@dataclass(frozen=True)
class Tile:
    """An image, or a map over it, with what a model says of it."""

    svg: Markup
    name: str
    says: str
    right: bool | None = None
    style: str = ""


@dataclass(frozen=True)
class Example:
    """A test image: its true class, and a tile for the image and each model."""

    title: str
    tiles: list[Tile]


@dataclass(frozen=True)
class Gallery:
    """Example images in groups, each under a heading."""

    kind: ClassVar[str] = "gallery"
    title: str
    groups: list[tuple[str, list[Example]]]
    caption: str
    absent: str = ""
    third: bool = False


@dataclass(frozen=True)
class Note:
    """Lines that must not be overlooked, such as failed runs."""

    kind: ClassVar[str] = "note"
    title: str
    lines: list[str]
    third: bool = False


@dataclass(frozen=True)
class About:
    """How it was made: the command, the options and the versions."""

    kind: ClassVar[str] = "about"
    title: str
    command: str
    tables: list[tuple[str, list[tuple[str, str]]]]
    third: bool = False


Block = Figure | Table | Gallery | Note | About


@dataclass(frozen=True)
class Part:
    """Blocks under a heading of their own; an empty title for none."""

    title: str
    blocks: list[Block]

    @property
    def anchor(self) -> str:
        """The heading's id."""
        return "part-" + "".join(c if c.isalnum() else "-" for c in self.title)


@dataclass(frozen=True)
class Page:
    """The report.

    Attributes:
        kind: what the folder is: "Run" or "Comparison".
        title: of the page.
        facts: what it was made from, in a few words each.
        numbers: the numbers that stand out: (name, value, explanation).
        parts: the sections.
    """

    kind: str
    title: str
    facts: list[str]
    numbers: list[tuple[str, str, str]]
    parts: list[Part]
