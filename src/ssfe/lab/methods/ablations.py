"""Ablations, to tell which part of feature enhancement does what: its views without the pretext task, or two heads."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssfe import ChannelDiscard
from ssfe.core.labels.joint import at_least_float32
from ssfe.lab.methods.base import Method, Readings
from ssfe.lab.methods.heads import classifier_of, put, swapped
from ssfe.lab.methods.view_heads import ViewHeads, view_cross_entropy


class _ViewMethod(Method):
    """Training on masked views with a :class:`ViewHeads` in the classifier's place."""

    shipped = "aggregated"

    def __init__(self, transform: ChannelDiscard, label_smoothing: float = 0.0, gradient_scale: float = 1.0) -> None:
        self.transform = transform
        self.gradient_scale = gradient_scale
        self.label_smoothing = label_smoothing
        self.views = transform.transforms
        self.heads: ViewHeads

    @abstractmethod
    def _extra_outputs(self) -> int: ...

    def prepare(self, network: nn.Module) -> nn.Module:
        _, stock = classifier_of(network)
        self.heads = ViewHeads(stock, self.transform, self._extra_outputs(), self.gradient_scale)
        return put(network, stock, self.heads)

    def deploy(self, network: nn.Module) -> nn.Module:
        return swapped(network, self.heads, self.heads.fold())


class Discard(_ViewMethod):
    """The same masks with the original labels: no pretext task.

    ``(1/M) sum_j CE(class logits of view j, y)``; evaluation averages the views' logits, which folds.
    """

    summary = "the views of ssfe with ordinary labels (no pretext task)"

    def _extra_outputs(self) -> int:
        return 0

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        return view_cross_entropy(self.heads.views(output), labels, self.label_smoothing)

    def training_readings(self, output: Tensor) -> Readings:
        return Readings({"aggregated": self.heads.views(output).mean(1)})

    def readings(self, network: nn.Module, images: Tensor) -> Readings:
        return Readings({"aggregated": network(images)})


class MultiTask(_ViewMethod):
    """Two heads on the same views: the class, and which channels are missing.

    ``(1/M) sum_j [CE(class head(F_j), y) + CE(pretext head(F_j), j)]``: the multi-task loss that SLA compares with
    (arXiv 1910.05872, section 2), on features.
    """

    summary = "two heads on the views of ssfe: class, and which channels are missing"
    pretext = True

    def _extra_outputs(self) -> int:
        return self.transform.transforms

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        classes, transforms, views = self._split(output)
        pretext = F.cross_entropy(at_least_float32(transforms.flatten(0, 1)), views.flatten())
        return view_cross_entropy(classes, labels, self.label_smoothing) + pretext

    def training_readings(self, output: Tensor) -> Readings:
        classes, transforms, views = self._split(output)
        return Readings({"aggregated": classes.mean(1)}, (transforms, views))

    def readings(self, network: nn.Module, images: Tensor) -> Readings:
        self.heads.training = True
        try:
            output = network(images)
        finally:
            self.heads.training = False
        return self.training_readings(output)

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits (B, M, N), pretext logits (B, M, M), and the true transformations (B, M)."""
        outputs = self.heads.views(output)
        views = torch.arange(outputs.shape[1], device=outputs.device).expand(outputs.shape[0], -1)
        return outputs[..., : self.heads.classes], outputs[..., self.heads.classes :], views
