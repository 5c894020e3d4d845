"""Fine-tuning parts of a network, and noise inside it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from timm.layers import DropPath
from torch import Tensor, nn

from ssfe import enhance, fold
from tests.reference.networks import TinyNet

from .small import CLASSES, assert_folds, assert_learns, joint_logits, network, problem, train
from .table import setting


@setting("Fine-tuning", "frozen backbone (linear probe)")
def frozen_backbone() -> None:
    """the backbone's weights stay bit for bit, the joint classifier's change; the loss falls"""
    model = network()
    model.stem.requires_grad_(False)
    before = copy.deepcopy(model)
    assert_learns(train(model, steps=80))
    for name, parameter in model.named_parameters():
        assert parameter.equal(before.get_parameter(name)) == name.startswith("stem")
    assert_folds(model)


def _lora(model: nn.Module, **options: Any) -> Any:
    return get_peft_model(model, LoraConfig(r=2, target_modules=["stem.0"], **options))


@setting("Fine-tuning", "LoRA on the tapped module", refused="leave this module out of target_modules, or tap the")
def lora_on_the_tap() -> None:
    """what the adapter adds would miss the views"""
    train(_lora(enhance(TinyNet(CLASSES), tap="stem.0")))


@setting(
    "Fine-tuning",
    "LoRA (peft)",
    note="enhance, then `get_peft_model` without `modules_to_save`, then "
    "`model.fc.requires_grad_(True)`; at the end `fold(peft_model.merge_and_unload())`",
)
def lora() -> None:
    """base weights stay, adapter and joint classifier change; merged and folded it is the stock network"""
    model = network()
    stem, classifier = model.stem[0].weight.detach().clone(), model.fc.weight.detach().clone()
    adapted = _lora(model)
    model.fc.requires_grad_(True)
    assert_learns(train(adapted, steps=60))
    images, _ = problem()
    logits = adapted.eval()(images)
    assert model.stem[0].base_layer.weight.equal(stem)
    assert not model.fc.weight.equal(classifier)
    assert model.stem[0].lora_B["default"].weight.any()
    stock = fold(adapted.merge_and_unload()).eval()
    assert stock.state_dict().keys() == TinyNet().state_dict().keys()
    assert not stock.stem[0].weight.equal(stem)
    torch.testing.assert_close(stock(images), logits, rtol=1e-4, atol=1e-4)


@setting(
    "Fine-tuning",
    'LoRA with modules_to_save=["fc"], the joint classifier',
    refused="peft's modules_to_save makes one, so leave the joint classifier out of it and unfreeze it",
)
def lora_modules_to_save() -> None:
    """peft would train a copy that the network knows nothing of"""
    train(_lora(network(), modules_to_save=["fc"]))


@setting("Regularisation", "dropout before the classifier")
def dropout() -> None:
    """noise in training only; the loss falls"""
    model, (images, _) = network(dropout=0.3), problem()
    assert not joint_logits(model(images)).equal(joint_logits(model(images)))
    assert_learns(train(model, steps=40))
    assert model.eval()(images).equal(model(images))
    assert_folds(model)


class ResidualNet(nn.Module):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, stride=2), nn.ReLU())
        self.branch = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.ReLU())
        self.drop_path = DropPath(rate)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        return self.head((x + self.drop_path(self.branch(x))).mean((2, 3)))


@setting("Regularisation", "stochastic depth (timm's DropPath)")
def stochastic_depth() -> None:
    """a branch is dropped for whole images, alike in all their views; the loss falls"""
    torch.manual_seed(0)
    model, (images, _) = enhance(ResidualNet(0.5)), problem()
    whole = copy.deepcopy(model)
    whole.drop_path.drop_prob = 0.0
    changed = (model(images).logits != whole(images).logits).flatten(2).any(-1)
    assert changed.all(1).equal(changed.any(1)), "all views of an image or none"
    assert_learns(train(model, steps=40), 0.8)
    assert_folds(model)
