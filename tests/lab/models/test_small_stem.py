from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import ssfe.lab.models  # noqa: F401  (registers)
from ssfe.lab.errors import UserError
from ssfe.lab.models.small_stem import patch_arguments
from ssfe.lab.models.stem_surgery import adapt_stem, feature_list

IMAGES = torch.randn(1, 3, 32, 32)


def last_map(model: nn.Module) -> Tensor:
    with torch.no_grad():
        features: Tensor = model.eval().forward_features(IMAGES)
    return features


@pytest.mark.parametrize(
    ("base", "side"),
    [
        ("resnet18", 4),
        ("resnet26t", 4),  # three convolutions in the stem
        ("resnetrs50", 4),  # a learned pooling
        ("resnetblur18", 4),  # max-pool and blur
        ("legacy_seresnet18", 4),
        ("densenet121", 4),
        ("efficientnet_b0", 2),
        ("tf_efficientnet_lite0", 2),  # convolutions that pad in forward
        ("mobilenetv3_large_100", 2),
        ("regnety_004", 2),
        ("convnext_atto", 4),
        ("resnetv2_50", 4),
        ("resnetv2_50x1_bit", 4),  # pads apart from its pooling
        ("ese_vovnet19b_dw", 4),  # two strided convolutions
    ],
)
def test_feature_maps_are_larger(base: str, side: int) -> None:
    model = timm.create_model("small_stem", base=base, num_classes=10)
    features = last_map(model)
    assert features.shape[-2:] == (side, side)
    assert max(last_map(timm.create_model(base)).shape[-2:]) < side
    assert model(IMAGES).shape == (1, 10)
    last = feature_list(model)[-1]
    assert 32 // last["reduction"] == side


@pytest.mark.parametrize("base", ["resnet18", "densenet121", "efficientnet_b0", "convnext_atto"])
def test_every_reduction_is_true(base: str) -> None:
    model = timm.create_model("small_stem", base=base).eval()
    sides: dict[str, int] = {}
    for info in feature_list(model):
        name = info["module"]

        def keep(_: nn.Module, __: Any, output: Tensor, name: str = name) -> None:
            sides[name] = output.shape[-1]

        model.get_submodule(name).register_forward_hook(keep)
    with torch.no_grad():
        model(IMAGES)
    assert sides == {info["module"]: 32 // info["reduction"] for info in feature_list(model)}


def test_resnet_gets_the_usual_stem() -> None:
    model = timm.create_model("small_stem", base="resnet18", num_classes=100, in_chans=1, drop_rate=0.1)
    assert (model.conv1.kernel_size, model.conv1.stride, model.conv1.padding) == ((3, 3), (1, 1), (1, 1))
    assert model.conv1.weight.shape == (64, 1, 3, 3)
    assert model.conv1.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.15)
    assert isinstance(model.maxpool, nn.Identity)
    assert model.drop_rate == 0.1
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 100)


def test_other_arguments_of_create_model_are_left_alone() -> None:
    model = timm.create_model("small_stem", base="resnet18", global_pool=None, exportable=True, drop_path_rate=0.1)
    assert model.global_pool.pool_type == "avg"
    assert model.pretrained_cfg["architecture"] == "resnet18"


def test_convolutions_keep_their_padding_rule() -> None:
    same = timm.create_model("small_stem", base="tf_efficientnet_lite0")
    assert same.conv_stem.kernel_size == (3, 3)
    with torch.no_grad():
        assert same.conv_stem(IMAGES).shape[-2:] == (32, 32)
    weight_standardised = timm.create_model("small_stem", base="resnetv2_50x1_bit")
    with torch.no_grad():
        assert weight_standardised.stem(IMAGES).shape[-2:] == (32, 32)


