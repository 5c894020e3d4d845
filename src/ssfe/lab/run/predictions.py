"""predictions.csv: what the shipped model says of each test image, for looking closer than an accuracy does."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import Tensor

from ssfe.lab.files import write_whole

COLUMNS = ("index", "label", "predicted", "confidence")


class Predictions:
    """The predictions of one reading, image by image.

    Attributes:
        labels: (T,) int64, true classes.
        predicted: (T,) int64, the class of the largest logit.
        confidence: (T,) float32, its softmax probability.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in a batch: logits (B, N), labels (B,)."""
        confidence, predicted = logits.float().softmax(-1).max(-1)
        self._batches.append((labels.cpu(), predicted.cpu(), confidence.cpu()))

    @property
    def labels(self) -> Tensor:
        return self._column(0)

    @property
    def predicted(self) -> Tensor:
        return self._column(1)

    @property
    def confidence(self) -> Tensor:
        return self._column(2)

    def write(self, path: Path) -> None:
        """A row per image, in the order of the test images; classes by index, confidence to six digits."""
        columns = (self.labels.tolist(), self.predicted.tolist(), (f"{c:.6g}" for c in self.confidence.tolist()))
        rows = [(index, *row) for index, row in enumerate(zip(*columns, strict=True))]

        def table(unfinished: Path) -> None:
            with unfinished.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])

        write_whole(path, table)

    def _column(self, position: int) -> Tensor:
        return torch.cat([batch[position] for batch in self._batches])
