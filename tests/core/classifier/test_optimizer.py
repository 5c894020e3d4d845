from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from ssfe import JointLoss, check_optimizer, enhance
from ssfe.core.classifier import optimizer
from tests.reference.networks import DeepNet, TinyNet


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
    own = torch.optim.SGD(model.fc.parameters(), 0.1)
    check_optimizer(model, own)
    check_optimizer(nn.DataParallel(model), own)
    check_optimizer(torch.compile(model), own)
    with pytest.raises(ValueError, match=r"_orig_mod\.fc\.weight"):
        check_optimizer(torch.compile(model), torch.optim.SGD(model.stem.parameters(), 0.1))


def test_several_optimizers_may_share_a_network() -> None:
    model = enhance(TinyNet())
    stem, head = torch.optim.SGD(model.stem.parameters(), 0.1), torch.optim.AdamW(model.fc.parameters())
    check_optimizer(model, stem, head)
    with pytest.raises(ValueError, match=r"\(SGD\) lacks the joint classifier's fc\.weight, fc\.bias\."):
        check_optimizer(model, stem)
    with pytest.raises(ValueError, match=r"\(SGD, SGD\) lacks"):
        check_optimizer(model, stem, stem)


def test_a_network_that_is_not_enhanced() -> None:
    model = TinyNet()
    with pytest.raises(ValueError, match=r"TinyNet holds no joint classifier: call ssfe\.enhance"):
        check_optimizer(model, torch.optim.SGD(model.parameters(), 0.1))


@pytest.mark.parametrize("tap", [None, "layer1"])
def test_a_step_of_an_optimizer_built_before_is_refused(tap: str | None) -> None:
    stock = DeepNet()
    before = torch.optim.SGD(stock.parameters(), 0.1)
    model = enhance(stock, tap=tap)
    before.step()  # nothing is lost yet
    JointLoss()(model(torch.randn(4, 3, 8, 8)), torch.arange(4)).backward()
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"\(SGD\) lacks the joint classifier's weight and holds that of"):
        before.step()
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    after = torch.optim.SGD(model.parameters(), 0.1)
    after.step()
    assert not torch.equal(model.fc.weight, weights["fc.weight"])


def test_a_gradient_of_plain_steps_before_is_nobody_elses() -> None:
    """Loops that zero gradients in place, or the network's alone, would keep it for ever."""
    model, x, labels = TinyNet(), torch.randn(4, 3, 8, 8), torch.arange(4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    torch.nn.functional.cross_entropy(model(x), labels).backward()
    optimizer.step()
    enhance(model)
    model.zero_grad()
    JointLoss()(model(x), labels).backward()
    with pytest.raises(ValueError, match=r"\(SGD\) lacks the joint classifier's weight"):
        optimizer.step()


def test_optimizers_of_other_networks_and_of_parts_are_left_alone() -> None:
    model, other = enhance(TinyNet()), TinyNet()
    JointLoss()(model(torch.randn(4, 3, 8, 8)), torch.arange(4)).backward()
    torch.optim.SGD(other.parameters(), 0.1).step()
    torch.optim.SGD(model.stem.parameters(), 0.1).step()


def test_replaced_parameters_are_forgotten_with_their_owner() -> None:
    stock = TinyNet()
    held = stock.fc.weight
    key = id(held)
    enhance(stock)
    assert key in optimizer._replaced
    del held
    gc.collect()
    assert key not in optimizer._replaced


def test_somebody_else_may_go_on_training_the_stock_classifier() -> None:
    """A baseline beside the enhanced network, with the same head before."""
    baseline, model = TinyNet(), TinyNet()
    baseline.fc = model.fc
    enhance(model)
    optimizer = torch.optim.SGD(baseline.parameters(), 0.1)
    before, x, labels = baseline.fc.weight.clone(), torch.randn(4, 3, 8, 8), torch.arange(4)
    JointLoss()(model(x), labels).backward()
    torch.nn.functional.cross_entropy(baseline(x), labels).backward()
    optimizer.step()
    assert not torch.equal(baseline.fc.weight, before)
