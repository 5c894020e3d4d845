"""Accuracy and calibration of every reading, in one pass over the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from ssfe.lab.methods import Readings

CALIBRATION_BINS = 15


class NegativeLogLikelihood(MeanMetric):
    """Mean of ``-log softmax(logits)[label]``, in nats."""

    def update(self, logits: Tensor, labels: Tensor) -> None:  # type: ignore[override]
        super().update(F.cross_entropy(logits, labels), weight=len(labels))


class CalibrationError(MulticlassCalibrationError):
    """ECE from logits. (torchmetrics takes logits that all lie in 0..1 for probabilities.)"""

    def update(self, logits: Tensor, labels: Tensor) -> None:
        super().update(logits.softmax(-1), labels)


def classification_metrics(num_classes: int) -> MetricCollection:
    """top-1, top-5 (from six classes on), NLL in nats, and ECE (15 bins, L1; Guo et al., arXiv 1706.04599)."""
    metrics: dict[str, Metric | MetricCollection] = {
        "top1": MulticlassAccuracy(num_classes, average="micro"),
        "nll": NegativeLogLikelihood(),
        "ece": CalibrationError(num_classes, n_bins=CALIBRATION_BINS, norm="l1"),
    }
    if num_classes > 5:
        metrics["top5"] = MulticlassAccuracy(num_classes, top_k=5, average="micro")
    return MetricCollection(metrics, compute_groups=False)


@torch.no_grad()
def measure(
    batches: Iterable[tuple[Tensor, Tensor]], readings: Callable[[Tensor], Readings], device: torch.device
) -> dict[str, dict[str, float]]:
    """The metrics of each reading over all batches, and of the pretext task under ``"pretext"``.

    Args:
        batches: uint8 images (B, C, S, S) and labels (B,).
        readings: from images on the device to predictions.
        device: where the network is.
    """
    collected: dict[str, MetricCollection] = {}
    for images, labels in batches:
        predicted = readings(images.to(device, non_blocking=True))
        labels = labels.to(device)
        rows = [(name, logits, labels) for name, logits in predicted.classes.items()]
        if predicted.pretext is not None:
            logits, views = predicted.pretext
            rows.append(("pretext", logits.flatten(0, 1), views.flatten()))
        for name, logits, targets in rows:
            if name not in collected:
                collected[name] = classification_metrics(logits.shape[-1]).to(device)
            collected[name].update(logits.float(), targets)
    return {
        name: {key: float(value) for key, value in metrics.compute().items()} for name, metrics in collected.items()
    }
