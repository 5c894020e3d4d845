"""Ordinary training: the baseline."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn import functional as F

from ssfe.core.labels.joint import at_least_float32
from ssfe.lab.methods.base import Method, Readings
from ssfe.lab.methods.heads import classifier_of, put, swapped
from ssfe.lab.methods.paced import PacedClassifier


class Plain(Method):
    """Cross-entropy on the class labels.

    Args:
        label_smoothing: of the cross-entropy.
        gradient_scale: factor on the gradients of the classifier's parameters.
    """

    summary = "plain training"
    shipped = "plain"

    def __init__(self, label_smoothing: float = 0.0, gradient_scale: float = 1.0) -> None:
        self.label_smoothing = label_smoothing
        self.gradient_scale = gradient_scale

    def prepare(self, network: nn.Module) -> nn.Module:
        if self.gradient_scale == 1:
            return network
        _, stock = classifier_of(network)
        return put(network, stock, PacedClassifier(stock, self.gradient_scale))

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(at_least_float32(output), labels, label_smoothing=self.label_smoothing)

    def training_readings(self, output: Tensor) -> Readings:
        return Readings({"plain": output})

    def readings(self, network: nn.Module, images: Tensor) -> Readings:
        return Readings({"plain": network(images)})

    def deploy(self, network: nn.Module) -> nn.Module:
        paced = next((module for module in network.modules() if isinstance(module, PacedClassifier)), None)
        return copy.deepcopy(network) if paced is None else swapped(network, paced, copy.deepcopy(paced.stock))
