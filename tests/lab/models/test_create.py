from __future__ import annotations

import json
from typing import Any

import pytest
import timm
import torch

from ssfe.lab.errors import UserError
from ssfe.lab.models import ModelSpec, build_model, choose_model


def choose(name: str | None, image_size: int = 32, **changes: Any) -> tuple[ModelSpec, str]:
    arguments: dict[str, Any] = {"channels": 3, "num_classes": 10, "pretrained": False, "model_args": {}}
    return choose_model(name, image_size=image_size, **(arguments | changes))


@pytest.mark.parametrize(
    ("size", "name"), [(8, "cifar_resnet20"), (64, "cifar_resnet20"), (65, "resnet18"), (224, "resnet18")]
)
def test_the_default_depends_on_the_images(size: int, name: str) -> None:
    spec, note = choose(None, size, channels=1)
    assert spec == ModelSpec(name, {"num_classes": 10, "in_chans": 1})
    assert note.startswith(f"{name} with the stem it has")


def test_small_images_change_the_stem() -> None:
    spec, note = choose("resnet18", 32, model_args={"drop_rate": 0.1})
    assert spec == ModelSpec("small_stem", {"base": "resnet18", "num_classes": 10, "in_chans": 3, "drop_rate": 0.1})
    assert note == (
        "small-image stem for resnet18: 3x3 stride 1 in place of 7x7 stride 2, no max-pool, because images are 32 px"
    )


def test_the_size_that_pretrained_weights_were_made_for_is_told() -> None:
    told = "; its pretrained weights were made for 384 px"
    assert choose("vit_tiny_patch16_384", 224, pretrained=True)[1].endswith(told)
    assert not choose("vit_tiny_patch16_384", 224)[1].endswith(told)
    assert choose("vit_tiny_patch16_384", 384, pretrained=True)[1].endswith("for images of 384 px")


def test_pretrained_is_noted_and_not_part_of_the_spec() -> None:
    spec, note = choose("resnet18", 32, pretrained=True)
    assert "pretrained" not in spec.kwargs
    assert note.endswith("; it starts from fresh weights")
    assert "fresh" not in choose("efficientnet_b0", 32, pretrained=True)[1]


def test_large_images_leave_the_stem() -> None:
    assert choose("resnet18", 65)[0] == ModelSpec("resnet18", {"num_classes": 10, "in_chans": 3})


