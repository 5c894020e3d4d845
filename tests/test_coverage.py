"""The coverage run: that it finds what does not work, and its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmarks import coverage, coverage_worker
from benchmarks.coverage_build import Architecture, architectures, cheap_initialisation, reduced
from benchmarks.coverage_check import CheckError, StockError, keys_and_shapes, there_and_back
from benchmarks.coverage_worker import check, has_classifier
from ssfe import JointClassifier
from tests.reference.networks import ConvHeadNet, TinyNet


def test_three_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, page = tmp_path / "results" / "coverage.json", tmp_path / "docs" / "coverage.md"
    files = ["--results", str(results), "--page", str(page)]
    names = ["test_resnet", "timm/test_vit", "torchvision/squeezenet1_1"]
    coverage.main([*files, *(f"--only={name}" for name in names)])
    outcomes = json.loads(results.read_text())["networks"]
    assert [(o["library"], o["name"], o["outcome"]) for o in outcomes] == [
        ("timm", "test_resnet", "full"),
        ("timm", "test_vit", "full"),
        ("torchvision", "squeezenet1_1", "full"),
    ]
    assert all(0 < o["start"] < 1e-5 and 0 < o["fold"] < 1e-5 and o["classifiers"] == 1 for o in outcomes)
    text = page.read_text()
    assert "**3 of 3 networks with a classifier work**." in text
    assert "| as it is, on small images | 2 | 1 |" in text
    assert "3/3 squeezenet1_1: full" in capsys.readouterr().out
    page.unlink()
    coverage.main([*files, "--summary"])
    assert page.read_text() == text
    done, _ = coverage.load(results)
    assert len(coverage.wanted(done, None, again=False)) == len(architectures()) - 3


@pytest.mark.parametrize(
    ("library", "name", "outcome", "classifiers"),
    [("timm", "test_convnext", "full", 1), ("timm", "deit_tiny_distilled_patch16_224", "full", 2)],
)
def test_check(library: str, name: str, outcome: str, classifiers: int) -> None:
    found = check(Architecture(library, name), 60, {})
    assert (found["outcome"], found["classifiers"]) == (outcome, classifiers)


def test_encoders_have_no_classifier() -> None:
    resnet = timm.create_model("test_resnet")
    assert has_classifier(Architecture("timm", "test_resnet"), resnet)
    assert not has_classifier(Architecture("timm", "test_resnet"), timm.create_model("test_resnet", num_classes=0))
    assert not has_classifier(Architecture("timm", "no_such"), TinyNet())
    assert has_classifier(Architecture("torchvision", "no_such"), TinyNet())


class Noisy(TinyNet):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 1e-4 * torch.rand(1)


class Dead(TinyNet):
    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits * 0 if self.training else logits


class Changing(TinyNet):
    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.late = torch.nn.Parameter(torch.ones(()))
        return super().forward(images)


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        (Noisy, "logits before training differ from the stock network's by"),
        (Dead, "a joint classifier got no gradient"),
        (Changing, "modules, keys or shapes are not the stock network's"),
    ],
)
def test_what_does_not_work_is_found(network: type[TinyNet], problem: str) -> None:
    with pytest.raises(CheckError, match=problem):
        there_and_back(network(), 8)


def test_a_wrong_fold_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def folded(joint: JointClassifier, inference: str | None = None) -> tuple[Tensor, Tensor | None]:
        rows = joint.weight.unflatten(0, (-1, joint.transforms)).mean(1) * joint.masks.float().mean(0)
        return rows, None if joint.bias is None else joint.bias.unflatten(0, (-1, joint.transforms)).mean(1)

    monkeypatch.setattr(JointClassifier, "folded", folded)
    with pytest.raises(CheckError, match="differ from the mean over the views by"):
        there_and_back(TinyNet(), 8)


def test_only_a_stock_network_gets_larger_images(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def failing(error: type[Exception]) -> Callable[[nn.Module, int], dict[str, Any]]:
        def check_of_size(network: nn.Module, size: int) -> dict[str, Any]:
            sizes.append(size)
            raise error("no")

        return check_of_size

    for error, tried in ((CheckError, 1), (StockError, 2)):
        sizes.clear()
        monkeypatch.setattr(coverage_worker, "there_and_back", failing(error))
        assert check(Architecture("timm", "test_resnet"), 60, {})["outcome"] == "failed"
        assert min(len(sizes), 2) == tried


def test_what_works() -> None:
    figures = there_and_back(ConvHeadNet(), 8)
    assert figures["start"] < 1e-6
    assert figures["fold"] < 1e-6
    with torch.device("meta"):
        assert keys_and_shapes(ConvHeadNet()) == {"classifiers": 1}


def test_fewer_blocks() -> None:
    assert reduced(Architecture("timm", "resnet18"), 6_000_000) == {"layers": (1, 1, 1, 1)}
    assert reduced(Architecture("timm", "vit_tiny_patch16_224"), 3_000_000) == {"depth": 2}
    assert reduced(Architecture("torchvision", "alexnet"), 1_000_000) is None


def test_cheap_weights_are_spread_as_the_networks_own() -> None:
    own = timm.create_model("vit_tiny_patch16_224", num_classes=5, depth=1, img_size=32)
    with cheap_initialisation() as random:
        cheap = timm.create_model("vit_tiny_patch16_224", num_classes=5, depth=1, img_size=32)
    random.fill()
    for key, value in own.state_dict().items():
        assert cheap.state_dict()[key].shape == value.shape
        if value.numel() > 10_000:
            torch.testing.assert_close(cheap.state_dict()[key].std(), value.std(), rtol=0.1, atol=0)
