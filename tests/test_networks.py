"""Real networks: enhanced, trained for a step, folded."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from ssfe import (
    ChannelDiscard,
    JointLogits,
    JointLoss,
    QuarterTurns,
    RegionDiscard,
    Transformation,
    enhance,
    fold,
    joint_evaluation,
)
from ssfe.core.enhanced import joint_classifiers
from ssfe.core.network.surgery import find_classifiers
from ssfe.core.tap.tapped_classifier import TappedClassifier

CLASSES = 3
TWO_HEADED = ("deit", "levit", "volo")
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
    ("timm", "deit_tiny_distilled_patch16_224", {"img_size": 32, "depth": 2}),
    ("timm", "levit_128s", {"img_size": 32}),
    ("timm", "volo_d1_224", {"img_size": 32}),
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
    with torch.no_grad():
        for _, layer in find_classifiers(stock):
            layer.get_parameter("weight").normal_()  # some start at zero, and zero is equal to anything
    stock_class = [type(module) for module in stock.modules()]
    weights = {key: value.clone() for key, value in stock.state_dict().items()}
    parameters = dict(stock.named_parameters())
    x, labels = torch.randn(2, 3, 32, 32), torch.tensor([0, 2])
    with torch.no_grad():
        expected = stock(x)

    model = enhance(stock, ChannelDiscard(identity=True), distill=True)
    joints = joint_classifiers(model)
    assert len(joints) == (2 if name.startswith(TWO_HEADED) else 1)
    own = {id(p) for joint in joints for p in joint.parameters()}
    for key, parameter in model.named_parameters():
        assert id(parameter) in own or (parameter is parameters[key] and parameter.equal(weights[key]))
    with torch.no_grad():
        for inference in ("aggregated", "single", "distilled"):
            for joint in joints:
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
        for joint in joints:
            joint.inference = inference  # type: ignore[assignment]
        folded = fold(model)
        assert [type(module) for module in folded.modules()] == stock_class
        state = folded.state_dict()
        assert {k: (v.shape, v.dtype) for k, v in state.items()} == {k: (v.shape, v.dtype) for k, v in weights.items()}
        with torch.no_grad():
            torch.testing.assert_close(folded(x), model(x), rtol=1e-5, atol=1e-5)


def test_auxiliary_classifiers() -> None:
    """As in torchvision's own training: a loss for each output, the auxiliary ones with less weight."""
    model = enhance(create("torchvision", "googlenet", {"aux_logits": True, "init_weights": False}))
    output = model(torch.randn(2, 3, 64, 64))
    assert type(output).__name__ == "GoogLeNetOutputs"
    assert isinstance(output.logits, JointLogits)
    assert output.logits.logits.shape == (2, 4, CLASSES, 4)
    main, *auxiliary = output
    labels, criterion = torch.tensor([0, 2]), JointLoss()
    assert all(logits.shape == (2, CLASSES) for logits in auxiliary)
    loss = criterion(main, labels) + 0.3 * sum(criterion(logits, labels) for logits in auxiliary)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_distillation_token_in_training() -> None:
    model = enhance(create("timm", "deit_tiny_distilled_patch16_224", {"img_size": 32, "depth": 1}), views="sampled")
    model.set_distilled_training(True)
    classes, teacher = model(torch.randn(2, 3, 32, 32))
    assert isinstance(classes, JointLogits)
    assert isinstance(teacher, JointLogits)
    assert classes.views.equal(teacher.views)
    assert not classes.logits.equal(teacher.logits)


def test_there_and_back_on_the_meta_device() -> None:
    with torch.device("meta"):
        stock = create("timm", "levit_128s", {"img_size": 32})
    shapes = {key: value.shape for key, value in stock.state_dict().items()}
    folded = fold(enhance(stock))
    assert {key: value.shape for key, value in folded.state_dict().items()} == shapes
    assert all(parameter.is_meta for parameter in folded.parameters())


TAPS: list[tuple[str, dict[str, Any], str, Transformation, int]] = [
    ("vit_tiny_patch16_224", {"img_size": 32, "depth": 2}, "blocks.0", ChannelDiscard(identity=True), 32),
    ("resnext50_32x4d", {"layers": (1, 1, 1, 1)}, "layer3", ChannelDiscard(identity=True), 32),
    ("regnety_002", {}, "s3", RegionDiscard(), 64),
    ("convnext_atto", {"depths": (1, 1, 1, 1)}, "stages.2", QuarterTurns(), 64),
    (
        "swin_tiny_patch4_window7_224",
        {"img_size": 56, "depths": (1, 1), "num_heads": (3, 6)},
        "layers.0",
        RegionDiscard(),
        56,
    ),
]


@pytest.mark.parametrize(("name", "options", "tap", "transform", "size"), TAPS, ids=[case[0] for case in TAPS])
def test_a_deeper_tap_is_one_pass_for_each_view(
    name: str, options: dict[str, Any], tap: str, transform: Transformation, size: int
) -> None:
    """Tokens, grouped convolutions, squeeze-and-excitation, maps with channels last: against a network of its own for
    each view, disturbed by hand."""
    torch.manual_seed(0)
    stock = timm.create_model(name, num_classes=CLASSES, **options).eval()
    x = torch.randn(2, 3, size, size)
    model = enhance(copy.deepcopy(stock), transform, tap=tap, example=x)
    (joint,) = joint_classifiers(model)
    assert isinstance(joint, TappedClassifier)
    nn.init.normal_(joint.weight)
    with joint_evaluation(model), torch.no_grad():
        logits = model(x).logits
    classifier = next(key for key, module in model.named_modules() if module is joint)
    for view in range(transform.transforms):
        network, features = copy.deepcopy(stock), []

        def disturb(_: nn.Module, args: Any, output: Tensor, view: int = view) -> Tensor:
            assert isinstance(joint, TappedClassifier)
            return transform.apply(output, joint.tap.shape.channel_dim, joint.tap.state, torch.full((2,), view))

        network.get_submodule(tap).register_forward_hook(disturb)
        network.get_submodule(classifier).register_forward_pre_hook(lambda _, args, kept=features: kept.append(args[0]))
        with torch.no_grad():
            network(x)
            expected = features[0].flatten(1) @ joint.weight.T + joint.bias
        torch.testing.assert_close(logits[:, view].flatten(1), expected, rtol=1e-4, atol=1e-5)
