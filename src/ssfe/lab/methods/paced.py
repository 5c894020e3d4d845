"""A classifier that learns at another pace than the features it reads."""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call

from ssfe.core.products.scaled_gradient import scaled_gradient


class PacedClassifier(nn.Module):
    """The stock classifier, with a factor on the gradients of its parameters and on nothing else.

    A control: under SGD the rows of a joint classifier learn more slowly than a plain classifier's, whatever they
    learn (see ``gradient_scale`` of :class:`~ssfe.JointClassifier`).
    """

    def __init__(self, stock: nn.Linear | nn.Conv2d, gradient_scale: float) -> None:
        super().__init__()
        self.stock = stock
        self.gradient_scale = gradient_scale

    def forward(self, features: Tensor) -> Tensor:
        """The stock classifier's output."""
        paced = {name: scaled_gradient(p, self.gradient_scale) for name, p in self.stock.named_parameters()}
        logits: Tensor = functional_call(self.stock, paced, features)
        return logits
