"""Drawing images evenly over the classes: the only randomness of the data, a pure function of seed and purpose."""

from __future__ import annotations

import torch
from torch import Tensor

from ssfe.lab.errors import UserError
from ssfe.lab.seeds import derive_seed

SPLIT_SEED = 0
"""Seed of test splits, fixed for good so that every run on the same data has the same test images."""


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose: draws for different purposes are independent under the same seed."""
    return torch.Generator().manual_seed(derive_seed(seed, "data", purpose))


def _ranks(labels: Tensor, random: torch.Generator) -> Tensor:
    """Each image's place (n,) in a random order of the images of its own class."""
    shuffled = torch.randperm(len(labels), generator=random)
    order = shuffled[torch.argsort(labels[shuffled], stable=True)]
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels)) - starts[labels[order]]
    return ranks


def stratified_split(labels: Tensor, fraction: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices (kept, held out), each ascending, with ``fraction`` of every class held out.

    ``labels`` is int64 (n,). Of each class, round(fraction * count) images are held out, but at least one is held
    out and one kept. Raises ValueError for a class of a single image.
    """
    counts = torch.bincount(labels)
    if (counts == 1).any():
        raise ValueError(f"class {int((counts == 1).nonzero()[0])} has a single image: it cannot be split")
    quota = (counts * fraction).round().long().clamp(min=1).minimum(counts - 1)
    held = _ranks(labels, random) < quota[labels]
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def balanced_subset(labels: Tensor, limit: int, random: torch.Generator) -> Tensor:
    """Ascending indices of ``limit`` images, as equally many per class as there are.

    ``labels`` is int64 (n,). A smaller limit gives a subset of a larger one. Raises UserError if ``limit`` is less
    than the number of classes present.
    """
    present = int((torch.bincount(labels) > 0).sum())
    if limit < present:
        raise UserError(f"A limit of {limit} images is too few for {present} classes: use at least {present}.")
    classes = torch.randperm(int(labels.max()) + 1, generator=random)
    order = torch.argsort(_ranks(labels, random) * len(classes) + classes[labels])
    return order[:limit].sort().values
