"""Whether an export computes what the run's network computes, on the run's own test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ssfe.lab.data import load_data
from ssfe.lab.data.memory import SMALL_SIDE, evenly
from ssfe.lab.errors import UserError
from ssfe.lab.export.shipment import Shipment

TOLERANCE = 1e-4
"""Largest difference allowed in a graph's logits, relative to the largest logit or to 1."""
SMALL_COUNT, LARGE_COUNT = 64, 16
"""Images of up to 64 pixels, and larger ones, that are compared."""


@dataclass(frozen=True)
class Sample:
    """Images to compare on: uint8 (n, C, S, S), and where they come from."""

    images: Tensor
    source: str


@dataclass(frozen=True)
class Agreement:
    """How an export's logits differ from the network's.

    Attributes:
        images: how many were compared.
        largest: the largest absolute difference of a logit.
        scale: the largest absolute logit.
        same_class: images for which both give the same class.
    """

    images: int
    largest: float
    scale: float
    same_class: int


def sample_images(shipment: Shipment, data_dir: Path | None = None) -> Sample:
    """Evenly spaced test images of the run, through its preprocessing; noise where they cannot be had any more."""
    count = SMALL_COUNT if shipment.card.preprocessing.image_size <= SMALL_SIDE else LARGE_COUNT
    try:
        options = shipment.folder.read_options()
        # The training images are not asked for; the fewer of them are decoded, the better.
        loading = replace(
            options.loading,
            data_dir=data_dir or options.loading.data_dir,
            limit_train=len(shipment.card.classes),
        )
        test = load_data(options.data, loading, seed=options.seed).test
        transform = shipment.card.preprocessing.eval_transform()
        images = torch.stack([transform(test[index][0]) for index in evenly(len(test), count)])
        return Sample(images, f"{len(images)} test images of {options.data}")
    except UserError as error:
        noise = torch.randint(
            256, (count, *shipment.image_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
        return Sample(noise, f"{count} images of noise, because the run's own cannot be had: {error.line}")


def compare(shipment: Shipment, exported: Callable[[Tensor], Tensor], images: Tensor) -> Agreement:
    """Run both on uint8 images (n, C, S, S): on one, then on the rest, or in batches as the graph is made for."""
    expected, got = [], []
    with torch.no_grad():
        for part in _batches(images, shipment.batch):
            expected.append(shipment.network(shipment.card.preprocessing.normalize(part)))
            got.append(exported(shipment.inputs(part)))
    ours, theirs = torch.cat(expected)[: len(images)], torch.cat(got)[: len(images)]
    return Agreement(
        images=len(ours),
        largest=(ours - theirs).abs().max().item(),
        scale=ours.abs().max().item(),
        same_class=int((ours.argmax(-1) == theirs.argmax(-1)).sum()),
    )


def _batches(images: Tensor, batch: int | None) -> list[Tensor]:
    if batch is None:
        # Two sizes that the graph was not traced with.
        return [images[:1], images[1:]] if len(images) > 1 else [images]
    parts = -(-len(images) // batch)
    return list(images[torch.arange(parts * batch) % len(images)].chunk(parts))


def require(agreement: Agreement, *, exact: bool) -> None:
    """Refuse an export that computes something else.

    Raises:
        UserError: naming the difference.
    """
    allowed = 0.0 if exact else TOLERANCE * max(1.0, agreement.scale)
    if not agreement.largest <= allowed:  # NaN as well
        raise UserError(
            f"the export computes something else than the run's network: logits up to {agreement.scale:.3g} differ by "
            f"{agreement.largest:.2g}, more than {allowed:.2g}; it was not kept: choose another --format"
        )
