"""The folder, loaded by timm's own code."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssfe.lab.data import Preprocessing
from ssfe.lab.export import hf_folder
from ssfe.lab.export.hf_folder import _crop
from ssfe.lab.export.shipment import Shipment


def reloaded(shipment: Shipment, folder: Path) -> Any:
    hf_folder.write(shipment, folder)
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


@pytest.mark.parametrize(
    ("name", "size", "arguments"),
    [
        ("resnet18", 64, {}),
        ("resnet10t.c3_in1k", 64, {"drop_rate": 0.1}),
        ("resnet10t", 32, {"channels": 1}),
        ("vit_tiny_patch16_224", 32, {"img_size": 32, "patch_size": 8, "depth": 2}),
        ("cifar_resnet20", 8, {"channels": 1}),
        ("small_stem", 32, {"base": "resnet10t"}),
        ("small_stem", 32, {"base": "resnet18", "channels": 1}),
    ],
)
def test_timm_loads_the_same_network(
    name: str, size: int, arguments: dict[str, Any], ship_random: Any, tmp_path: Path
) -> None:
    shipment: Shipment = ship_random(name, size, **arguments)
    network = reloaded(shipment, tmp_path / "folder")
    images = torch.randint(256, (4, *shipment.image_shape), dtype=torch.uint8)
    inputs = shipment.inputs(images)
    with torch.no_grad():
        assert network(inputs).equal(shipment.network(inputs))
    assert type(network) is type(shipment.network)
    assert tuple(network.pretrained_cfg["label_names"]) == ("cat", "dog", "emu")
    settings = timm.data.resolve_model_data_config(network)
    preprocessing = shipment.card.preprocessing
    assert tuple(settings["input_size"]) == shipment.image_shape
    assert tuple(settings["mean"]) == preprocessing.mean
    assert tuple(settings["std"]) == preprocessing.std
    assert settings["interpolation"] == preprocessing.interpolation


def test_a_saved_small_stem_can_be_tuned_to_other_classes(ship_random: Any, tmp_path: Path) -> None:
    shipment: Shipment = ship_random("small_stem", 32, base="resnet10t")
    hf_folder.write(shipment, tmp_path / "folder")
    network = timm.create_model(f"local-dir:{tmp_path / 'folder'}", pretrained=True, num_classes=7).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert network(images).shape == (2, 7)
        assert network.forward_features(images).equal(shipment.network.forward_features(images))


@pytest.mark.parametrize(("resize", "mode"), [(None, "RGB"), (36, "RGB"), (None, "L")])
def test_timms_preprocessing_is_the_runs(resize: int | None, mode: str, ship_random: Any, tmp_path: Path) -> None:
    channels = len(mode) if mode == "RGB" else 1
    shipment: Shipment = ship_random("resnet10t", 32, channels=channels)
    preprocessing = replace(shipment.card.preprocessing, resize=resize, interpolation="bicubic")
    shipment = replace(shipment, card=replace(shipment.card, preprocessing=preprocessing))
    settings = timm.data.resolve_model_data_config(reloaded(shipment, tmp_path / "folder"))
    transform = timm.data.create_transform(**settings)
    for shape in ((32, 32), (60, 47), (47, 60)):
        # Smooth, as photographs are.
        noise = torch.rand(1, channels, 6, 6)
        pixels = torch.nn.functional.interpolate(noise, shape, mode="bicubic").clamp(0, 1).mul(255).byte()[0]
        image = PIL.Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).numpy())
        ours = preprocessing.normalize(preprocessing.eval_transform()(pixels)[None])[0]
        # Pillow and torchvision round differently where they resize: at most a level or two of 255.
        level = 1 / 255 / min(preprocessing.std)
        allowed = 1e-5 if shape == (32, 32) and resize is None else 2.01 * level
        torch.testing.assert_close(transform(image), ours, rtol=0, atol=allowed)


@given(size=st.integers(1, 512), more=st.integers(0, 300))
def test_timm_resizes_to_the_runs_length(size: int, more: int) -> None:
    preprocessing = Preprocessing(size, 1, size + more, "bilinear", (0.5,), (0.5,))
    share = _crop(preprocessing)["crop_pct"]
    assert math.floor(size / share) == size + more
    assert share == pytest.approx(size / (size + more))
