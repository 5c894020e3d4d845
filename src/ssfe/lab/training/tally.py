"""Running sums over an epoch, kept on the device so that no step waits for them."""

from __future__ import annotations

import torch
from torch import Tensor

from ssfe.lab.methods import Readings


class Tally:
    """Sums of loss, correct classes and recognised transformations; the means are read at the epoch's end."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None

    def add(self, readings: Readings, shipped: str, labels: Tensor, loss: Tensor) -> None:
        """Count one training batch: labels (B,), the method's scalar loss."""
        recognised = torch.zeros((), device=labels.device)
        if readings.pretext is not None:
            logits, views = readings.pretext
            recognised = (logits.argmax(-1) == views).float().mean() * len(labels)
        self._count(readings.classes[shipped], labels, loss, recognised)

    def add_logits(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Count one batch of class logits (B, N)."""
        self._count(logits, labels, loss, torch.zeros((), device=labels.device))

    def means(self) -> tuple[float, float, float]:
        """(loss, top-1, pretext accuracy) over the images counted; NaN for none."""
        if self._sums is None:
            return float("nan"), float("nan"), float("nan")
        images, loss, correct, recognised = self._sums.tolist()
        return loss / images, correct / images, recognised / images

    def reset(self) -> None:
        """Start a new epoch."""
        self._sums = None

    def state(self) -> list[float]:
        """The sums, for a checkpoint."""
        return [] if self._sums is None else self._sums.tolist()

    def restore(self, state: list[float]) -> None:
        """The inverse of :meth:`state`."""
        self._sums = torch.tensor(state, dtype=torch.float64) if state else None

    def _count(self, logits: Tensor, labels: Tensor, loss: Tensor, recognised: Tensor) -> None:
        batch = len(labels)
        correct = (logits.argmax(-1) == labels).sum()
        images = torch.full_like(recognised, batch)
        # float32 where the device has no float64; an epoch's counts stay exact up to 2**24 images.
        wide = torch.float32 if labels.device.type == "mps" else torch.float64
        sums = torch.stack([images, loss.detach() * batch, correct, recognised]).to(wide)
        self._sums = sums if self._sums is None else self._sums.to(sums) + sums
