"""Joint labels by the definition: one image b, one view v, one class i, one transformation j at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def target_indices(labels: Tensor, views: Tensor, transforms: int) -> Tensor:
    return torch.tensor([[int(y) * transforms + int(j) for j in row] for y, row in zip(labels, views, strict=True)])


def target_probabilities(labels: Tensor, views: Tensor, transforms: int) -> Tensor:
    batch, classes = labels.shape
    targets = torch.zeros(batch, views.shape[1], classes * transforms, dtype=labels.dtype)
    for b in range(batch):
        for v in range(views.shape[1]):
            for i in range(classes):
                targets[b, v, i * transforms + int(views[b, v])] = labels[b, i]
    return targets


def smoothed(labels: Tensor, classes: int, label_smoothing: float) -> Tensor:
    """Class indices or probabilities as explicitly smoothed class probabilities, float64."""
    probabilities = labels.double() if labels.is_floating_point() else F.one_hot(labels.long(), classes).double()
    return (1 - label_smoothing) * probabilities + label_smoothing / classes


def cross_entropy(logits: Tensor, views: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """torch's own cross-entropy with N*M-wide soft targets, float64."""
    classes, transforms = logits.shape[2:]
    targets = target_probabilities(smoothed(labels, classes, label_smoothing), views, transforms)
    return F.cross_entropy(logits.double().flatten(2).flatten(0, 1), targets.flatten(0, 1))


def aggregated(logits: Tensor, views: Tensor) -> Tensor:
    batch, count, classes, _ = logits.shape
    out = torch.zeros(batch, classes, dtype=logits.dtype)
    for b in range(batch):
        for i in range(classes):
            for v in range(count):
                out[b, i] += logits[b, v, i, int(views[b, v])] / count
    return out


def single(logits: Tensor, views: Tensor) -> Tensor:
    batch, _, classes, _ = logits.shape
    rows = [[logits[b, 0, i, int(views[b, 0])] for i in range(classes)] for b in range(batch)]
    return torch.stack([torch.stack(row) for row in rows])


def class_probabilities(logits: Tensor) -> Tensor:
    """p(class) of each view, from the softmax over all N*M joint labels: (B, V, N)."""
    joint = logits.flatten(2).softmax(-1).view(logits.shape)
    return torch.stack([joint[:, :, i].sum(-1) for i in range(logits.shape[2])], -1)


def transform_probabilities(logits: Tensor) -> Tensor:
    """p(transformation) of each view: (B, V, M)."""
    joint = logits.flatten(2).softmax(-1).view(logits.shape)
    return torch.stack([joint[..., j].sum(-1) for j in range(logits.shape[3])], -1)


def pretext_accuracy(logits: Tensor, views: Tensor) -> float:
    guesses = transform_probabilities(logits)
    hits = [int(guesses[b, v].argmax()) == int(views[b, v]) for b in range(len(views)) for v in range(views.shape[1])]
    return sum(hits) / len(hits)


def distillation(head: Tensor, teacher: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """SLA's KL(teacher || head) + CE(head, y), by the sums that define them."""
    p, q = teacher.detach().double().softmax(-1), head.double().softmax(-1)
    target = smoothed(labels, head.shape[1], label_smoothing)
    divergence = (p * (p.log() - q.log())).sum(-1).mean()
    return divergence - (target * q.log()).sum(-1).mean()
