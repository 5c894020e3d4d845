"""Deeper taps: an enhanced network against the stock network run one view at a time, and everything around it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torch.utils.checkpoint import checkpoint

import ssfe.lab.models  # noqa: F401 (registers cifar_resnet20)
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
from ssfe.core.enhanced import joint_classifier
from tests.reference import tap as reference
from tests.reference.networks import ChannelsLastNet, DeepNet, images

EXAMPLE = torch.zeros(1, 3, 8, 8)
CASES: list[tuple[str, Any, str, Transformation]] = [
    ("map", DeepNet, "layer1", ChannelDiscard(3, identity=True)),
    ("map", DeepNet, "layer1", ChannelDiscard(4, "drop_fraction")),
    ("map", DeepNet, "stem", RegionDiscard()),
    ("map", DeepNet, "layer1.1", RegionDiscard(1, 3, identity=False)),
    ("map", DeepNet, "layer1.0", QuarterTurns()),
    ("convolution as classifier", lambda: DeepNet(conv_head=True), "layer1", QuarterTurns()),
    ("map, channels last", ChannelsLastNet, "map", RegionDiscard()),
    ("map, channels last", ChannelsLastNet, "map", ChannelDiscard(identity=True)),
    ("tokens", ChannelsLastNet, "tokens", ChannelDiscard(identity=True)),
    ("vector", ChannelsLastNet, "vector", ChannelDiscard(identity=True)),
]
EACH = pytest.mark.parametrize(
    ("network", "tap", "transformation"),
    [case[1:] for case in CASES],
    ids=[f"{name} {tap} {type(transformation).__name__}" for name, _, tap, transformation in CASES],
)


def classifier_name(network: nn.Module) -> str:
    return "fc" if hasattr(network, "fc") else "head"


def enhanced(network: nn.Module, tap: str = "layer1", transformation: Transformation | None = None, **o: Any) -> Any:
    """With joint rows that differ from each other."""
    model = enhance(network, transformation, tap=tap, example=EXAMPLE, **{"gradient_scale": 3.0, **o})
    for parameter in joint_classifier(model).parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def settled(network: nn.Module) -> nn.Module:
    """Batch norm with statistics of some images, in evaluation mode, as float64."""
    network.double().train()
    for _ in range(3):
        network(images(8, dtype=torch.float64))
    return network.eval()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@EACH
def test_all_views_equal_one_pass_for_each(network: Any, tap: str, transformation: Transformation) -> None:
    stock = settled(network())
    model = enhanced(copy.deepcopy(stock), tap, transformation)
    joint, name = joint_classifier(model), classifier_name(stock)
    x, labels = images(dtype=torch.float64), torch.randint(5, (4,))
    joint.train()  # batch norm stays in evaluation mode
    output = model(x)
    slow, wide = reference.joint_logits(stock, tap, name, joint, transformation, x)
    torch.testing.assert_close(output.logits, slow, rtol=1e-10, atol=1e-10)
    assert output.views.equal(torch.arange(transformation.transforms).expand(4, -1))
    JointLoss()(output, labels).backward()
    JointLoss()(JointLogits(slow, output.views), labels).backward()
    ours, theirs = gradients(model), gradients(wide)
    assert ours.keys() == theirs.keys()
    for key in ours:
        scale = joint.gradient_scale if key.startswith(f"{name}.") else 1
        torch.testing.assert_close(ours[key].view_as(theirs[key]), scale * theirs[key], rtol=1e-9, atol=1e-10)
    joint.views = "sampled"
    sampled = model(x)
    own = slow[torch.arange(4)[:, None], sampled.views]
    torch.testing.assert_close(sampled.logits, own, rtol=1e-10, atol=1e-10)


@EACH
def test_readings_and_what_folds(network: Any, tap: str, transformation: Transformation) -> None:
    stock = settled(network())
    model = enhanced(copy.deepcopy(stock), tap, transformation, distill=True, views="sampled").eval()
    joint = joint_classifier(model)
    x = images(dtype=torch.float64)
    slow, _ = reference.joint_logits(stock, tap, classifier_name(stock), joint, transformation, x)
    views = torch.arange(transformation.transforms).expand(4, -1)
    expected = JointLogits(slow, views)
    with joint_evaluation(model):
        output = model(x)
    torch.testing.assert_close(output.logits, slow, rtol=1e-10, atol=1e-10)
    assert joint.views == "sampled"
    undisturbed = copy.deepcopy(stock)
    undisturbed.get_submodule(classifier_name(stock)).load_state_dict(
        {
            key: value.detach().view_as(getattr(undisturbed.get_submodule(classifier_name(stock)), key))
            for key, value in joint.distilled.state_dict().items()
        }
    )
    torch.testing.assert_close(output.distilled, undisturbed(x), rtol=1e-10, atol=1e-10)
    for reading in ("aggregated", "single", "distilled"):
        joint.inference = reading
        wanted = undisturbed(x) if reading == "distilled" else expected.class_logits(reading)
        torch.testing.assert_close(model(x), wanted, rtol=1e-10, atol=1e-10)
        if reading == "aggregated" or (reading == "single" and not transformation.identity):
            with pytest.raises(
                ValueError, match=rf"{reading} inference at the tap '{tap}' .* does not fold .*'distilled'"
            ):
                fold(model)
            continue
        folded = fold(model)
        assert [type(m) for m in folded.modules()] == [type(m) for m in stock.modules()]
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in folded.modules())
        torch.testing.assert_close(folded(x), model(x), rtol=1e-12, atol=1e-12)
        assert folded.state_dict().keys() == stock.state_dict().keys()
    assert isinstance(model.train()(x), JointLogits), "folding leaves the enhanced network as it is"


@pytest.mark.parametrize("views", ["all", "sampled"])
@pytest.mark.parametrize("identity", [True, False])
def test_the_distilled_head_sees_undisturbed_features(views: Any, identity: bool) -> None:
    model = enhanced(settled(DeepNet()), "layer1", ChannelDiscard(identity=identity), distill=True, views=views)
    joint = joint_classifier(model)
    seen: list[Tensor] = []
    handle = joint.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    joint.train()
    x = images(dtype=torch.float64)
    output = model(x)
    assert len(seen[0]) == {("all", True): 16, ("all", False): 20}.get((views, identity), 8)
    handle.remove()
    joint.eval()
    joint.inference = "distilled"
    torch.testing.assert_close(output.distilled, model(x))


def test_the_aggregate_takes_no_more_passes_than_views() -> None:
    model = enhanced(settled(DeepNet()), "layer1", ChannelDiscard(identity=False), distill=True, inference="aggregated")
    seen: list[Tensor] = []
    joint_classifier(model).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.eval()(images(dtype=torch.float64))
    assert [len(rows) for rows in seen] == [16]


class Outputs(NamedTuple):
    logits: Any
    features: Tensor


class WithFeatures(DeepNet):
    def forward(self, images: Tensor) -> Any:
        features = self.forward_features(images).mean((2, 3))
        return Outputs(self.fc(features), features)


def test_aggregated_evaluation_of_a_network_that_returns_more() -> None:
    plain, model = (enhanced(make(), inference="aggregated").eval() for make in (DeepNet, WithFeatures))
    model.load_state_dict(plain.state_dict())
    x = images()
    output = model(x)
    assert type(output) is Outputs
    assert output.logits.equal(plain(x))
    assert isinstance(model.train()(x).logits, JointLogits)


def test_defaults_and_the_start() -> None:
    """Undisturbed features are among the views, are what evaluation mode reads, and start with the stock logits."""
    stock = DeepNet().eval()
    x = images()
    before = stock(x)
    model = enhance(stock, tap="layer1", example=EXAMPLE)
    joint = joint_classifier(model)
    assert joint.tap.transformation == ChannelDiscard(identity=True)
    assert joint.inference == "single"
    assert not model.training
    assert model(x).equal(before)
    assert fold(model)(x).equal(before)
    assert joint_classifier(enhance(DeepNet(), ChannelDiscard(), tap="layer1")).inference == "aggregated"
    assert joint_classifier(enhance(DeepNet())).inference == "aggregated", "it folds at the classifier's input"


def test_parts_may_be_called_in_evaluation_mode_only() -> None:
    model = enhance(DeepNet(), tap="layer1").eval()
    x = images()
    features = model.forward_features(x)
    assert len(features) == 4, "undisturbed"
    torch.testing.assert_close(model.fc(features.mean((2, 3))), model(x))
    joint_classifier(model).inference = "aggregated"
    with pytest.raises(ValueError, match=r"computed in evaluation mode by model\(images\)"):
        model.fc(features.mean((2, 3)))
    model.train()
    assert len(model.forward_features(x)) == 4
    with pytest.raises(RuntimeError, match=r"call model\(images\), not its parts"):
        model.fc(features.mean((2, 3)))


@pytest.mark.parametrize("transformation", [ChannelDiscard(groups="random", seed=3), RegionDiscard(), QuarterTurns()])
@pytest.mark.parametrize("how", ["pickle", "state_dict"])
def test_saved_and_loaded(how: str, transformation: Transformation, tmp_path: Path) -> None:
    model = enhanced(DeepNet(), "layer1", transformation, distill=True)
    file = tmp_path / "model.pt"
    if how == "pickle":
        torch.save(model, file)
        loaded = torch.load(file, weights_only=False)
    else:
        torch.save(model.state_dict(), file)
        other = ChannelDiscard() if isinstance(transformation, ChannelDiscard) else transformation
        loaded = enhance(DeepNet(), other, tap="layer1", distill=True)
        loaded.load_state_dict(torch.load(file, weights_only=True))
    x = images()
    assert joint_classifier(loaded).tap.state.equal(joint_classifier(model).tap.state)
    torch.testing.assert_close(loaded.train()(x), model.train()(x))
    loaded.eval(), model.eval()
    assert loaded(x).equal(model(x))
    stock = {key for key in model.state_dict() if not key.startswith("fc.")}
    assert stock | {"fc.weight", "fc.bias"} == DeepNet().state_dict().keys(), "keys of the backbone are stock"


def test_a_checkpoint_of_another_transformation_is_refused() -> None:
    state = enhance(DeepNet(), RegionDiscard(1, 3), tap="layer1").state_dict()
    with pytest.raises(ValueError, match=r"state torch.bool \(4, 1, 3\), the network's at 'layer1' \(ChannelDiscard\)"):
        enhance(DeepNet(), ChannelDiscard(identity=True), tap="layer1").load_state_dict(state)
    state = enhance(DeepNet(), ChannelDiscard(), tap="layer1").state_dict()
    with pytest.raises(ValueError, match=r"tap has no identity view, the network's has one: .*identity=False\)"):
        enhance(DeepNet(), ChannelDiscard(identity=True), tap="layer1").load_state_dict(state)
    state = enhance(DeepNet(), ChannelDiscard(identity=True), tap="layer1").state_dict()
    with pytest.raises(ValueError, match=r"tap has an identity view, the network's has none: .*identity=True\)"):
        enhance(DeepNet(), ChannelDiscard(), tap="layer1").load_state_dict(state)
    spoilt = enhance(DeepNet(), tap="layer1").state_dict()
    spoilt["fc.tap._extra_state"] = torch.zeros_like(spoilt["fc.tap._extra_state"])
    with pytest.raises(ValueError, match="mask 0 is all zero"):
        enhance(DeepNet(), tap="layer1").load_state_dict(spoilt)


def test_copies_drive_their_own_weights() -> None:
    model = enhanced(DeepNet(), distill=True)
    twin = copy.deepcopy(model)
    JointLoss()(twin.train()(images()), torch.randint(5, (4,))).backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None for p in twin.parameters())
    assert joint_classifier(twin) is twin.fc
    joint_classifier(twin).tap.state.logical_not_()
    assert not joint_classifier(model).tap.state.equal(twin.fc.tap.state)


def test_averaged_weights() -> None:
    model = enhanced(DeepNet(), "layer1", ChannelDiscard(groups="random", identity=True))
    averaged = AveragedModel(model, use_buffers=True, avg_fn=get_ema_avg_fn(0.9))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        JointLoss()(model.train()(images()), torch.randint(5, (4,))).backward()
        optimizer.step()
        averaged.update_parameters(model)
    inner, x = averaged.module, images()
    assert inner.fc.tap.state.equal(model.fc.tap.state)
    assert not inner.fc.weight.equal(model.fc.weight)
    averaged.eval()
    torch.testing.assert_close(fold(inner)(x), averaged(x))
    inner.fc.inference = "aggregated"
    with joint_evaluation(inner):
        output = averaged(x)
    torch.testing.assert_close(averaged(x), output.class_logits("aggregated"))


def test_to_another_device_and_from_meta() -> None:
    model = enhanced(DeepNet(), "layer1", RegionDiscard())
    state = joint_classifier(model).tap.state.clone()
    empty = copy.deepcopy(model).to("meta").to_empty(device="cpu")
    assert joint_classifier(empty).tap.state.equal(state)
    with torch.device("meta"):
        made = enhance(DeepNet(), tap="layer1")
    made.to_empty(device="cpu").load_state_dict(enhance(DeepNet(), tap="layer1").state_dict())
    assert isinstance(made.train()(images()), JointLogits)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("views", ["all", "sampled"])
def test_gradient_checkpointing(views: Any, reentrant: bool) -> None:
    """Of the whole network, and of the blocks of a stage, the tapped one among them."""
    x, labels = images(4, 32).requires_grad_(), torch.randint(5, (4,))
    model = enhance(timm.create_model("test_resnet", num_classes=5), tap="layer3.0", views=views)
    blocks, whole = copy.deepcopy(model), copy.deepcopy(model)
    blocks.set_grad_checkpointing()
    assert blocks.grad_checkpointing
    losses = []
    for network, forward in (
        (model, model),
        (blocks, blocks),
        (whole, lambda x: checkpoint(whole, x, use_reentrant=False)),
    ):
        torch.manual_seed(1)
        timm.layers.set_reentrant_ckpt(reentrant)
        try:
            losses.append(JointLoss()(forward(x), labels))
            losses[-1].backward()
        finally:
            timm.layers.set_reentrant_ckpt(False)
        torch.testing.assert_close(losses[-1], losses[0])
        torch.testing.assert_close(gradients(network), gradients(model), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("transformation", [ChannelDiscard(identity=True), RegionDiscard(), QuarterTurns()])
def test_autocast_and_channels_last(transformation: Transformation) -> None:
    model = enhanced(DeepNet(), "layer1", transformation, distill=True).to(memory_format=torch.channels_last).train()
    seen: list[Tensor] = []
    model.layer2[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for views in ("all", "sampled"):
        joint_classifier(model).views = views
        with torch.autocast("cpu", torch.bfloat16):
            output = model(images().to(memory_format=torch.channels_last))
        JointLoss()(output, torch.randint(5, (4,))).backward()
        assert seen[-1].is_contiguous(memory_format=torch.channels_last)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_real_small_network() -> None:
    model = enhance(timm.create_model("cifar_resnet20", num_classes=5), RegionDiscard(), tap="layer2", distill=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, labels = images(4, 16), torch.randint(5, (4,))
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        losses.append(JointLoss()(model.train()(x), labels))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    model.eval()
    torch.testing.assert_close(fold(model)(x), model(x))


@pytest.mark.parametrize(
    ("name", "tap"),
    [
        ("resnet18", "layer4"),
        ("efficientnet_b0", "bn2"),  # after the last stage
        ("swin_tiny_patch4_window7_224", "norm"),  # channels last
        ("cifar_resnet20", "norm"),
    ],
)
def test_regions_are_discarded_from_the_last_map_unless_told(name: str, tap: str) -> None:
    with torch.device("meta"):
        model = enhance(timm.create_model(name, num_classes=5), RegionDiscard())
    joint = joint_classifier(model)
    assert joint.tap.name == tap
    assert joint.inference == "single"
    assert len(joint.tap.shape.size) == 2


@pytest.mark.parametrize("conv_head", [False, True])
def test_the_last_map_is_an_ordinary_tap(conv_head: bool) -> None:
    torch.manual_seed(0)
    stock = DeepNet(conv_head=conv_head)
    default, named = (
        enhance(copy.deepcopy(stock), RegionDiscard(), tap=tap, example=EXAMPLE) for tap in (None, "layer2")
    )
    x = images()
    assert default(x).logits.equal(named(x).logits)
    assert fold(default.eval())(x).equal(fold(named.eval())(x))


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_pass_of_another_kind_may_come_between_a_checkpointed_one_and_its_backward(reentrant: bool) -> None:
    gradients = []
    for between in (False, True):
        torch.manual_seed(0)
        model = enhanced(DeepNet(), "layer1.0").train()
        whole = model.layer1.forward
        model.layer1.forward = lambda x, whole=whole: checkpoint(whole, x, use_reentrant=reentrant)
        x = images().requires_grad_()
        loss = JointLoss()(model(x), torch.arange(len(x)) % 5)
        if between:
            model.eval()(images().requires_grad_()).sum()
            model.train()
        loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_views_that_checkpointing_draws_anew_are_an_error() -> None:
    for preserved in (True, False):
        model = enhanced(DeepNet(), "layer1.0", views="sampled").train()
        whole = model.layer1.forward
        model.layer1.forward = lambda x, whole=whole, preserved=preserved: checkpoint(
            whole, x, use_reentrant=False, preserve_rng_state=preserved
        )
        x = images(64)
        loss = JointLoss()(model(x), torch.arange(len(x)) % 5)
        if preserved:
            loss.backward()
            continue
        with pytest.raises(
            RuntimeError, match="other views than were sampled the first time: leave preserve_rng_state"
        ):
            loss.backward()
