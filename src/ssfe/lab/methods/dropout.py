"""Ordinary dropout where feature enhancement discards channels."""

from __future__ import annotations

import copy

from torch import nn

from ssfe import ChannelDiscard
from ssfe.lab.methods.heads import classifier_of, put, swapped
from ssfe.lab.methods.plain import Plain


class DroppedClassifier(nn.Sequential):
    """Dropout, and then the stock classifier."""


class FeatureDropout(Plain):
    """Ordinary training with dropout (Srivastava et al. 2014) of the classifier's input.

    Args:
        transform: dropout's rate is the mean share of channels that its views lack.
        label_smoothing: of the cross-entropy.
    """

    summary = "ordinary training with dropout on the classifier's input"

    def __init__(self, transform: ChannelDiscard, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing)
        self.transform = transform

    def prepare(self, network: nn.Module) -> nn.Module:
        _, stock = classifier_of(network)
        masks = self.transform.keep_masks(stock.weight.shape[1])
        rate = 1 - float(masks.float().mean())
        return put(network, stock, DroppedClassifier(nn.Dropout(rate), stock))

    def deploy(self, network: nn.Module) -> nn.Module:
        dropped = next(module for module in network.modules() if isinstance(module, DroppedClassifier))
        return swapped(network, dropped, copy.deepcopy(dropped[1]))
