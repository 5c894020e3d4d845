from __future__ import annotations

import pytest
import torch
from torch import nn

from ssfe import check_optimizer, enhance

from .reference.networks import DeepNet, TinyNet


def test_an_optimizer_built_before_is_told_apart_from_one_built_after() -> None:
    stock = TinyNet()
    before = torch.optim.SGD(stock.parameters(), 0.1)
    model = enhance(stock, distill=True)
    with pytest.raises(
        ValueError,
        match=r"lacks .* fc\.weight, fc\.bias, fc\.distilled\.weight, fc\.distilled\.bias and holds 2 that are no",
    ):
        check_optimizer(model, before)
    check_optimizer(model, torch.optim.SGD(model.parameters(), 0.1))


def test_part_of_the_joint_classifier() -> None:
    model = enhance(DeepNet(), tap="layer1")
    groups = [p for name, p in model.named_parameters() if name != "fc.bias"]
    with pytest.raises(ValueError, match=r"\(AdamW\) lacks the joint classifier's fc\.bias\. Build it after"):
        check_optimizer(model, torch.optim.AdamW(groups))
    model.fc.bias.requires_grad_(False)
    check_optimizer(model, torch.optim.AdamW(groups))


def test_a_frozen_backbone_and_wrappers_are_fine() -> None:
    model = enhance(TinyNet())
    model.stem.requires_grad_(False)
    optimizer = torch.optim.SGD(model.fc.parameters(), 0.1)
    check_optimizer(model, optimizer)
    check_optimizer(nn.DataParallel(model), optimizer)
    check_optimizer(torch.compile(model), optimizer)
    with pytest.raises(ValueError, match=r"_orig_mod\.fc\.weight"):
        check_optimizer(torch.compile(model), torch.optim.SGD(model.stem.parameters(), 0.1))


def test_a_network_that_is_not_enhanced() -> None:
    model = TinyNet()
    with pytest.raises(ValueError, match=r"TinyNet holds no joint classifier: call ssfe\.enhance"):
        check_optimizer(model, torch.optim.SGD(model.parameters(), 0.1))
