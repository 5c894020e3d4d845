"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599, section 4.2): how much of a calibration one number mends.

A method may look better calibrated for being less confident alone, which dividing the logits by a constant does too,
at no cost and after any training. What is left after that is a difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from ssfe.lab.run.metrics import CALIBRATION_BINS, CalibrationError, NegativeLogLikelihood

Batches = Iterable[tuple[Tensor, Tensor]]

_LARGEST = 20.0
"""The largest temperature; the smallest is its inverse."""
_VALUES = 2**25
"""Logits that are kept for the fit, at most: 128 MiB, 33,000 images of 1,000 classes."""


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T that minimises the NLL of ``logits / T``, within 1/20 and 20; 1 where every image is classified correctly,
    for then the NLL falls with T for ever, and such images say nothing about it.

    Args:
        logits: (B, N), of images that the network was not trained on.
        labels: (B,) int64.
    """

    if bool((logits.argmax(-1) == labels).all()):
        return 1.0

    def nll(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / math.exp(log_temperature), labels))

    bound = math.log(_LARGEST)
    return math.exp(minimize_scalar(nll, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-4}).x)


def telling(result: Mapping[str, Any]) -> dict[str, float] | None:
    """What :func:`temperature_scaled` left in a run's result, where it tells anything: not for a run that is older than
    it, nor where all validation images are right, so that T is 1."""
    scaled: dict[str, float] | None = result.get("temperature_scaled")
    return None if scaled is None or scaled["temperature"] == 1 else scaled


@torch.no_grad()
def temperature_scaled(
    logits_of: Callable[[Tensor], Tensor], val: Batches, test: Batches, device: torch.device
) -> dict[str, float]:
    """The temperature that validation images ask for, and what it makes of the test images.

    Args:
        logits_of: class logits (B, N) of uint8 images (B, C, S, S) on the device.
        val, test: batches of uint8 images and labels (B,).
        device: where the network is.

    Returns:
        ``temperature``, and ``nll`` (nats) and ``ece`` of the test images with it. Top-1 does not change.
    """
    logits, labels = _some((logits_of(images.to(device)).float().cpu(), labels.cpu()) for images, labels in val)
    temperature = fit_temperature(logits, labels)
    metrics = {
        "nll": NegativeLogLikelihood().to(device),
        "ece": CalibrationError(logits.shape[1], n_bins=CALIBRATION_BINS, norm="l1").to(device),
    }
    for images, labels in test:
        scaled = logits_of(images.to(device)).float() / temperature
        for metric in metrics.values():
            metric.update(scaled, labels.to(device))
    return {"temperature": temperature, **{name: float(metric.compute()) for name, metric in metrics.items()}}


def _some(batches: Batches) -> tuple[Tensor, Tensor]:
    """Logits (B, N) and labels (B,) of all images, or of as many as may be kept, drawn at random: images of a folder
    come class by class. Whenever there are too many, those with the larger half of the random numbers go.
    """
    generator, share = torch.Generator().manual_seed(0), 1.0
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    for logits, labels in batches:
        numbers = torch.rand(len(labels), generator=generator)
        kept.append(_below(share, logits, labels, numbers))
        while sum(part[0].numel() for part in kept) > _VALUES:
            share /= 2
            kept = [_below(share, *part) for part in kept]
    logits, labels, _ = (torch.cat(parts) for parts in zip(*kept, strict=True))
    return logits, labels


def _below(share: float, logits: Tensor, labels: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    chosen = numbers < share
    return logits[chosen], labels[chosen], numbers[chosen]
