"""Look at a few images, decide input size and channels, and take sets of small images into memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from ssfe.lab.data.splits import ArrayImages, ImageSplit, LazyImages, Mode

SMALL_SIDE = 64
"""Images of one size and at most this side, in pixels, are used as they are and held in memory."""
LARGE_SIZE = 224
"""Input side for all other images, where the network asks for no other."""
MEMORY_LIMIT = 4 * 2**30
"""Bytes of decoded images per split beyond which even small images stay on disk."""
PROBES = 64


@dataclass(frozen=True)
class Look:
    """What a few evenly spaced images of a split look like."""

    native: tuple[int, int] | None
    """(height, width) if all have the same, else None."""
    side: int
    """The median of their longer sides."""
    grey: bool

    @property
    def small(self) -> bool:
        """Whether the images are all of one small size."""
        return self.native is not None and max(self.native) <= SMALL_SIDE

    def input_size(self, large: int) -> int:
        """Default side of the input: the images' own up to 64 pixels, 64 for small ones of several sizes, else
        ``large``.
        """
        if self.native is not None and self.small:
            return max(self.native)
        return SMALL_SIDE if self.side <= SMALL_SIDE else large

    @property
    def channels(self) -> int:
        """1 for small images that are all grey, else 3."""
        return 1 if self.grey and self.small else 3


def evenly(count: int, limit: int) -> list[int]:
    """At most ``limit`` indices below ``count``, evenly spaced from the first to the last."""
    if count <= limit:
        return list(range(count))
    return [i * (count - 1) // (limit - 1) for i in range(limit)]


def look(split: ImageSplit) -> Look:
    """Look at up to 64 images. Raises UserError if one of them is damaged."""
    if isinstance(split, ArrayImages):
        channels, height, width = split.shape
        return Look((height, width), max(height, width), channels == 1)
    assert isinstance(split, LazyImages)
    seen = [split.peek(i) for i in evenly(len(split), PROBES)]
    sizes = {(height, width) for _, (width, height) in seen}
    native = sizes.pop() if len(sizes) == 1 else None
    side = int(median(max(size) for _, size in seen))
    return Look(native, side, all(mode in ("1", "L") for mode, _ in seen))


def hold(split: ImageSplit, seen: Look) -> ImageSplit:
    """The split, decoded into memory if its images are small, of one size and fit; else decoded on access.

    Raises UserError naming the first damaged image when decoding into memory.
    """
    if not isinstance(split, LazyImages):
        return split
    mode: Mode = "L" if seen.channels == 1 else "RGB"
    lazy = split.decoded_as(mode)
    if not seen.small or seen.native is None:
        return lazy
    shape = (seen.channels, *seen.native)
    if len(lazy) * shape[0] * shape[1] * shape[2] > MEMORY_LIMIT:
        return lazy
    images = torch.empty((len(lazy), *shape), dtype=torch.uint8)
    return ArrayImages(images, lazy.labels) if _fill(images, lazy) else lazy


def _fill(images: Tensor, split: LazyImages) -> bool:
    """Decode ``split`` into ``images`` (n, C, H, W); False as soon as an image of another size turns up."""

    def fill(part: Sequence[int]) -> bool:
        for index in part:
            image, _ = split[index]
            if image.shape != images.shape[1:]:
                return False
            images[index] = image
        return True

    chunks = [range(start, min(start + 256, len(split))) for start in range(0, len(split), 256)]
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        try:
            return all(pool.map(fill, chunks))
        finally:
            pool.shutdown(cancel_futures=True)
