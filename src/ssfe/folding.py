"""The fold: which N rows give the mean of the views' logits exactly."""

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
