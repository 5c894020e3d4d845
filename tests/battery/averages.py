"""Averages of the weights."""

from __future__ import annotations

import copy

import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from ssfe.core.enhanced import joint_classifier

from .small import assert_folds, assert_learns, network, problem, train
from .table import setting


def _check(model: nn.Module, average: nn.Module, expected: torch.Tensor) -> None:
    torch.testing.assert_close(joint_classifier(average).weight, expected)
    states = [
        {key: value for key, value in net.state_dict().items() if key.endswith("_extra_state")}
        for net in (model, average)
    ]
    assert states[0]
    torch.testing.assert_close(states[1], states[0], msg="masks stay")
    images, _ = problem()
    stock = assert_folds(average)
    assert not torch.allclose(stock(images), model.eval()(images), atol=1e-3), "the average is not the last weights"


@setting("Averaged weights", "EMA: torch's AveragedModel(use_buffers=True)")
def averaged_model() -> None:
    """the joint classifier's weight is the exponential average of its steps; masks stay; the average folds"""
    model = network()
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True)
    weights = [model.fc.weight.detach().clone()]

    def after() -> None:
        ema.update_parameters(model)
        # The first update copies.
        new = model.fc.weight.detach().clone()
        weights.append(new if len(weights) == 1 else 0.8 * weights[-1] + 0.2 * new)

    assert_learns(train(model, after=after))
    _check(model, ema.module, weights[-1])


@setting("Averaged weights", "EMA: timm's ModelEmaV3")
def model_ema() -> None:
    """the same, for timm's class"""
    model = network()
    ema = ModelEmaV3(model, decay=0.8)
    expected = [model.fc.weight.detach().clone()]

    def after() -> None:
        ema.update(model)
        expected.append(0.8 * expected[-1] + 0.2 * model.fc.weight.detach())

    assert_learns(train(model, after=after))
    _check(model, ema.module, expected[-1])


@setting("Averaged weights", "SWA: torch's AveragedModel and update_bn")
def swa() -> None:
    """the weights are the mean of the visited ones, batch norm's statistics those of the data under these weights"""
    model = network()
    average = AveragedModel(model)
    visited = []

    def after() -> None:
        average.update_parameters(model)
        visited.append(copy.deepcopy(model.fc.weight.detach()))

    assert_learns(train(model, after=after))
    images, _ = problem()
    update_bn([images], average)
    features = average.module.stem[0](images)
    torch.testing.assert_close(average.module.stem[1].running_mean, features.mean((0, 2, 3)))
    _check(model, average.module, torch.stack(visited).mean(0))