def test_transformers_are_created_for_the_image_size() -> None:
    plain = {"num_classes": 10, "in_chans": 3}
    small, note = choose("vit_tiny_patch16_224", 32)
    assert small == ModelSpec("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 4, **plain})
    assert note == "patches of 4 px for vit_tiny_patch16_224, because images are 32 px"
    assert choose("vit_tiny_patch16_224", 96)[0].kwargs == {**plain, "img_size": 96}
    assert choose("vit_tiny_patch16_224", 224)[0].kwargs == plain
    assert choose("vit_tiny_patch16_224", 32, model_args={"patch_size": 8})[0].kwargs["patch_size"] == 8


@pytest.mark.parametrize("name", ["repvgg_a0", "mixer_s32_224"])
def test_without_a_known_stem_the_network_stays_and_the_note_warns(name: str) -> None:
    spec, note = choose(name, 64)
    assert spec.name == name
    assert note.startswith(f"warning: {name} keeps a stem made for larger images")
    assert "\n" not in note
    build_model(spec, 64)


def test_a_stem_that_keeps_the_resolution_is_no_cause_for_warning() -> None:
    spec, note = choose("darknet17", 32)
    assert spec.name == "darknet17"
    assert note == "darknet17 with the stem it has, which keeps the resolution of images of 32 px"


def test_small_stem_can_be_named() -> None:
    spec, _ = choose("small_stem", 32, model_args={"base": "resnet18"})
    assert spec == choose("resnet18", 32)[0]
    transformer, _ = choose("small_stem", 32, model_args={"base": "vit_tiny_patch16_224"})
    assert build_model(transformer, 32).patch_embed.grid_size == (8, 8)


def test_choosing_draws_no_random_numbers() -> None:
    before = torch.random.get_rng_state()
    choose("resnet18", 32)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50",
        "densenet121",
        "efficientnet_b0",
        "mobilenetv3_large_100",
        "regnety_004",
        "convnext_tiny",
        "resnetv2_50",
        "vit_tiny_patch16_224",
        "swin_tiny_patch4_window7_224",
        "resnet18.a1_in1k",
        "cifar_resnet20",
    ],
)
def test_timm_alone_loads_the_weights_with_the_spec_read_back(name: str) -> None:
    spec, _ = choose(name, 32, channels=1)
    model = build_model(spec, 32).eval()
    text = json.dumps(vars(spec))
    again = ModelSpec(**json.loads(text))
    assert again == spec
    stock = timm.create_model(again.name, **again.kwargs).eval()
    stock.load_state_dict(model.state_dict())
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(stock(images), model(images))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", "there is no model 'resnet81': did you mean resnet18"),
        ("ResNet-50", "did you mean resnet50"),
        ("hf-hub:timm/resnet18.a1_in1k", "did you mean resnet18.a1_in1k"),
        ("efficientnet", r"did you mean .*efficientnet_b"),
        ("qqqqqq", r"timm.list_models\(\) has the names"),
        ("resnet18.imagenet", r"no weights tagged 'imagenet': there are resnet18\."),
        ("cifar_resnet20.imagenet", "no weights tagged 'imagenet'"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "no pretrained weights for 'cifar_resnet20': .*resnet.* have some"),
        ("resnet10", "did you mean"),
        ("wrn_16_4", "no pretrained weights for 'wrn_16_4'"),
    ],
)
def test_pretrained_weights_that_do_not_exist(name: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose(name, pretrained=True)


@pytest.mark.parametrize(
    ("model_args", "message"),
    [
        ({"num_classes": 3}, "may not set 'num_classes': the number of classes comes from the data"),
        ({"pretrained": True}, "may not set 'pretrained': use the option pretrained"),
        ({"features_only": True}, "may not set 'features_only'"),
        ({"act_layer": torch.nn.ReLU}, "must be numbers, text, lists and true/false"),
        ({"drop_ratio": 0.1}, "resnet18 takes no 'drop_ratio': did you mean 'drop_rate'?"),
        ({"qqqqqq": 0.1}, "resnet18 takes no 'qqqqqq': it takes block, layers, .*drop_rate"),
        ({"layers": [1, 1, 1, 1]}, None),
        ({"global_pool": "median"}, r"resnet18 cannot be built with global_pool='median': "),
    ],
)
@pytest.mark.parametrize("size", [32, 224])
def test_wrong_arguments(model_args: dict[str, Any], message: str | None, size: int) -> None:
    if message is None:
        spec, _ = choose("resnet18", size, model_args=model_args)
        assert len(build_model(spec, size).layer1) == 1
        return
    with pytest.raises(UserError, match=message):
        build_model(choose("resnet18", size, model_args=model_args)[0], size)


def test_arguments_a_network_sets_itself() -> None:
    with pytest.raises(UserError, match="'depth' is set by cifar_resnet20 itself"):
        choose("cifar_resnet20", model_args={"depth": 8})


def test_an_unknown_name_in_a_spec() -> None:
    with pytest.raises(UserError, match="there is no model"):
        build_model(ModelSpec("resnet81", {}), 32)


@pytest.mark.parametrize(
    ("spec", "size", "message"),
    [
        (ModelSpec("vit_tiny_patch16_224"), 32, r"does not take images of 32 px \(.+\): image_size 224 works"),
        (ModelSpec("vit_tiny_patch16_224", {"img_size": 96}), 64, "image_size 96 works"),
        (ModelSpec("crossvit_tiny_240", {"img_size": 32}), 32, "image_size 240 works"),
        (ModelSpec("inception_v3"), 32, r"does not take images of 32 px \(.+\): image_size 96 works"),
        (ModelSpec("small_stem", {"base": "halonet26t"}), 48, r"halonet26t does not take .*: image_size 64 works"),
        (ModelSpec("small_stem", {"base": "inception_v3"}), 8, "inception_v3 does not take .*: image_size 32 works"),
    ],
)
def test_images_a_network_does_not_take(spec: ModelSpec, size: int, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build_model(spec, size)
    assert "\n" not in str(caught.value)


def test_a_network_without_logits_is_no_classifier() -> None:
    with pytest.raises(UserError, match=r"ResNet is no classifier: of two images it makes \(2, 512\), not \(2, 0\)"):
        build_model(ModelSpec("resnet18", {"num_classes": 0}), 32)
    with pytest.raises(UserError, match="it makes a list"):
        build_model(ModelSpec("resnet18", {"features_only": True}), 32)


def test_the_trial_leaves_no_trace() -> None:
    model = build_model(ModelSpec("cifar_resnet20"), 8)
    assert model.training
    assert model.layer1[0].bn1.num_batches_tracked == 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("the hub is out of reach\nmore")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    spec, _ = choose("resnet18", 224, pretrained=True)
    with pytest.raises(UserError, match=r"weights of resnet18 could not be loaded \(the hub is out of reach\): check"):
        build_model(spec, 224, pretrained=True)


def test_pretrained_weights_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    source = timm.create_model("resnet18")

    def hub(*_: Any, **__: Any) -> dict[str, torch.Tensor]:
        return {key: value.clone() for key, value in source.state_dict().items()}

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", hub)
    spec, _ = choose("resnet18", 32, channels=1, pretrained=True)
    model = build_model(spec, 32, pretrained=True)
    assert torch.equal(model.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert model.conv1.weight.shape == (64, 1, 3, 3)
    assert model.fc.out_features == 10
