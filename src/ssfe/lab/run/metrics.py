"""Accuracy and calibration of every reading, in one pass over the images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassConfusionMatrix

from ssfe.lab.methods import Readings
from ssfe.lab.run.predictions import Predictions

CALIBRATION_BINS = 15


class NegativeLogLikelihood(MeanMetric):
    """Mean of ``-log softmax(logits)[label]``, in nats."""

    def update(self, logits: Tensor, labels: Tensor) -> None:  # type: ignore[override]
        super().update(F.cross_entropy(logits, labels), weight=len(labels))


class CalibrationError(MulticlassCalibrationError):
    """ECE from logits. (torchmetrics takes logits that all lie in 0..1 for probabilities, and has one bin more, for
    probabilities of exactly 1: here they are in the last.)"""

    def update(self, logits: Tensor, labels: Tensor) -> None:
        probabilities = logits.softmax(-1)
        super().update(probabilities.clamp(max=1 - torch.finfo(probabilities.dtype).eps), labels)


class BalancedAccuracy(MulticlassAccuracy):
    """The mean over the classes that there are of the share of their images that is recognised (recall), as
    scikit-learn's; NaN where no class has twice as many images as another: top-1 then says much the same.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="none")

    def compute(self) -> Tensor:
        recalls, images = super().compute(), torch.as_tensor(self.tp) + torch.as_tensor(self.fn)
        there = images > 0
        even = 2 * images[there].min() > images.max()
        return torch.where(even, torch.nan, recalls[there].mean())


def classification_metrics(num_classes: int) -> MetricCollection:
    """top-1, balanced accuracy, top-5 (from six classes on), NLL in nats, and ECE (15 bins, L1; Guo et al., arXiv
    1706.04599).
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "top1": MulticlassAccuracy(num_classes, average="micro"),
        "balanced_accuracy": BalancedAccuracy(num_classes),
        "nll": NegativeLogLikelihood(),
        "ece": CalibrationError(num_classes, n_bins=CALIBRATION_BINS, norm="l1"),
    }
    if num_classes > 5:
        metrics["top5"] = MulticlassAccuracy(num_classes, top_k=5, average="micro")
    return MetricCollection(metrics, compute_groups=False)


@dataclass(frozen=True)
class Measured:
    """What a pass over the images gives.

    Attributes:
        metrics: of each reading, and of the pretext task under ``"pretext"``; balanced accuracy where it tells more
            than top-1.
        predictions: of the first reading, image by image.
        pretext_confusion: M x M counts of views, row: their transformation, column: the one recognised; None without a
            pretext task.
    """

    metrics: dict[str, dict[str, float]]
    predictions: Predictions
    pretext_confusion: list[list[int]] | None


@torch.no_grad()
def measure(
    batches: Iterable[tuple[Tensor, Tensor]], readings: Callable[[Tensor], Readings], device: torch.device
) -> Measured:
    """Measure each reading, and the pretext task, over all batches.

    Args:
        batches: uint8 images (B, C, S, S) and labels (B,).
        readings: from images on the device to predictions.
        device: where the network is.
    """
    collected: dict[str, MetricCollection] = {}
    predictions, confusion = Predictions(), None
    for images, labels in batches:
        predicted = readings(images.to(device, non_blocking=True))
        labels = labels.to(device)
        rows = [(name, logits, labels) for name, logits in predicted.classes.items()]
        predictions.update(rows[0][1], labels)
        if predicted.pretext is not None:
            logits, views = predicted.pretext[0].flatten(0, 1).float(), predicted.pretext[1].flatten()
            rows.append(("pretext", logits, views))
            confusion = confusion or MulticlassConfusionMatrix(logits.shape[-1]).to(device)
            confusion.update(logits, views)
        for name, logits, targets in rows:
            if name not in collected:
                collected[name] = classification_metrics(logits.shape[-1]).to(device)
            collected[name].update(logits.float(), targets)
    metrics = {name: _values(each) for name, each in collected.items()}
    return Measured(metrics, predictions, None if confusion is None else confusion.compute().tolist())


def _values(collected: MetricCollection) -> dict[str, float]:
    found = {name: float(value) for name, value in collected.compute().items()}
    return {name: value for name, value in found.items() if name != "balanced_accuracy" or not math.isnan(value)}
