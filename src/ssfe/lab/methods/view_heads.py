"""A linear head over masked views of the features, without joint labels: what the ablations train."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssfe import ChannelDiscard
from ssfe.core.labels.joint import at_least_float32
from ssfe.core.products.masks import ChannelMasks
from ssfe.core.products.scaled_gradient import scaled_rows
from ssfe.lab.methods.heads import rows, with_rows


class ViewHeads(nn.Module):
    """N class outputs and ``extra`` others for each of M masked views.

    In training mode (B, C) or (B, C, 1, 1) features give (M * B, N + extra), view by view. In evaluation mode they give
    (B, N): the mean over the views of the class outputs, from one product with the folded weight.

    Args:
        stock: the classifier it stands in for. Its rows are scaled, channel by channel, by the inverse of the share of
            views that keep the channel, so that evaluation starts with its predictions.
        transform: the masks.
        extra: further outputs, with rows of their own.
        gradient_scale: factor on the gradients of all rows.
    """

    def __init__(
        self, stock: nn.Linear | nn.Conv2d, transform: ChannelDiscard, extra: int = 0, gradient_scale: float = 1.0
    ) -> None:
        super().__init__()
        weight, bias = rows(stock)
        self.classes, channels = weight.shape
        self.channel_masks = ChannelMasks(transform.keep_masks(channels), weight.device)
        self.heads = nn.Linear(
            channels, self.classes + extra, bias is not None, device=weight.device, dtype=weight.dtype
        )
        with torch.no_grad():
            self.heads.weight[: self.classes] = weight / self._kept_share(weight)
            if bias is not None:
                self.heads.bias[: self.classes] = bias
        self.gradient_scale = gradient_scale
        self._stock = (stock,)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        features = features.flatten(1)
        if not self.training:
            return F.linear(features, *self._folded())
        trained = scaled_rows(self.heads.weight, self.heads.bias, self.gradient_scale)
        return self.channel_masks.products(features, *trained).flatten(0, 1)

    def views(self, output: Tensor) -> Tensor:
        """The network's output in training mode (M * B, O), as (B, M, O)."""
        return output.view(len(self.channel_masks.rows), -1, output.shape[-1]).transpose(0, 1)

    def fold(self) -> nn.Module:
        """The stock layer that gives the outputs of evaluation mode."""
        stock = self._stock[0]
        assert isinstance(stock, nn.Linear | nn.Conv2d)
        return with_rows(stock, *self._folded())

    def _folded(self) -> tuple[Tensor, Tensor | None]:
        weight = self.heads.weight[: self.classes]
        bias = None if self.heads.bias is None else self.heads.bias[: self.classes]
        return weight * self._kept_share(weight), bias

    def _kept_share(self, weight: Tensor) -> Tensor:
        return self.channel_masks.rows.to(weight.dtype).mean(0)


def view_cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of (B, V, N) logits with the class label, (B,) or probabilities (B, N), averaged over images and
    views.
    """
    repeated = labels.repeat_interleave(logits.shape[1], 0)
    return F.cross_entropy(at_least_float32(logits.flatten(0, 1)), repeated, label_smoothing=label_smoothing)
