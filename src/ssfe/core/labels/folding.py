"""The fold: which N rows give the mean of the views' logits exactly; and N*M rows that fold to given ones."""

from __future__ import annotations

import torch
from torch import Tensor


def folded_rows(weight: Tensor, bias: Tensor | None, masks: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
    """The mean over the first views of ``w_{i,j} . (m_j * x) + b_{i,j}``, as rows for x: SLA's aggregated inference
    (arXiv 1910.05872, eq. 4) moved from the logits to the weights.

    Args:
        weight: (N*M, C).
        bias: (N*M,) or None.
        masks: bool (M, C), on the weight's device.
        count: of views: M for the aggregate, 1 for single inference.

    Returns:
        ``W[i] = mean_j m_j * w_{i,j}`` (N, C) and ``b[i] = mean_j b_{i,j}`` (N,) or None. Differentiable.
    """
    transforms = len(masks)
    rows = weight.view(-1, transforms, weight.shape[1])
    keep = masks.to(weight.dtype)
    total = rows[:, 0] * keep[0]
    for j in range(1, count):
        total = torch.addcmul(total, rows[:, j], keep[j])
    return total / count, None if bias is None else bias.view(-1, transforms)[:, :count].mean(1)


def spread_rows(weight: Tensor, masks: Tensor) -> Tensor:
    """Joint rows whose views have the stock logits as their mean: folding them gives the weight back. (Not the other
    way round: many joint rows fold to the same N.)

    Each row is copied M times and scaled, channel by channel, by the inverse of the share of views that keep the
    channel (as inverted dropout does). With an identity view the first copy is left as it is and the others share the
    correction, so that the identity view alone gives the stock logits too, but for channels that no other view keeps.

    Args:
        weight: (N, C).
        masks: bool (M, C), on any device but meta; every channel is kept by some view.

    Returns:
        (N*M, C), on the weight's device.
    """
    identity = int(masks[0].all())
    disturbed = masks[identity:]
    kept = disturbed.sum(0).to(weight.dtype)
    scale = torch.ones_like(masks, dtype=weight.dtype)
    scale[identity:] = len(disturbed) / kept.clamp(min=1)
    # A channel that only the identity view keeps has that one row to stand for all M.
    scale[:identity, kept == 0] = len(masks)
    return (weight[:, None] * scale.to(weight.device)).flatten(0, 1)
