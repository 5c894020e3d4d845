from __future__ import annotations

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.nn import functional as F

import ssfe.lab.models  # noqa: F401  (registers)
from ssfe.lab.models.cifar_resnet import CifarResNet, PadShortcut
from ssfe.lab.models.wide_resnet import WideResNet

DEPTHS = (20, 32, 56, 110)
SMALL = ("cifar_resnet20", "wrn_16_4")


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def resnet_parameters(depth: int, classes: int) -> int:
    """Section 4.2 of the paper, by hand: 3x3 convolutions, two batch-norm numbers per channel, a linear layer."""
    blocks = (depth - 2) // 6
    total = 9 * 3 * 16 + 2 * 16
    before = 16
    for width in (16, 32, 64):
        total += 9 * before * width + (2 * blocks - 1) * 9 * width * width + 2 * blocks * 2 * width
        before = width
    return total + 64 * classes + classes


def wrn_parameters(depth: int, k: int, classes: int) -> int:
    blocks = (depth - 4) // 6
    total = 9 * 3 * 16
    before = 16
    for width in (16 * k, 32 * k, 64 * k):
        total += 9 * before * width + (2 * blocks - 1) * 9 * width * width
        total += 2 * before + (2 * blocks - 1) * 2 * width  # norms come before the convolutions
        total += before * width  # 1x1 shortcut
        before = width
    return total + 2 * before + before * classes + classes


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (56, 0.85), (110, 1.7)])
def test_resnets_have_the_papers_parameter_counts(depth: int, millions: float) -> None:
    total = count(timm.create_model(f"cifar_resnet{depth}", num_classes=10))
    assert total == resnet_parameters(depth, 10)
    assert round(total / 1e6, 1 if depth == 110 else 2) == millions


