from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssfe.lab.config import AugmentOptions, DataOptions, EngineOptions, MethodOptions, OptimizerOptions, TrainOptions
from ssfe.lab.data import load_data
from ssfe.lab.errors import UserError
from ssfe.lab.models import ModelSpec
from ssfe.lab.run.options import check_options, check_same, differs, named, resolve

SPEC = ModelSpec("cifar_resnet20", {"num_classes": 10, "in_chans": 1})


@pytest.fixture(scope="module")
def splits() -> Any:
    return load_data("digits", DataOptions(limit_train=50), seed=0)


@pytest.mark.parametrize(
    ("optimizer", "batch_size", "lr", "decay"),
    [("sgd", 128, 0.1 * 50 / 128, 5e-4), ("sgd", 32, 0.025, 5e-4), ("adamw", 32, 1e-3, 0.05)],
)
def test_defaults_are_filled_in(optimizer: Any, batch_size: int, lr: float, decay: float, splits: Any) -> None:
    options = TrainOptions(
        loading=DataOptions(batch_size=batch_size), optimization=OptimizerOptions(optimizer=optimizer)
    )
    resolved = resolve(options, splits, SPEC)
    assert (resolved.optimization.lr, resolved.optimization.weight_decay) == (lr, decay)
    assert (resolved.model, resolved.loading.image_size, resolved.augmentation.flip) == ("cifar_resnet20", 8, False)


@pytest.mark.parametrize("trained", [{"pretrained": True}, {"weights": Path("w.pt")}], ids=["pretrained", "weights"])
def test_weights_that_have_been_trained_learn_at_a_tenth_of_the_rate(trained: dict[str, Any], splits: Any) -> None:
    fresh = resolve(TrainOptions(), splits, SPEC).optimization.lr
    assert fresh is not None
    assert resolve(TrainOptions(**trained), splits, SPEC).optimization.lr == pytest.approx(fresh / 10)
    asked = OptimizerOptions(lr=0.3)
    assert resolve(TrainOptions(optimization=asked, **trained), splits, SPEC).optimization.lr == 0.3


def test_what_was_asked_for_stays(splits: Any) -> None:
    options = TrainOptions(
        model="resnet18",
        augmentation=AugmentOptions(flip=True),
        optimization=OptimizerOptions(lr=3.0, weight_decay=0.0),
    )
    resolved = resolve(options, splits, SPEC)
    assert (resolved.model, resolved.augmentation.flip) == ("resnet18", True)
    assert (resolved.optimization.lr, resolved.optimization.weight_decay) == (3.0, 0.0)
    assert resolve(resolved, splits, SPEC) == resolved


def test_paths_mean_the_same_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("cats", "digits"):
        (tmp_path / name).mkdir()
    assert named("cats") == named("./cats") == named("~/cats") == str(tmp_path / "cats")
    assert named("hf:cats") == f"hf:{tmp_path}/cats"
    assert named("hf:org/name") == "hf:org/name"
    assert named("digits") == "digits"
    options = TrainOptions(loading=DataOptions(data_dir=Path("~/d")))
    assert resolve(options, splits, SPEC).loading.data_dir == tmp_path / "d"


def test_a_run_may_only_change_how_it_is_shown_and_fed() -> None:
    stored = TrainOptions(loading=DataOptions(workers=2))
    check_same(replace(stored, loading=DataOptions(workers=5), engine=EngineOptions(progress="none")), stored)
    with pytest.raises(UserError, match="started with seed=0, not 1"):
        check_same(replace(stored, seed=1), stored)
    with pytest.raises(UserError, match=r"started with ema=0\.0, not 0\.5"):
        check_same(replace(stored, optimization=OptimizerOptions(ema=0.5)), stored)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["lr", "warmup_epochs", "clip_grad"])
def test_no_option_is_infinite(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name}=.* must be a finite number"):
        check_options(TrainOptions(optimization=replace(OptimizerOptions(), **{name: value})))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_the_gradient_scale_is_positive(value: float) -> None:
    with pytest.raises(UserError, match=r"gradient_scale=.* must be positive"):
        check_options(TrainOptions(enhancement=MethodOptions(gradient_scale=value)))


def test_the_defaults_pass() -> None:
    check_options(TrainOptions())


@pytest.mark.parametrize(
    ("name", "before", "now", "expected"),
    [
        ("epochs", 3, 3, False),
        ("epochs", 3, 4, True),
        ("data", "/work/data/cifar100", "/home/me/cifar100", False),
        ("data", "/work/data/cifar100", "/work/data/cifar10", True),
        ("data", "digits", "cifar100", True),
        ("data", "cifar100", "/home/me/cifar100", True),
        ("model", "/a/net", "/b/net", True),
    ],
)
def test_data_may_lie_elsewhere(name: str, before: object, now: object, expected: bool) -> None:
    assert differs(name, before, now) is expected
