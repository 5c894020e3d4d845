"""Weights from a file, into a network of the same or another number of classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import ssfe
from ssfe.lab.errors import UserError
from ssfe.lab.models import load_weights

State = dict[str, Tensor]


def network(classes: int, seed: int = 0, name: str = "cifar_resnet20") -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=classes).eval()


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


WRAPPERS: dict[str, Callable[[State], Any]] = {
    "state dict": lambda state: state,
    "DistributedDataParallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "timm's training": lambda state: {"epoch": 3, "arch": "cifar_resnet20", "state_dict": state},
    "timm's average": lambda state: {
        "state_dict": {name: torch.zeros_like(value) for name, value in state.items()},
        "state_dict_ema": state,
    },
    "Lightning": lambda state: {
        "state_dict": {"criterion.weight": torch.ones(3), **{f"model.{name}": value for name, value in state.items()}}
    },
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_a_checkpoint_of_the_same_network(tmp_path: Path, wrap: Callable[[State], Any]) -> None:
    trained, started = network(5), network(5, seed=1)
    said = load_weights(started, saved(tmp_path / "weights.pt", wrap(trained.state_dict())))
    assert said.endswith("its classifier's too")
    for name, value in trained.state_dict().items():
        assert torch.equal(started.state_dict()[name], value), name


def test_safetensors(tmp_path: Path) -> None:
    trained, started = network(5), network(5, seed=1)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    load_weights(started, tmp_path / "model.safetensors")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(started(images), trained(images))


@pytest.mark.parametrize(("classes", "same_classes"), [(7, True), (5, False)], ids=["more", "others"])
def test_a_classifier_for_other_classes_starts_afresh(tmp_path: Path, classes: int, same_classes: bool) -> None:
    trained, started, fresh = network(5), network(classes, seed=1), network(classes, seed=1)
    file = saved(tmp_path / "weights.pt", trained.state_dict())
    assert load_weights(started, file, same_classes=same_classes).endswith("is of other classes and starts afresh")
    features = torch.randn(2, 3, 32, 32)
    assert torch.equal(started.forward_features(features), trained.forward_features(features))  # type: ignore[operator]
    assert torch.equal(started.fc.weight, fresh.fc.weight)  # type: ignore[union-attr, arg-type]


def test_an_enhanced_networks_classifier_starts_afresh(tmp_path: Path) -> None:
    enhanced = ssfe.enhance(network(5))
    started = network(5, seed=1)
    assert "starts afresh" in load_weights(started, saved(tmp_path / "weights.pt", enhanced.state_dict()))
    assert torch.equal(started.stem.conv.weight, enhanced.stem.conv.weight)  # type: ignore[union-attr, arg-type]


def test_every_mistake_is_named(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(UserError) as caught:
            load_weights(network(5), path)
        return str(caught.value)

    (tmp_path / "notes.txt").write_text("no weights")
    state = network(5).state_dict()
    shorter = {name: value for name, value in state.items() if name != "layer1.0.bn1.bias"}
    wider = {**state, "stem.conv.weight": torch.zeros(16, 1, 3, 3)}
    assert "there are no weights at" in refusal(tmp_path / "absent.pt")
    assert "notes.txt is no file of weights" in refusal(tmp_path / "notes.txt")
    assert "holds no weights" in refusal(saved(tmp_path / "empty.pt", {"epoch": 3}))
    assert "1 of its weights are missing, such as layer1.0.bn1.bias" in refusal(saved(tmp_path / "short.pt", shorter))
    assert "1 of its weights are left over, such as new" in refusal(
        saved(tmp_path / "long.pt", {**state, "new": torch.ones(1)})
    )
    assert "stem.conv.weight is (16, 1, 3, 3) there, not (16, 3, 3, 3)" in refusal(saved(tmp_path / "grey.pt", wider))


def test_a_refused_file_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    started, before = network(5), network(5)
    with pytest.raises(UserError):
        load_weights(started, saved(tmp_path / "other.pt", network(5, name="cifar_resnet32").state_dict()))
    for name, value in before.state_dict().items():
        assert torch.equal(started.state_dict()[name], value), name
