"""Ordinary training: the baseline."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn import functional as F

from ssfe.joint import at_least_float32
from ssfe.lab.methods.base import Method, Readings


class Plain(Method):
    """Cross-entropy on the class labels."""

    summary = "plain training"
    shipped = "plain"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def prepare(self, network: nn.Module) -> nn.Module:
        return network

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(at_least_float32(output), labels, label_smoothing=self.label_smoothing)

    def training_readings(self, output: Tensor) -> Readings:
        return Readings({"plain": output})

    def readings(self, network: nn.Module, images: Tensor) -> Readings:
        return Readings({"plain": network(images)})

    def deploy(self, network: nn.Module) -> nn.Module:
        return copy.deepcopy(network)
