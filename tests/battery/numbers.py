"""Precision, memory layout, compilation."""

from __future__ import annotations

import torch
from torch import nn

from ssfe import JointLoss, enhance, fold
from ssfe.core.enhanced import joint_classifier
from tests.reference.networks import TinyNet

from .small import assert_folds, assert_learns, group_norm, joint_logits, network, problem, train
from .table import proven_elsewhere, setting


@setting("Numbers", "automatic mixed precision, bfloat16")
def amp_bfloat16() -> None:
    """joint logits are bfloat16, loss and gradients float32; the loss falls"""
    model, (images, labels) = network(), problem()
    optimizer, losses = torch.optim.SGD(model.parameters(), 0.2, momentum=0.9), []
    for _ in range(25):
        with torch.autocast("cpu", torch.bfloat16):
            output = model(images)
            loss = JointLoss()(output, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert joint_logits(output).dtype == torch.bfloat16
    assert loss.dtype == model.fc.weight.grad.dtype == torch.float32  # type: ignore[union-attr]
    assert_learns(losses)
    assert_folds(model)


@setting("Numbers", "automatic mixed precision, float16 with GradScaler")
def amp_float16() -> None:
    """joint logits are float16, steps are scaled, loss and gradients float32; the loss falls"""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, (images, labels) = network().to(device), (tensor.to(device) for tensor in problem())
    optimizer, losses = torch.optim.SGD(model.parameters(), 0.2, momentum=0.9), []
    scaler = torch.amp.GradScaler(device, init_scale=2.0**10)
    for _ in range(25):
        with torch.autocast(device, torch.float16):
            output = model(images)
            loss = JointLoss()(output, labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert joint_logits(output).dtype == torch.float16
    assert loss.dtype == model.fc.weight.grad.dtype == torch.float32  # type: ignore[union-attr]
    assert_learns(losses)
    assert_folds(model.cpu())


@setting("Numbers", "weights in bfloat16")
def bfloat16_weights() -> None:
    """everything but the loss is bfloat16; the loss falls; the fold is bfloat16"""
    model = network(group_norm).bfloat16()
    images, labels = problem()
    losses = train(model, lambda *_: (images.bfloat16(), labels), steps=40)
    assert_learns(losses)
    assert {p.dtype for p in fold(model).parameters()} == {torch.bfloat16}


@setting("Numbers", "channels_last")
def channels_last() -> None:
    """the feature map at the classifier's door is channels_last; logits are those of the usual layout"""
    model, twin = network(), network()
    model.to(memory_format=torch.channels_last)
    maps: list[torch.Tensor] = []
    model.stem.register_forward_hook(lambda module, args, output: maps.append(output))
    images, _ = problem()
    logits = []
    for net, form in ((model, torch.channels_last), (twin, torch.contiguous_format)):
        torch.manual_seed(0)  # sampled views
        logits.append(joint_logits(net(images.to(memory_format=form))))
    assert maps[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-5)
    assert_folds(model)


proven_elsewhere(
    "Numbers",
    "torch.compile, after enhance",
    "no graph breaks, no recompilation; the compiled network's steps are the eager one's",
    "tests/test_compile.py::test_trains_as_the_eager_network",
)


@setting("Numbers", "torch.compile, before enhance", refused="the network is compiled already: enhance it first")
def compiled_before() -> None:
    """nothing is attached in vain"""
    enhance(torch.compile(nn.Sequential(nn.Linear(3, 2)), backend="eager"))


@setting("Numbers", "weight_norm on the classifier", refused="the classifier's weight is parametrized")
def weight_norm() -> None:
    """the fold would have no place to put its weight"""
    stock = TinyNet()
    nn.utils.parametrizations.weight_norm(stock.fc)
    enhance(stock)


@setting("Numbers", "weight_norm on other layers")
def weight_norm_elsewhere() -> None:
    """the loss falls; the folded network keeps the parametrization"""
    model = network()
    nn.utils.parametrizations.weight_norm(model.stem[0])
    assert_learns(train(model))
    assert nn.utils.parametrize.is_parametrized(assert_folds(model).stem[0])
    assert joint_classifier(model) is model.fc
