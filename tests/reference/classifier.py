"""The joint classifier by the definition: mask the features M times, and take the full product each time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ssfe import JointClassifier


def joint_logits(x: Tensor, weight: Tensor, bias: Tensor | None, masks: Tensor) -> Tensor:
    """(B, C), (N*M, C), (N*M,), (M, C) -> (B, M, N, M)."""
    return torch.stack(
        [F.linear(x * mask.to(x.dtype), weight, bias).unflatten(1, (-1, len(masks))) for mask in masks], 1
    )


def rows_scaled(joint: JointClassifier, gradients: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of x, the joint rows, their bias (if any) and what may follow: the rows' and the bias's scaled."""
    ours = 1 if joint.bias is None else 2
    rows = (joint.gradient_scale * gradient for gradient in gradients[1 : 1 + ours])
    return (gradients[0], *rows, *gradients[1 + ours :])


def folded(weight: Tensor, bias: Tensor | None, masks: Tensor, reading: str) -> tuple[Tensor, Tensor | None]:
    """The class i row of a reading, one class and one transformation at a time."""
    transforms = len(masks)
    views = range(transforms) if reading == "aggregated" else range(1)
    rows, biases = [], []
    for i in range(len(weight) // transforms):
        rows.append(sum(masks[j].to(weight.dtype) * weight[i * transforms + j] for j in views) / len(views))
        if bias is not None:
            biases.append(sum(bias[i * transforms + j] for j in views) / len(views))
    return torch.stack(rows), torch.stack(biases) if bias is not None else None