@pytest.mark.parametrize(("depth", "k", "millions"), [(16, 4, 2.7), (28, 10, 36.5)])
def test_wide_resnets_have_the_papers_parameter_counts(depth: int, k: int, millions: float) -> None:
    with torch.device("meta"):
        total = count(timm.create_model(f"wrn_{depth}_{k}", num_classes=10))
    assert total == wrn_parameters(depth, k, 10)
    assert round(total / 1e6, 1) == millions


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_name_counts_the_layers_with_weights(depth: int) -> None:
    layers = [m for m in timm.create_model(f"cifar_resnet{depth}").modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == depth


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [8, 28, 32, 33])
@pytest.mark.parametrize("channels", [1, 3])
def test_forward_and_backward(name: str, size: int, channels: int) -> None:
    model = timm.create_model(name, num_classes=7, in_chans=channels)
    images = torch.randn(2, channels, size, size)
    side = -(-size // 4)
    assert model.forward_features(images).shape == (2, model.num_features, side, side)
    logits = model(images)
    assert logits.shape == (2, 7)
    F.cross_entropy(logits, torch.tensor([0, 6])).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_head(name: str) -> None:
    model = timm.create_model(name, num_classes=7, global_pool="catavgmax").eval()
    images = torch.randn(2, 3, 32, 32)
    assert model.head_hidden_size == 2 * model.num_features
    pooled = model.forward_head(model.forward_features(images), pre_logits=True)
    assert pooled.shape == (2, model.head_hidden_size)
    torch.testing.assert_close(model.get_classifier()(pooled), model(images))


@pytest.mark.parametrize("name", SMALL)
def test_reset_classifier(name: str) -> None:
    model = timm.create_model(name, num_classes=7, drop_rate=0.5).double().eval()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    model.reset_classifier(3)
    assert model.num_classes == 3
    assert not model.get_classifier().training
    assert model(images).shape == (2, 3)
    model.reset_classifier(4, "max")
    assert model(images).shape == (2, 4)
    model.reset_classifier(0)
    assert isinstance(model.get_classifier(), nn.Identity)
    assert model(images).shape == (2, model.num_features)
    model.reset_classifier(0, "")
    assert model(images).shape == (2, model.num_features, 2, 2)


@pytest.mark.parametrize("name", SMALL)
def test_drop_rate_acts_in_training_only(name: str) -> None:
    model = timm.create_model(name, drop_rate=0.5)
    features = torch.ones(2, model.num_features, 2, 2)
    dropped = model.forward_head(features, pre_logits=True)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(model.eval().forward_head(features, pre_logits=True), torch.ones(2, model.num_features))


def test_block_dropout_of_wide_resnets() -> None:
    model = timm.create_model("wrn_16_4", block_drop_rate=0.3)
    images = torch.randn(2, 3, 8, 8)
    assert not torch.equal(model(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


@pytest.mark.parametrize("name", SMALL)
def test_gradient_checkpointing_changes_no_gradient(name: str) -> None:
    model = timm.create_model(name, num_classes=7).eval()
    images = torch.randn(2, 3, 16, 16)
    model(images).square().sum().backward()
    plain = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    model.set_grad_checkpointing()
    model(images).square().sum().backward()
    for parameter, grad in zip(model.parameters(), plain, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


@pytest.mark.parametrize("name", SMALL)
def test_feature_info_names_the_stages(name: str) -> None:
    images = torch.randn(1, 3, 32, 32)
    whole = timm.create_model(name)
    maps = timm.create_model(name, features_only=True)(images)
    assert [info["module"] for info in whole.feature_info] == ["layer1", "layer2", "layer3"]
    for info, features in zip(whole.feature_info, maps, strict=True):
        whole.get_submodule(info["module"])
        side = 32 // info["reduction"]
        assert features.shape == (1, info["num_chs"], side, side)


@pytest.mark.parametrize("name", SMALL)
def test_layer_wise_rates_grow_from_stem_to_head(name: str) -> None:
    model = timm.create_model(name)
    groups = param_groups_layer_decay(model, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    stem, middle, head = model.stem.conv.weight, model.layer2[0].conv1.weight, model.fc.weight
    assert scale[id(stem)] < scale[id(middle)] < scale[id(head)] == 1.0


def test_configuration_is_that_of_cifar() -> None:
    model = timm.create_model("cifar_resnet20")
    assert model.num_classes == 10
    assert model.pretrained_cfg["input_size"] == (3, 32, 32)
    assert isinstance(model.get_submodule(model.pretrained_cfg["first_conv"]), nn.Conv2d)
    assert model.get_submodule(model.pretrained_cfg["classifier"]) is model.get_classifier()
    assert {"cifar_resnet20", "cifar_resnet110"} <= set(timm.list_models("cifar_resnet*"))


def test_pad_shortcut_subsamples_and_pads_with_zeros() -> None:
    x = torch.randn(2, 3, 5, 4)
    out = PadShortcut(2, 2)(x)
    assert out.shape == (2, 5, 3, 2)
    assert torch.equal(out[:, :3], x[:, :, ::2, ::2])
    assert out[:, 3:].count_nonzero() == 0


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [28, 30])  # maps of odd side within
def test_channels_last_is_kept(name: str, size: int) -> None:
    model = timm.create_model(name).to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, size, size).to(memory_format=torch.channels_last)
    assert model.forward_features(images).is_contiguous(memory_format=torch.channels_last)


def test_convolutions_are_he_initialised() -> None:
    weight = timm.create_model("wrn_16_4").layer3[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("depth", [2, 19, 21])
def test_resnet_depths(depth: int) -> None:
    with pytest.raises(ValueError, match=rf"6n \+ 2 .* not {depth}"):
        CifarResNet(depth)


def test_wide_resnet_depths() -> None:
    with pytest.raises(ValueError, match=r"6n \+ 4 .* not 20"):
        WideResNet(20, 2)
    assert WideResNet(10, 1)(torch.randn(2, 3, 8, 8)).shape == (2, 10)
