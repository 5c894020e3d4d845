"""Real networks: enhanced, trained for a step, folded."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from ssfe import ChannelDiscard, JointLogits, JointLoss, enhance, fold
from ssfe.enhance import joint_classifier

CLASSES = 3
NETWORKS: list[tuple[str, str, dict[str, Any]]] = [
    ("timm", "resnet18", {}),
    ("timm", "resnet50", {}),
    ("timm", "convnext_tiny", {}),
    ("timm", "mobilenetv3_large_100", {}),
    ("timm", "efficientnet_b0", {}),
    ("timm", "densenet121", {}),
    ("timm", "vgg16_bn", {"mlp_ratio": 1 / 16}),
    ("timm", "resnetv2_50", {}),
    ("timm", "regnety_004", {}),
    ("timm", "vit_tiny_patch16_224", {"img_size": 32}),
    ("torchvision", "resnet18", {}),
    ("torchvision", "vgg11_bn", {"init_weights": False}),
    ("torchvision", "squeezenet1_1", {}),
    ("torchvision", "densenet121", {}),
]


def create(library: str, name: str, options: dict[str, Any]) -> nn.Module:
    if library == "timm":
        return timm.create_model(name, num_classes=CLASSES, **options)
    return torchvision.models.get_model(name, num_classes=CLASSES, **options)


@pytest.mark.parametrize(("library", "name", "options"), NETWORKS, ids=lambda v: v if isinstance(v, str) else "")
def test_there_and_back(library: str, name: str, options: dict[str, Any]) -> None:
    stock = create(library, name, options).eval()
    stock_class = [type(module) for module in stock.modules()]
    weights = {key: value.clone() for key, value in stock.state_dict().items()}
    parameters = dict(stock.named_parameters())
    x, labels = torch.randn(2, 3, 32, 32), torch.tensor([0, 2])
    with torch.no_grad():
        expected = stock(x)

    model = enhance(stock, ChannelDiscard(identity=True), distill=True)
    joint = joint_classifier(model)
    own = {id(p) for p in joint.parameters()}
    for key, parameter in model.named_parameters():
        assert id(parameter) in own or (parameter is parameters[key] and parameter.equal(weights[key]))
    with torch.no_grad():
        for inference in ("aggregated", "single", "distilled"):
            joint.inference = inference  # type: ignore[assignment]
            torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)

    output = model.train()(x)
    assert isinstance(output, JointLogits)
    assert output.logits.shape == (2, 4, CLASSES, 4)
    assert output.distilled is not None
    assert output.distilled.shape == (2, CLASSES)
    JointLoss()(output, labels).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters()), "none is unused"
    # Batch norm over two values has enormous gradients.
    nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    torch.optim.SGD(model.parameters(), 0.1).step()
    model.zero_grad()  # not copied by fold

    model.eval()
    for inference in ("aggregated", "single", "distilled"):
        joint.inference = inference  # type: ignore[assignment]
        folded = fold(model)
        assert [type(module) for module in folded.modules()] == stock_class
        state = folded.state_dict()
        assert {k: (v.shape, v.dtype) for k, v in state.items()} == {k: (v.shape, v.dtype) for k, v in weights.items()}
        with torch.no_grad():
            torch.testing.assert_close(folded(x), model(x), rtol=1e-5, atol=1e-5)


def test_auxiliary_outputs() -> None:
    model = torchvision.models.googlenet(num_classes=CLASSES, aux_logits=True, init_weights=False)
    enhance(model)
    with pytest.raises(TypeError, match=r"GoogLeNet returned GoogLeNetOutputs .*switch off auxiliary outputs"):
        model(torch.randn(2, 3, 64, 64))
    single = torchvision.models.googlenet(num_classes=CLASSES, aux_logits=False, init_weights=False)
    output = enhance(copy.deepcopy(single))(torch.randn(2, 3, 64, 64))
    assert output.logits.shape == (2, 4, CLASSES, 4)
