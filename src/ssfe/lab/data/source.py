"""Images as a source has them, before the run's splits are completed."""

from __future__ import annotations

from dataclasses import dataclass

from ssfe.lab.data.splits import ImageSplit


@dataclass(frozen=True)
class Source:
    """The splits that a data set brings along; ``assemble`` makes the missing ones."""

    name: str
    classes: tuple[str, ...]
    train: ImageSplit | None
    val: ImageSplit | None = None
    test: ImageSplit | None = None
    flip: bool = True
    undivided: bool = False
    """A plain heap of the user's images, all in ``train``: ``load_test`` uses every one of them."""
    notes: tuple[str, ...] = ()
