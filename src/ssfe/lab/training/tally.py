"""Running sums over an epoch, kept on the device so that no step waits for them."""

from __future__ import annotations

import torch
from torch import Tensor

from ssfe.lab.methods import Readings

_HELD = 32
"""Batches that are added up at a time: small operations, one by one, would keep a GPU waiting."""


class Tally:
    """Sums of loss, correct classes and recognised transformations; the means are read at the epoch's end."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._images: list[int] = []
        self._held: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def add(self, readings: Readings, shipped: str, labels: Tensor, loss: Tensor) -> None:
        """Count one training batch: labels (B,), the method's scalar loss."""
        recognised = None
        if readings.pretext is not None:
            logits, views = readings.pretext
            recognised = (logits.argmax(-1) == views).float().mean()
        self._count(readings.classes[shipped], labels, loss, recognised)

    def add_logits(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Count one batch of class logits (B, N)."""
        self._count(logits, labels, loss, None)

    def means(self) -> tuple[float, float, float]:
        """(loss, top-1, pretext accuracy) over the images counted; NaN for none."""
        sums = self.state()
        if not sums:
            return float("nan"), float("nan"), float("nan")
        images, loss, correct, recognised = sums
        return loss / images, correct / images, recognised / images

    def reset(self) -> None:
        """Start a new epoch."""
        self._sums = None
        self._images, self._held = [], []

    def state(self) -> list[float]:
        """The sums, for a checkpoint."""
        self._add_up()
        return [] if self._sums is None else self._sums.tolist()

    def restore(self, state: list[float]) -> None:
        """The inverse of :meth:`state`."""
        self.reset()
        self._sums = torch.tensor(state, dtype=torch.float64) if state else None

    def _count(self, logits: Tensor, labels: Tensor, loss: Tensor, recognised: Tensor | None) -> None:
        correct = (logits.argmax(-1) == labels).sum()
        self._images.append(len(labels))
        self._held.append((loss.detach(), correct, recognised))
        if len(self._held) == _HELD:
            self._add_up()

    def _add_up(self) -> None:
        if not self._held:
            return
        held_losses, held_correct, held_recognised = zip(*self._held, strict=True)
        losses, correct = torch.stack(held_losses), torch.stack(held_correct)
        known = [share for share in held_recognised if share is not None]  # all or none: a run has one method
        recognised = torch.stack(known) if known else torch.zeros_like(losses)
        # float32 where the device has no float64; an epoch's counts stay exact up to 2**24 images.
        wide = torch.float32 if losses.device.type == "mps" else torch.float64
        images = torch.tensor(self._images, dtype=wide).to(losses.device)
        per_image = torch.stack([torch.ones_like(images), losses.to(wide), recognised.to(wide)])
        total, loss, seen = (per_image * images).sum(1)
        sums = torch.stack([total, loss, correct.sum().to(wide), seen])
        self._sums = sums if self._sums is None else self._sums.to(sums) + sums
        self._images, self._held = [], []
