"""What training and evaluation ask of a method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Readings:
    """The predictions for one batch in evaluation mode.

    Attributes:
        classes: class logits (B, N) of each way the method can predict.
        pretext: logits (B, V, M) and targets (B, V) of the pretext task, where there is one.
    """

    classes: dict[str, Tensor]
    pretext: tuple[Tensor, Tensor] | None = field(default=None)


class Method(ABC):
    """A way to train a stock network: what becomes of the network, the loss, the predictions, and what is shipped."""

    summary: str
    """What it does, in a few words for the log."""
    shipped: str
    """The reading that the deployed network gives, a key of :attr:`Readings.classes`."""
    views: int = 1
    """Views of each image in a training step."""
    pretext: bool = False
    """Whether there is a pretext task."""

    @abstractmethod
    def prepare(self, network: nn.Module) -> nn.Module:
        """The network to train, from the stock one; may be the same object, changed."""

    @abstractmethod
    def loss(self, output: Any, labels: Tensor) -> Tensor:
        """Scalar loss from the network's output in training mode; labels (B,) or probabilities (B, N)."""

    @abstractmethod
    def training_readings(self, output: Any) -> Readings:
        """What the output in training mode says, for training accuracy. One reading is enough, and of the pretext task
        some of the images: this is part of every step.
        """

    def predict(self, network: nn.Module, images: Tensor) -> Tensor:
        """The class logits (B, N) of the shipped reading, in evaluation mode, for validation after each epoch."""
        logits: Tensor = network(images)
        return logits

    @abstractmethod
    def readings(self, network: nn.Module, images: Tensor) -> Readings:
        """Every prediction of the prepared network, in evaluation mode, for normalised images (B, C, H, W)."""

    @abstractmethod
    def deploy(self, network: nn.Module) -> nn.Module:
        """The stock network to ship, a new one."""
