"""The training step: accumulation, clipping, checkpointing."""

from __future__ import annotations

import torch
from torch.nn.utils import clip_grad_norm_

from ssfe import JointLoss, enhance
from ssfe.lab.models.cifar_resnet import CifarResNet

from .small import CLASSES, assert_folds, assert_learns, gradients, group_norm, network, problem, train
from .table import setting


@setting(
    "The step",
    "gradient accumulation",
    note="batch norm sees the parts, as without ssfe",
    never={"one sampled view": "every part draws views of its own"},
)
def accumulation() -> None:
    """without batch norm, the gradients of four parts are those of the whole batch"""
    model, (images, labels) = network(group_norm), problem()
    whole = gradients(model, images, labels)
    model.zero_grad()
    for x, y in zip(images.split(10), labels.split(10), strict=True):
        (JointLoss()(model(x), y) / 4).backward()
    torch.testing.assert_close({name: p.grad for name, p in model.named_parameters()}, whole, rtol=1e-4, atol=1e-6)


@setting("The step", "gradient clipping")
def clipping() -> None:
    """the norm of all gradients, the joint classifier's among them, is what was asked for"""
    model = network()
    gradients(model, *problem())
    before = model.fc.weight.grad.clone()  # type: ignore[union-attr]
    norm = clip_grad_norm_(model.parameters(), 0.01)
    after = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    torch.testing.assert_close(after, torch.tensor(0.01), rtol=1e-3, atol=0)
    torch.testing.assert_close(model.fc.weight.grad, before * 0.01 / norm, rtol=1e-3, atol=1e-8)


@setting("The step", "gradient checkpointing (timm's set_grad_checkpointing)")
def checkpointing() -> None:
    """blocks run twice, gradients are the same"""
    images, labels = problem(10)
    results, runs = [], []
    for enabled in (False, True):
        torch.manual_seed(0)
        model = enhance(CifarResNet(8, num_classes=CLASSES))
        model.set_grad_checkpointing(enabled)
        calls: list[int] = []
        model.layer2[0].conv1.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        results.append(gradients(model.train(), images, labels))
        runs.append(len(calls))
    assert runs == [1, 2]
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


@setting("The step", "sampled views", note='`enhance(model, views="sampled")`')
def sampled_views() -> None:
    """one view of each image; the loss falls"""
    model = network(views="sampled")
    assert model(problem()[0]).views.shape == (40, 1)
    assert_learns(train(model, steps=40), 0.8)
    assert_folds(model)