def pretrained_file(base: str, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A network with known weights, and the overlay with which timm loads them as its pretrained ones."""
    source = timm.create_model(base, num_classes=10)
    path = folder / "weights.pth"
    torch.save(source.state_dict(), path)
    return source, {"file": str(path), "num_classes": 10}


@pytest.mark.parametrize(("base", "fresh"), [("resnet18", {"conv1.weight"}), ("mobilenetv3_small_050", set())])
def test_pretrained_weights_stay_where_they_fit(base: str, fresh: set[str], tmp_path: Path) -> None:
    source, overlay = pretrained_file(base, tmp_path)
    model = timm.create_model("small_stem", base=base, pretrained=True, num_classes=10, pretrained_cfg_overlay=overlay)
    before, after = source.state_dict(), model.state_dict()
    assert before.keys() == after.keys()
    changed = {
        key for key in before if before[key].shape != after[key].shape or not torch.equal(before[key], after[key])
    }
    assert changed == fresh


def test_a_checkpoint_of_the_adapted_network_loads(tmp_path: Path) -> None:
    source = timm.create_model("small_stem", base="resnet18", num_classes=10)
    torch.save(source.state_dict(), tmp_path / "small.pth")
    model = timm.create_model("small_stem", base="resnet18", num_classes=10, checkpoint_path=tmp_path / "small.pth")
    assert torch.equal(model.conv1.weight, source.conv1.weight)


def test_vision_transformers_get_smaller_patches() -> None:
    model = timm.create_model("small_stem", base="vit_tiny_patch16_224", img_size=32, num_classes=10)
    assert model.patch_embed.grid_size == (8, 8)
    assert last_map(model).shape == (1, 65, 192)
    assert model(IMAGES).shape == (1, 10)


def test_an_explicit_patch_size_wins() -> None:
    model = timm.create_model("small_stem", base="vit_tiny_patch16_224", img_size=32, patch_size=8)
    assert model.patch_embed.grid_size == (4, 4)


@pytest.mark.parametrize(("size", "patch"), [(8, 1), (28, 4), (32, 4), (31, 1), (48, 6), (64, 8)])
def test_patches_divide_the_image(size: int, patch: int) -> None:
    vit = timm.create_model("vit_tiny_patch16_224", depth=1)
    assert patch_arguments(vit, size) == {"img_size": size, "patch_size": patch}


@pytest.mark.parametrize(("size", "patch"), [(32, 1), (64, 2)])
def test_hierarchical_transformers_start_from_a_finer_grid(size: int, patch: int) -> None:
    swin = timm.create_model("swin_tiny_patch4_window7_224", embed_dim=6, num_heads=(1, 1, 1, 1))
    assert patch_arguments(swin, size) == {"img_size": size, "patch_size": patch}


@pytest.mark.parametrize("base", ["darknet17", "dla34", "cifar_resnet20"])
def test_networks_that_keep_the_resolution_come_unchanged(base: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(base)
        assert adapt_stem(model) is None
        adapted = timm.create_model("small_stem", base=base)
    assert str(adapted) == str(model)


def test_the_change_is_told() -> None:
    resnet = adapt_stem(timm.create_model("resnet18"))
    assert str(resnet) == "3x3 stride 1 in place of 7x7 stride 2, no max-pool"
    assert resnet is not None
    assert resnet.fresh
    efficientnet = adapt_stem(timm.create_model("efficientnet_lite0"))
    assert str(efficientnet) == "3x3 stride 1 in place of 3x3 stride 2"
    assert efficientnet is not None
    assert not efficientnet.fresh


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "small_stem needs the name of another network"),
        ({"base": "small_stem"}, "small_stem needs the name of another network"),
        ({"base": "resnet81"}, "there is no model 'resnet81': did you mean resnet18"),
        ({"base": "vit_tiny_patch16_224"}, "small_stem of vit_tiny_patch16_224 needs img_size"),
        ({"base": "repvgg_a0"}, "looked for one first convolution, found .*conv_kxk"),
        ({"base": "tresnet_m"}, "first convolution body.conv1.conv has stride 1"),
        ({"base": "pit_ti_224", "img_size": 32}, "patch_embed.conv has stride . whatever patch_size says"),
        ({"base": "mixer_s32_224", "img_size": 32}, "takes no patch_size"),
    ],
)
def test_what_cannot_be_adapted(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        timm.create_model("small_stem", **arguments)


def test_wrong_arguments_of_the_base_are_not_hidden() -> None:
    with pytest.raises(TypeError, match="'nonsense'"):
        timm.create_model("small_stem", base="resnet18", nonsense=1)
    with pytest.raises(TypeError, match="'nonsense'"):
        timm.create_model("small_stem", base="vit_tiny_patch16_224", img_size=32, nonsense=1)
