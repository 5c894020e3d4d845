"""The ablation of a distilled head: the same views as teachers, with ordinary labels."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssfe.core.labels.joint import at_least_float32
from ssfe.core.labels.loss import distillation
from ssfe.lab.methods.ablations import Discard
from ssfe.lab.methods.base import Readings
from ssfe.lab.methods.heads import classifier_of, put, swapped
from ssfe.lab.methods.view_heads import ViewHeads


class TaughtClassifier(nn.Module):
    """The stock classifier beside a :class:`ViewHeads` of the same features.

    In training mode (B, C) or (B, C, 1, 1) features give the outputs of ViewHeads and, below them, the (B, N) logits of
    the stock classifier; in evaluation mode those alone.
    """

    def __init__(self, heads: ViewHeads, stock: nn.Module) -> None:
        super().__init__()
        self.heads = heads
        self.stock = stock

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.stock(features).flatten(1)
        return torch.cat([self.heads(features), logits]) if self.training else logits


class DistilledDiscard(Discard):
    """The masks of ssfe with the original labels, and a plain head taught by the mean of the views, which is shipped.

    ``(1/M) sum_j CE(class logits of view j, y) + KL(softmax(mean of the views).detach() || head) + CE(head, y)``: the
    loss of ssfe with a distilled head (SLA, arXiv 1910.05872, eq. 5) without its joint labels.
    """

    summary = "the views of ssfe with ordinary labels, and a plain head distilled from them (no pretext task)"
    shipped = "distilled"

    def prepare(self, network: nn.Module) -> nn.Module:
        _, stock = classifier_of(network)
        self.heads = ViewHeads(stock, self.transform, gradient_scale=self.gradient_scale)
        self.taught = TaughtClassifier(self.heads, stock)
        return put(network, stock, self.taught)

    def deploy(self, network: nn.Module) -> nn.Module:
        return swapped(network, self.taught, copy.deepcopy(self.taught.stock))

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        views, head = self._split(output)
        hard = F.cross_entropy(at_least_float32(head), labels, label_smoothing=self.label_smoothing)
        return super().loss(views, labels) + distillation(head, self.heads.views(views).mean(1)) + hard

    def training_readings(self, output: Tensor) -> Readings:
        return Readings({"distilled": self._split(output)[1]})

    def readings(self, network: nn.Module, images: Tensor) -> Readings:
        self.taught.training = True  # of it alone: its heads go on giving the mean of their views
        try:
            aggregated, head = network(images).chunk(2)
        finally:
            self.taught.training = False
        return Readings({"distilled": head, "aggregated": aggregated})

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of ViewHeads (M * B, N), and the head's logits (B, N)."""
        views, head = output.tensor_split([len(output) // (self.views + 1) * self.views])
        return views, head
