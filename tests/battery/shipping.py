"""After the fold."""

from __future__ import annotations

import torch
from torch import nn
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

from .small import CLASSES, assert_folds, network, problem, train
from .table import setting


@setting("Shipping", "post-training int8, dynamic (torchao), of the folded network")
def int8() -> None:
    """the classifier's weight is int8; logits stay within 2 % of their range, 95 % of predictions stay"""
    model, (images, labels) = network(), problem()
    train(model, steps=60)
    stock = assert_folds(model)
    expected = stock(images)
    quantize_(stock, Int8DynamicActivationInt8WeightConfig())
    assert type(stock.fc.weight).__module__.startswith("torchao")
    logits = stock(images)
    assert not logits.equal(expected)
    assert (logits - expected).abs().max() < 0.02 * (expected.max() - expected.min())
    assert (logits.argmax(1) == expected.argmax(1)).float().mean() > 0.95
    assert logits.shape == (len(labels), CLASSES)


@setting("Shipping", "torch.export of the folded network, and of the enhanced one in evaluation mode")
def exported() -> None:
    """the exported programs give the same logits"""
    model, (images, _) = network(), problem()
    train(model, steps=5)
    stock: nn.Module = assert_folds(model)
    expected = stock(images)
    for network_ in (stock, model.eval()):
        program = torch.export.export(network_, (images,))
        torch.testing.assert_close(program.module()(images), expected, rtol=1e-4, atol=1e-5)
