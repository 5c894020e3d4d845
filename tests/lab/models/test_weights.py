"""Weights from a file, into a network of the same or another number of classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

import ssfe
from ssfe.lab.errors import UserError
from ssfe.lab.models.weights import image_channels, load_weights, read_weights

State = dict[str, Tensor]


def network(classes: int, seed: int = 0, name: str = "cifar_resnet20") -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=classes).eval()


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def load(network: nn.Module, path: Path, **options: bool) -> str:
    return load_weights(network, read_weights(path), f"the weights of {path}", **options)


def equal(network: nn.Module, other: nn.Module) -> bool:
    state, others = network.state_dict(), other.state_dict()
    return state.keys() == others.keys() and all(torch.equal(state[name], others[name]) for name in state)


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


WRAPPERS: dict[str, Callable[[State], Any]] = {
    "state dict": lambda state: state,
    "DistributedDataParallel": lambda state: prefixed("module.", state),
    "torch.compile": lambda state: prefixed("_orig_mod.", state),
    "timm's training": lambda state: {"epoch": 3, "arch": "cifar_resnet20", "state_dict": state},
    "timm's average": lambda state: {
        "state_dict": {name: torch.zeros_like(value) for name, value in state.items()},
        "state_dict_ema": state,
    },
    "Lightning": lambda state: {"state_dict": {"criterion.weight": torch.ones(3), **prefixed("model.", state)}},
    "a loop's own": lambda state: {"epoch": torch.tensor(3), "model_state_dict": state, "optimizer": {"state": {}}},
}


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnet18"])
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_a_checkpoint_of_the_same_network(tmp_path: Path, wrap: Callable[[State], Any], name: str) -> None:
    # In a resnet18, the name of the first weight ends other weights' names too.
    trained, started = network(5, name=name), network(5, seed=1, name=name)
    assert load(started, saved(tmp_path / "weights.pt", wrap(trained.state_dict()))).endswith("its classifier's too")
    assert equal(started, trained)


def test_safetensors(tmp_path: Path) -> None:
    trained, started = network(5), network(5, seed=1)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    load(started, tmp_path / "model.safetensors")
    assert equal(started, trained)


def test_weights_that_safetensors_keeps_once(tmp_path: Path) -> None:
    trained, started = network(5, name="coat_lite_tiny"), network(5, seed=1, name="coat_lite_tiny")
    save_model(trained, str(tmp_path / "model.safetensors"))
    assert len(safetensors.torch.load_file(tmp_path / "model.safetensors")) < len(trained.state_dict())
    load(started, tmp_path / "model.safetensors")
    assert equal(started, trained)


def test_checkpoints_without_counters_of_steps(tmp_path: Path) -> None:
    state = {name: value for name, value in network(5).state_dict().items() if not name.endswith("num_batches_tracked")}
    started = network(5, seed=1)
    load(started, saved(tmp_path / "old.pt", state))
    assert equal(started, network(5))


@pytest.mark.parametrize(
    ("classes", "same_classes", "kept", "said"),
    [
        (7, True, lambda name: True, "is of other shapes there"),
        (5, False, lambda name: True, "is of other classes"),
        (5, True, lambda name: not name.startswith("fc."), "is not there"),
    ],
    ids=["more", "others", "headless"],
)
def test_a_classifier_for_other_classes_starts_afresh(
    tmp_path: Path, classes: int, same_classes: bool, kept: Callable[[str], bool], said: str
) -> None:
    trained, started, fresh = network(5), network(classes, seed=1), network(classes, seed=1)
    state = {name: value for name, value in trained.state_dict().items() if kept(name)}
    line = load(started, saved(tmp_path / "weights.pt", state), same_classes=same_classes)
    assert line.endswith(f"but for its classifier, which {said} and starts afresh")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(started.forward_features(images), trained.forward_features(images))  # type: ignore[operator]
    assert equal(started.fc, fresh.fc)  # type: ignore[arg-type]


def vit(size: int, width: int = 16, classes: int = 3) -> nn.Module:
    torch.manual_seed(size)
    return timm.create_model(
        "test_vit", img_size=size, patch_size=8, embed_dim=width, depth=1, num_classes=classes
    ).eval()


@pytest.mark.parametrize("classes", [3, 4])
def test_positions_are_interpolated_to_the_size_of_the_images(classes: int, tmp_path: Path) -> None:
    small, large = vit(32), vit(64, classes=classes)
    told = load(large, saved(tmp_path / "w.pt", small.state_dict()))
    assert told.endswith("pos_embed interpolated for this size")
    # The class token's position is one of its own; of the 4 x 4 grid the 8 x 8 one is an enlarged picture.
    grid = small.get_parameter("pos_embed")[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    enlarged = nn.functional.interpolate(grid, size=(8, 8), mode="bicubic", antialias=True)
    expected = torch.cat([small.get_parameter("pos_embed")[:, :1], enlarged.flatten(2).transpose(1, 2)], 1)
    torch.testing.assert_close(large.get_parameter("pos_embed"), expected)
    rest = [name for name in small.state_dict() if name != "pos_embed" and not name.startswith("head.")]
    assert all(torch.equal(small.state_dict()[name], large.state_dict()[name]) for name in rest)


def test_another_vit_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    network, same = vit(64), vit(64)
    with pytest.raises(UserError, match=r"are of another network: .* is \(.*\) there, not \("):
        load(network, saved(tmp_path / "w.pt", vit(32, width=32).state_dict()))
    assert equal(network, same)


@pytest.mark.parametrize("tap", [None, "layer2"])
def test_an_enhanced_networks_weights_are_refused(tap: str | None, tmp_path: Path) -> None:
    """Its classifier has been trained, and would be thrown away."""
    enhanced = ssfe.enhance(network(5), tap=tap)
    path = saved(tmp_path / "weights.pt", {f"network.{k}": v for k, v in enhanced.state_dict().items()})
    with pytest.raises(UserError, match=r"weights\.pt are of an enhanced network, .* give the folder of its run, or"):
        load(network(5, seed=1), path)


def test_every_mistake_is_named(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        started = network(5, seed=1)
        with pytest.raises(UserError) as caught:
            load(started, path)
        assert equal(started, network(5, seed=1)), "it is as it was"
        return str(caught.value)

    (tmp_path / "notes.txt").write_text("no weights")
    state = network(5).state_dict()
    shorter = {name: value for name, value in state.items() if name != "layer1.0.bn1.bias"}
    grey = {**state, "stem.conv.weight": torch.zeros(16, 1, 3, 3)}
    diverged = {**state, "fc.bias": torch.full((5,), torch.nan)}
    assert "there are no weights at" in refusal(tmp_path / "absent.pt")
    assert "notes.txt is no file of weights" in refusal(tmp_path / "notes.txt")
    assert "holds no weights" in refusal(saved(tmp_path / "empty.pt", {"epoch": 3}))
    assert "are not finite (fc.bias)" in refusal(saved(tmp_path / "nan.pt", diverged))
    assert "1 of its weights are missing, such as layer1.0.bn1.bias" in refusal(saved(tmp_path / "short.pt", shorter))
    assert "1 of its weights are left over, such as new" in refusal(
        saved(tmp_path / "long.pt", {**state, "new": torch.ones(1)})
    )
    assert "stem.conv.weight is (16, 1, 3, 3) there, not (16, 3, 3, 3)" in refusal(saved(tmp_path / "grey.pt", grey))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "first_conv"), [("cifar_resnet20", "stem.conv"), ("resnet18", "conv1")])
def test_channels_of_the_images(name: str, first_conv: str, channels: int) -> None:
    state = timm.create_model(name, in_chans=channels).state_dict()
    assert image_channels(state, first_conv) == image_channels(prefixed("model.", state), first_conv) == channels
    assert image_channels({}, first_conv) is None
