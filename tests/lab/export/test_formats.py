"""Each file, opened with the library that others would open it with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ssfe import __version__
from ssfe.lab.data import Preprocessing
from ssfe.lab.errors import UserError
from ssfe.lab.export import onnx_file, torch_export
from ssfe.lab.export.check import compare, require
from ssfe.lab.export.formats import FORMATS, find_format
from ssfe.lab.run.folder import RunFolder
from ssfe.lab.run.model_file import load_shipped

DIGITS = list("0123456789")


def normalised(exports: Any) -> Tensor:
    return load_shipped(RunFolder(exports.run))[1].preprocessing.normalize(exports.images)


def check_metadata(metadata: dict[str, Any], run: Path, dtype: str) -> None:
    card = load_shipped(RunFolder(run))[1]
    assert metadata["ssfe_version"] == __version__
    assert metadata["classes"] == DIGITS
    assert metadata["create_model"] == {"model_name": "cifar_resnet20", "num_classes": 10, "in_chans": 1}
    assert Preprocessing.from_dict(metadata["preprocessing"]) == card.preprocessing
    assert (metadata["method"], metadata["inference"]) == ("ssfe", "aggregated")
    assert metadata["input"]["dtype"] == dtype
    assert metadata["input"]["shape"] == ["batch", 1, 8, 8]
    assert ("normalised" in metadata["input"]["values"]) == (dtype == "float32")


def from_text(metadata: dict[str, str]) -> dict[str, Any]:
    return {key: json.loads(value) if value[0] in "[{" else value for key, value in metadata.items()}


def test_safetensors_holds_everything(exports: Any) -> None:
    path = exports.folder / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = from_text(file.metadata())
    assert metadata.pop("format") == "pt"
    check_metadata(metadata, exports.run, "float32")
    network = timm.create_model(**metadata["create_model"]).eval()
    network.load_state_dict(load_file(path))
    with torch.no_grad():
        assert network(normalised(exports)).equal(exports.logits)


def test_torch_export_takes_pixels_in_any_number(exports: Any) -> None:
    files = {"metadata.json": ""}
    program = torch.export.load(exports.folder / "model.pt2", extra_files=files)
    check_metadata(json.loads(files["metadata.json"]), exports.run, "uint8")
    for count in (1, 3, 5):
        torch.testing.assert_close(program.module()(exports.images[:count]), exports.logits[:count], rtol=0, atol=1e-6)
    assert program.example_inputs is not None
    assert not program.example_inputs[0][0].any()  # no image of the user's in the file


def test_onnx_takes_any_number(exports: Any) -> None:
    path = exports.folder / "model.onnx"
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    check_metadata(from_text(session.get_modelmeta().custom_metadata_map), exports.run, "float32")
    (took,), (gave,) = session.get_inputs(), session.get_outputs()
    assert (took.name, took.shape) == ("images", ["batch", 1, 8, 8])
    assert (gave.name, gave.shape) == ("logits", ["batch", 10])
    inputs = normalised(exports)
    for count in (1, 3, 5):
        (logits,) = session.run(None, {"images": inputs[:count].numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), exports.logits[:count], rtol=0, atol=1e-5)


def test_onnx_of_pixels_one_at_a_time_with_attention(ship_random: Any, tmp_path: Path) -> None:
    vit = ship_random("vit_tiny_patch16_224", 32, img_size=32, patch_size=8, depth=2)
    shipment = replace(vit, pixels=True, batch=1)
    onnx_file.write(shipment, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (took,) = session.get_inputs()
    assert (took.type, took.shape) == ("tensor(uint8)", [1, 3, 32, 32])
    images = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    agreement = compare(shipment, onnx_file.load(tmp_path / "model.onnx"), images)
    require(agreement, exact=False)
    assert (agreement.images, agreement.same_class) == (3, 3)


def test_graphs_of_a_network_that_keeps_channels_last(ship_random: Any, tmp_path: Path) -> None:
    shipment = ship_random("convnext_atto", 32, depths=[1, 1, 1, 1])
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
    for form, module in {"model.onnx": onnx_file, "model.pt2": torch_export}.items():
        module.write(shipment, tmp_path / form)
        agreement = compare(shipment, module.load(tmp_path / form), images)
        require(agreement, exact=False)
        assert agreement.scale > 0.01  # or the comparison would say nothing


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name.startswith("onnxs") else object())
    with pytest.raises(UserError, match=r'onnx needs onnxscript, of the extra export: pip install "\.\[export\]"'):
        find_format("onnx")
    assert find_format("hf") is FORMATS["hf"]


def test_a_network_that_cannot_be_traced_says_what_else_to_do(ship_random: Any, tmp_path: Path) -> None:
    class Undecided(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))

    shipment = replace(ship_random("resnet10t", 32), network=Undecided())
    with pytest.raises(UserError, match=r"resnet10t cannot be traced \(.*\): .* hf; --batch 1 makes"):
        torch_export.write(shipment, tmp_path / "model.pt2")


def test_the_graph_of_another_size_is_refused_by_its_shape(exports: Any) -> None:
    session = onnxruntime.InferenceSession(exports.folder / "model.onnx", providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match="Expected: 8"):
        session.run(None, {"images": torch.zeros(1, 1, 9, 9).numpy()})
