from __future__ import annotations

import copy
import io
from collections import Counter
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from ssfe import ChannelDiscard, JointLogits, JointLoss, RegionDiscard, enhance, fold, joint_evaluation
from ssfe.core.classifier.embedded import EmbeddedClassifier
from ssfe.core.enhanced import joint_classifier
from tests.reference import classifier as reference
from tests.reference.networks import ConvHeadNet, TinyNet, TokenNet, images

NETWORKS = [TinyNet, ConvHeadNet, TokenNet]


def step(model: nn.Module, x: Tensor, labels: Tensor | None = None) -> Tensor:
    """One step of training; the gradients stay."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    labels = torch.randint(5, x.shape[:1]) if labels is None else labels
    loss = JointLoss()(model.train()(x), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"distill": True},
        {"views": "sampled"},
        {"logits": "chunked"},
        {"logits": "chunked", "views": "sampled"},
        {"tap": "stem", "transform": ChannelDiscard(3, identity=True)},
        {"tap": "stem", "transform": ChannelDiscard(3, identity=True), "distill": True},
        {"tap": "stem", "transform": ChannelDiscard(3, identity=True), "views": "sampled", "distill": True},
    ],
    ids=lambda options: " ".join(options) or "defaults",
)
def test_the_gradients_of_the_joint_rows_alone_are_scaled(options: dict[str, Any]) -> None:
    x = images(dtype=torch.float64)
    labels, found = torch.arange(len(x)) % 5, []
    for scale in (5.0, 1.0):
        torch.manual_seed(0)
        model = enhance(TinyNet().double(), **options, gradient_scale=scale)
        JointLoss()(model(x), labels).backward()
        found.append(gradients(model))
    for name, gradient in found[0].items():
        factor = 5 if name in ("fc.weight", "fc.bias") else 1
        torch.testing.assert_close(gradient, factor * found[1][name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("network", NETWORKS)
def test_training_output_is_the_reference_on_the_classifiers_input(network: type[nn.Module]) -> None:
    model = enhance(network().double(), ChannelDiscard(3), distill=True)
    step(model, images(dtype=torch.float64))  # so that the rows of the classifier differ
    joint = joint_classifier(model)
    x = images(dtype=torch.float64)
    inputs: list[Tensor] = []
    joint.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    output = model(x)
    assert isinstance(output, JointLogits)
    seen = inputs[0].movedim(1, -1) if joint.conv else inputs[0]  # (B, ..., C)
    pooled = seen.flatten(1, -2).mean(1) if seen.ndim > 2 else seen
    slow = reference.joint_logits(pooled, joint.weight, joint.bias, joint.masks)
    torch.testing.assert_close(output.logits, slow, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(output.distilled, joint.distilled(pooled), rtol=1e-10, atol=1e-10)
    joint.views = "sampled"
    sampled = model(x)
    own = slow[torch.arange(len(x))[:, None], sampled.views]
    torch.testing.assert_close(sampled.logits, own, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("network", NETWORKS)
def test_there_and_back(network: type[nn.Module]) -> None:
    stock = network().eval()
    before = copy.deepcopy(stock)
    x = images()
    model = enhance(stock)
    assert model is stock
    torch.testing.assert_close(model(x), before(x))
    torch.testing.assert_close(fold(model).state_dict(), before.state_dict())
    step(model, x)
    model.eval()
    for reading in ("aggregated", "single"):
        joint_classifier(model).inference = reading  # type: ignore[assignment]
        folded = fold(model)
        assert type(folded) is network
        assert not folded.training
        assert not folded._forward_hooks
        assert not folded._forward_pre_hooks
        torch.testing.assert_close(folded(x), model(x), rtol=1e-6, atol=1e-6)
        assert [type(m) for m in folded.modules()] == [type(m) for m in before.modules()]
    folded.train()
    assert isinstance(folded(x), Tensor)
    assert isinstance(model.train()(x), JointLogits), "folding leaves the enhanced network as it is"
    again = enhance(fold(model))
    assert isinstance(again(x), JointLogits)


def test_other_hooks_survive() -> None:
    model = enhance(TinyNet())
    calls: list[str] = []
    model.register_forward_hook(lambda *_: calls.append("hook"))
    model.register_forward_pre_hook(lambda *_: calls.append("pre"))
    fold(model).eval()(images())
    assert calls == ["pre", "hook"]


def test_a_classifier_that_stands_in_two_places() -> None:
    model = TinyNet()
    model.alias = model.fc
    enhance(model)
    assert isinstance(model.fc, EmbeddedClassifier)
    assert model.alias is model.fc
    folded = fold(model)
    assert folded.alias is folded.fc
    assert isinstance(folded.fc, nn.Linear)


@pytest.mark.parametrize("views", ["all", "sampled"])
def test_copies_drive_their_own_weights(views: Any) -> None:
    model = enhance(TinyNet(), views=views, distill=True)
    x, labels = images(), torch.randint(5, (4,))
    twin = copy.deepcopy(model)
    before = copy.deepcopy(model.state_dict())
    for _ in range(3):
        step(twin, x, labels)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(p.grad is None for p in model.parameters())
    assert not twin.fc.weight.equal(model.fc.weight)
    assert joint_classifier(twin) is twin.fc
    expected = model.eval()(x)
    nn.init.zeros_(twin.fc.weight)
    assert model(x).equal(expected)


@pytest.mark.parametrize("how", ["pickle", "state_dict"])
def test_saved_and_loaded(how: str, tmp_path: Path) -> None:
    model = enhance(TinyNet(), ChannelDiscard(groups="random", seed=3), distill=True)
    step(model, images())
    file = tmp_path / "model.pt"
    if how == "pickle":
        torch.save(model, file)
        loaded = torch.load(file, weights_only=False)
    else:
        torch.save(model.state_dict(), file)
        loaded = enhance(TinyNet(), ChannelDiscard(scheme="drop_fraction"), distill=True)
        loaded.load_state_dict(torch.load(file, weights_only=True))
    x = images()
    assert loaded.eval()(x).equal(model.eval()(x))
    torch.testing.assert_close(fold(loaded).state_dict(), fold(model).state_dict(), rtol=0, atol=0)
    loaded.train(), model.train()
    torch.testing.assert_close(loaded(x), model(x))
    step(loaded, x)
    assert not loaded.fc.weight.equal(model.fc.weight)


@pytest.mark.parametrize(
    "average",
    [
        {},
        {"multi_avg_fn": get_ema_multi_avg_fn(0.9)},
        {"multi_avg_fn": get_ema_multi_avg_fn(0.999)},
        {"avg_fn": get_ema_avg_fn(0.9)},
    ],
    ids=["swa", "ema 0.9", "ema 0.999", "ema function"],
)
def test_averaged_weights(average: dict[str, Any]) -> None:
    """The average has its own weights, and masks that no averaging of integers and booleans has spoilt."""
    model = enhance(TinyNet(channels=511), ChannelDiscard(groups="random"))
    averaged = AveragedModel(model, use_buffers=True, **average)
    x = images()
    for _ in range(4):
        step(model, x)
        averaged.update_parameters(model)
    inner = averaged.module
    assert inner.fc.masks.equal(model.fc.masks)
    assert not inner.fc.weight.equal(model.fc.weight)
    averaged.eval()
    torch.testing.assert_close(fold(inner)(x), averaged(x))
    with joint_evaluation(inner):
        output = averaged(x)
    features = inner.forward_features(x)
    slow = reference.joint_logits(features, inner.fc.weight, inner.fc.bias, inner.fc.masks)
    torch.testing.assert_close(output.logits, slow)


def test_joint_evaluation() -> None:
    model = enhance(TinyNet(dropout=0.5), ChannelDiscard(identity=True), views="sampled", distill=True)
    step(model, images())
    model.eval()
    x, before = images(), copy.deepcopy(model.state_dict())
    with joint_evaluation(model):
        output = model(x)
        assert output.logits.shape == (4, 4, 5, 4)
        torch.testing.assert_close(model(x), output, rtol=0, atol=0)  # no dropout
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not any(module.training for module in model.modules())
    for reading in ("aggregated", "single", "distilled"):
        joint_classifier(model).inference = reading  # type: ignore[assignment]
        torch.testing.assert_close(output.class_logits(reading), model(x))  # type: ignore[arg-type]
    with pytest.raises(KeyError), joint_evaluation(model):
        raise KeyError
    assert isinstance(model(x), Tensor)
    assert model.train()(x).logits.shape[1] == 1, "sampled again"
    with pytest.raises(ValueError, match="TinyNet is not enhanced"), joint_evaluation(TinyNet()):
        pass


def test_gradient_accumulation() -> None:
    x, labels = images(8, dtype=torch.float64), torch.randint(5, (8,))
    whole = enhance(TinyNet().double().eval(), distill=True)
    whole.fc.train()  # without batch norm's batches
    parts = copy.deepcopy(whole)
    JointLoss()(whole(x), labels).backward()
    for some_x, some_labels in zip(x.split(2), labels.split(2), strict=True):
        (JointLoss()(parts(some_x), some_labels) / 4).backward()
    torch.testing.assert_close(gradients(parts), gradients(whole), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("views", ["all", "sampled"])
def test_gradient_checkpointing(views: Any) -> None:
    x, labels = images(4, 32), torch.randint(5, (4,))
    model = enhance(timm.create_model("test_resnet", num_classes=5), views=views)
    twin = copy.deepcopy(model)
    twin.set_grad_checkpointing()
    whole = copy.deepcopy(model)
    losses = []
    for network, forward in (
        (model, model),
        (twin, twin),
        (whole, lambda x: checkpoint(whole, x, use_reentrant=False)),
    ):
        torch.manual_seed(1)
        losses.append(JointLoss()(forward(x), labels))
        losses[-1].backward()
        torch.testing.assert_close(losses[-1], losses[0])
        torch.testing.assert_close(gradients(network), gradients(model), rtol=1e-4, atol=1e-6)


class Cosine(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(nn.functional.normalize(x), nn.functional.normalize(self.weight))


class Scaled(nn.Linear):
    """A plain product today, with a scale that learns: folding could not know what to do with it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


class Auxiliary(TinyNet):
    def forward(self, x: Tensor) -> Any:
        return {"out": super().forward(x)}


def with_classifier(layer: nn.Module) -> nn.Module:
    model = TinyNet()
    model.fc = layer
    return model


class Unusual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.embed, self.project = nn.Conv2d(3, 8, 1), nn.Linear(8, 8), nn.Linear(8, 5)
        self.norm = nn.BatchNorm1d(5)


class Hidden(nn.Module):
    """Calls a hidden layer fc."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.output = nn.Linear(12, 32), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.fc(x.mean((2, 3)).repeat(1, 4)).relu())


def compiled_in_place() -> nn.Module:
    model = TinyNet()
    model.compile()
    return model


def hooked(register: str) -> nn.Module:
    model = TinyNet()
    getattr(model.fc, register)(lambda *_: None)
    return model


def with_a_buffer() -> nn.Module:
    model = TinyNet()
    model.fc.register_buffer("mask", torch.ones(13))
    return model


def stepping_in_backward() -> nn.Module:
    model = TinyNet()
    model.fc.weight.register_post_accumulate_grad_hook(lambda parameter: None)
    return model


def masked_gradient() -> nn.Module:
    model = TinyNet()
    model.fc.bias.register_hook(torch.zeros_like)
    return model


def tied() -> nn.Module:
    model = TinyNet()
    model.prototypes = nn.Embedding(5, 13)
    model.prototypes.weight = model.fc.weight
    return model


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lambda: torch.compile(TinyNet()), {}, TypeError, "is compiled already: enhance it first"),
        (compiled_in_place, {}, TypeError, "is compiled already: enhance it first"),
        (lambda: nn.DataParallel(TinyNet()), {}, TypeError, "DataParallel already: .* use DistributedDataParallel"),
        (
            lambda: nn.Sequential(nn.DataParallel(TinyNet())),
            {},
            TypeError,
            "part '0' is wrapped in DataParallel already: enhance the network first",
        ),
        (lambda: torch.jit.script(nn.Linear(16, 5)), {}, TypeError, "wrapped in .*ScriptModule already"),
        (lambda: "resnet18", {}, TypeError, "takes a torch.nn.Module, not str"),
        (lambda: enhance(TinyNet()), {}, ValueError, "enhanced already: fold it first"),
        (lambda: nn.Sequential(enhance(TinyNet())), {}, ValueError, "enhanced already"),
        (
            Unusual,
            {},
            ValueError,
            r"no classifier in Unusual: looked for get_classifier\(\), the attributes fc, classifier, .*'project'",
        ),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), {}, ValueError, "no Linear and no 1x1 Conv2d at all"),
        (TinyNet, {"classifier": "head"}, ValueError, "TinyNet has no module 'head'.*for example 'fc'"),
        (TinyNet, {"classifier": ""}, ValueError, "classifier='' names no layer of TinyNet"),
        (TinyNet, {"classifier": ("",)}, ValueError, "TinyNet has no module ''"),
        (TinyNet, {"classifier": "stem"}, ValueError, "classifier='stem' of TinyNet is Sequential without a Linear"),
        (
            lambda: nn.Linear(16, 5),
            {},
            ValueError,
            r"is its own classifier: enhance the network that it is the head of",
        ),
        (
            lambda: timm.create_model("test_resnet", num_classes=0),
            {},
            ValueError,
            r"get_classifier\(\) of ResNet is Identity without",
        ),
        (Hidden, {}, ValueError, r"which is the classifier of Hidden, 'fc' or 'output'\? .*classifier='output'"),
        (TinyNet, {"classifier": ("fc", "head")}, ValueError, "TinyNet has no module 'head'.*for example 'fc'"),
        (Unusual, {"classifier": ("embed", "project")}, ValueError, "have 8, 5 classes: they must have the same"),
        (lambda: with_classifier(parametrizations.weight_norm(nn.Linear(13, 5))), {}, TypeError, "parametrized"),
        (lambda: with_classifier(nn.utils.weight_norm(nn.Linear(13, 5))), {}, TypeError, "parametrized"),
        (lambda: with_classifier(nn.utils.spectral_norm(nn.Linear(13, 5))), {}, TypeError, "parametrized"),
        (lambda: with_classifier(nn.LazyLinear(5)), {}, TypeError, "LazyLinear has no weights yet: run the network"),
        (lambda: with_classifier(Cosine(13, 5)), {}, TypeError, "Cosine does more than a linear layer"),
        (lambda: with_classifier(Scaled(13, 5)), {}, TypeError, "Scaled has more than weight and bias: scale"),
        (lambda: with_classifier(nn.Linear(13, 1)), {}, ValueError, "num_classes=1"),
        (
            lambda: hooked("register_forward_hook"),
            {},
            TypeError,
            "classifier Linear has hooks, which the layer in its place would not call",
        ),
        (lambda: hooked("register_forward_pre_hook"), {}, TypeError, "classifier Linear has hooks"),
        (lambda: hooked("register_full_backward_hook"), {}, TypeError, "classifier Linear has hooks"),
        (lambda: hooked("register_full_backward_pre_hook"), {}, TypeError, "classifier Linear has hooks"),
        (with_a_buffer, {}, TypeError, "Linear has more than weight and bias: mask"),
        (TinyNet, {"classifier": ()}, ValueError, r"classifier=\(\) names no layer of TinyNet; .*for example 'fc'"),
        (stepping_in_backward, {}, TypeError, "classifier's weight has hooks, .* enhance first, then put them on"),
        (masked_gradient, {}, TypeError, "classifier's bias has hooks"),
        (tied, {}, TypeError, "classifier shares parameters with 'prototypes': .* parameters of its own"),
        (TinyNet, {"transform": ChannelDiscard(14)}, ValueError, "transforms=14 is more than the 13 channels"),
        (TinyNet, {"views": "none"}, ValueError, "unknown views 'none'"),
        (TinyNet, {"inference": "distilled"}, ValueError, "distill=True"),
    ],
)
def test_refuses(make: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    model = make()
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    with pytest.raises(error, match=message):
        enhance(model, **options)
    if modules:
        assert list(model.modules()) == modules, "left as it was"


def test_a_checkpoint_of_the_stock_network_is_named() -> None:
    state = TinyNet().state_dict()
    with pytest.raises(RuntimeError, match=r"checkpoint of the stock network: load it before ssfe\.enhance"):
        enhance(TinyNet()).load_state_dict(state)


def test_the_named_classifier_is_taken() -> None:
    named = enhance(Hidden(), classifier="output")
    assert named(images()).logits.shape == (4, 4, 5, 4)

    class TwoHeads(TinyNet):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Sequential(nn.LayerNorm(13), nn.Linear(13, 5), nn.Dropout())

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.forward_features(x))

    model = enhance(TwoHeads(), classifier="head")
    assert isinstance(model.head[1], EmbeddedClassifier)
    assert isinstance(model.fc, nn.Linear)
    assert isinstance(model(images()), JointLogits)
    assert isinstance(enhance(TwoHeads(), classifier="head.1").head[1], EmbeddedClassifier)


def test_refuses_the_parts_in_training_mode() -> None:
    model = enhance(TinyNet())
    features = model.forward_features(images())
    with pytest.raises(RuntimeError, match=r"call model\(images\), not its parts"):
        model.fc(features)
    model.eval()
    assert model.fc(features).shape == (4, 5)


def test_refuses_auxiliary_outputs() -> None:
    model = enhance(Auxiliary())
    with pytest.raises(TypeError, match=r"in training mode Auxiliary returned dict .*alone or in a tuple"):
        model(images())
    assert model.eval()(images())["out"].shape == (4, 5)


def test_a_classifier_replaced_afterwards_is_named() -> None:
    model = enhance(TinyNet())
    model.fc = nn.Linear(13, 7)
    with pytest.raises((TypeError, RuntimeError, ValueError), match=r"(?i)replaced|no longer|was removed"):
        model(images())


@pytest.mark.parametrize("call", [fold, joint_classifier])
def test_only_enhanced_networks_fold(call: Any) -> None:
    with pytest.raises(ValueError, match=r"TinyNet is not enhanced: call ssfe\.enhance\(model\) first"):
        call(TinyNet())
    model = enhance(TinyNet())
    for wrapper, part in ((nn.Sequential(nn.Identity(), model), "1"), (torch.compile(model), "_orig_mod")):
        with pytest.raises(ValueError, match=f"pass its part '{part}' instead"):
            call(wrapper)
    for wrapped in (nn.DataParallel(model), AveragedModel(model)):
        with pytest.raises(ValueError, match="pass its part 'module' instead"):
            call(wrapped)
    with pytest.raises(ValueError, match="distill=True"):
        fold(model, "distilled")
    with pytest.raises(ValueError, match="unknown inference 'all'"):
        fold(model, "all")  # type: ignore[arg-type]


def test_two_networks_in_one_pickle_stay_apart() -> None:
    """As a trainer saves a network and its average."""
    buffer = io.BytesIO()
    model = enhance(ConvHeadNet())
    torch.save({"model": model, "ema": copy.deepcopy(model)}, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    assert joint_classifier(loaded["model"]) is loaded["model"].head
    assert joint_classifier(loaded["ema"]) is loaded["ema"].head
    assert isinstance(fold(loaded["ema"]).head, nn.Conv2d)


class DictNet(TinyNet):
    """As in transformers: logits in a dict, and the network's own loss if it is given labels."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        logits = super().forward(images)
        output = {"logits": logits, "features": images}
        return output if labels is None else output | {"loss": nn.functional.cross_entropy(logits, labels)}


def test_logits_in_a_dict() -> None:
    torch.manual_seed(1)
    plain = enhance(TinyNet())
    model = enhance(DictNet())
    model.load_state_dict(plain.state_dict())
    x, labels = images(), torch.randint(5, (4,))
    output = model(x)
    assert list(output) == ["logits", "features"]
    torch.testing.assert_close(output["logits"], plain(x))
    assert output["features"] is x
    with pytest.raises(TypeError, match="given labels and would compute its own loss"):
        model(x, labels=labels)
    stock = fold(model).eval()
    assert stock(x, labels=labels)["loss"] == model.eval()(x, labels=labels)["loss"]


@pytest.mark.parametrize("tap", [None, "stem"])
def test_a_frozen_classifier_stays_frozen(tap: Any) -> None:
    stock = TinyNet()
    stock.fc.weight.requires_grad_(False)
    model = enhance(stock, tap=tap, distill=True)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning & {"fc.weight", "fc.bias", "fc.distilled.weight", "fc.distilled.bias"} == {
        "fc.bias",
        "fc.distilled.bias",
    }
    folded = fold(model, "distilled").fc
    assert (folded.weight.requires_grad, folded.bias.requires_grad) == (False, True)
    model.fc.requires_grad_(True)
    assert fold(model, "distilled").fc.weight.requires_grad, "unfrozen since"


@pytest.mark.parametrize("tap", [None, "stem"])
def test_the_generator_is_left_alone(tap: Any) -> None:
    model = TinyNet()
    before = torch.get_rng_state()
    enhance(model, tap=tap, distill=True)
    assert torch.get_rng_state().equal(before), "a network trained with and without sees the same dropout"


class KeepsAGrid(TinyNet):
    """Makes a buffer when it first knows the size, and keeps it in an attribute, a dict and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.grid: Tensor | None = None
        self.by_size: dict[int, Tensor] = {}
        self.log: list[Tensor] = []

    def forward_features(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        if self.grid is None:
            self.grid = torch.linspace(0, 1, x.shape[-1], device=x.device)
        grid = self.by_size.setdefault(x.shape[-1], self.grid * self.fc.weight.detach().mean())
        self.log.append(grid)
        return (x * self.grid).mean((2, 3)) + grid.sum()


@pytest.mark.parametrize("options", [{"tap": "stem"}, {"transform": RegionDiscard()}])
def test_trying_a_tap_leaves_nothing_in_the_network(options: dict[str, Any]) -> None:
    model = KeepsAGrid()
    handle = model.register_forward_hook(lambda module, args, output: None)
    enhance(model, example=images(), **options)
    assert (model.grid, model.by_size, model.log) == (None, {}, [])
    step(model, images())
    count = len(model._forward_hooks)
    handle.remove()
    assert len(model._forward_hooks) == count - 1


def test_a_classifier_replaced_since_is_refused_by_enhance_too() -> None:
    model = enhance(TinyNet())
    model.fc = nn.Linear(13, 7)
    with pytest.raises(ValueError, match="was enhanced before, and its joint classifier replaced since"):
        enhance(model)
    enhance(fold(model))


def test_networks_that_share_a_classifier_are_told_that_they_part() -> None:
    one, two = TinyNet(), TinyNet()
    two.fc = one.fc
    enhance(one)
    with pytest.warns(UserWarning, match="is that of another network too, which is enhanced already"):
        enhance(two)
    three = TinyNet()
    three.fc = copy.deepcopy(TinyNet().fc)
    enhance(three)


class Merges(nn.Linear):
    """As some adapters do, it puts an addition into its weight in evaluation mode and takes it out again."""

    merged = False

    def train(self, mode: bool = True) -> Merges:
        super().train(mode)
        if self.merged == mode:
            self.weight.data += -1 if mode else 1
            self.merged = not mode
        return self


def test_trying_a_tap_leaves_what_eval_does() -> None:
    model = TinyNet()
    model.merging = Merges(13, 13)
    weight = model.merging.weight.detach().clone()
    enhance(model, tap="stem", classifier="fc", example=images())
    model.eval()
    assert torch.allclose(model.merging.weight, weight + 1)
    model.train()
    assert torch.allclose(model.merging.weight, weight)


def test_a_forward_that_calls_the_original_does_not_fold() -> None:
    model = enhance(TinyNet())
    model.forward = torch.compile(model.forward, backend="eager")
    step(model, images())
    with pytest.raises(ValueError, match="forward of 'TinyNet' was replaced by a function that calls the enhanced"):
        fold(model)
    del model.forward
    x = images()
    assert torch.allclose(fold(model.eval())(x), model(x), atol=1e-6)


def test_a_forward_of_its_own_folds() -> None:
    model = enhance(TinyNet())
    model.forward = MethodType(TinyNet.forward, model)
    model.stem[2].forward = lambda x: x.relu() if x.ndim else never
    if not isinstance(model, TinyNet):  # so that the function closes over a name without a value
        never = model
    model.eval()
    x = images()
    assert torch.allclose(fold(model)(x), model(x), atol=1e-6)


class KeepsFeatures(TinyNet):
    def forward_features(self, images: Tensor) -> Tensor:
        self.last = super().forward_features(images)
        self.every = {"last": self.last}
        return self.last


def test_a_network_that_keeps_activations_folds() -> None:
    model = KeepsFeatures()
    nn.utils.spectral_norm(model.stem[0])
    enhance(model)
    step(model, images())
    model.eval()
    stock = fold(model)
    assert torch.equal(stock.last, model.last)
    assert stock.every["last"] is stock.last
    x = images()
    assert torch.allclose(stock(x), model(x), atol=1e-6)


def test_a_traced_network_folds() -> None:
    model = enhance(torch.fx.symbolic_trace(TinyNet()))
    step(model, images())
    model.eval()
    stock = fold(model)
    assert not stock._forward_hooks
    x = images()
    assert torch.allclose(stock(x), model(x), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "name"), [({}, "fc.channel_masks._extra_state"), ({"tap": "stem"}, "fc.tap._extra_state")]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_masks_of_an_averaged_checkpoint(dtype: torch.dtype, options: dict[str, Any], name: str) -> None:
    model = enhance(TinyNet(), **options)
    state = dict(model.state_dict())
    state |= {name: value.to(dtype) for name, value in state.items() if value.dtype == torch.bool}
    other = enhance(TinyNet(), ChannelDiscard(groups="interleaved", identity="tap" in options), **options)
    other.load_state_dict(state)
    assert torch.equal(other.state_dict()[name], model.state_dict()[name])
    state[name] = state[name] * 0.5
    if dtype.is_floating_point:
        with pytest.raises(ValueError, match="bool"):
            other.load_state_dict(state)


@pytest.mark.parametrize("tap", [None, "stem"])
def test_a_checkpoint_loaded_in_inference_mode_trains(tap: str | None) -> None:
    model = enhance(TinyNet(), ChannelDiscard(groups="interleaved"), tap=tap, example=images())
    with torch.inference_mode():
        model.load_state_dict(copy.deepcopy(model.state_dict()))
    step(model, images())


def test_a_tap_keeps_its_own_copy_of_a_checkpoint() -> None:
    model = enhance(TinyNet(), ChannelDiscard(identity=True), tap="stem", example=images())
    state = model.state_dict()
    model.load_state_dict(state)
    state["fc.tap._extra_state"].fill_(True)
    assert not model.fc.tap.state.all()


def test_a_classifier_that_is_not_finite_is_still_linear() -> None:
    model = TinyNet()
    with torch.no_grad():
        model.fc.weight[0, 0] = torch.nan
    assert joint_classifier(enhance(model)).weight.isnan().any()


def test_activations_that_a_network_keeps_are_no_hindrance_to_folding() -> None:
    class Remembering(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            features = self.forward_features(x)
            self.seen = {"last": [features], "pairs": [(features, features)], "kept": Counter(a=features)}
            self.seen["itself"] = self.seen
            return self.fc(features)

    model, x = enhance(Remembering()), images()
    model(x)
    stock = fold(model)
    assert stock.seen["last"][0].equal(model.seen["last"][0])
    torch.testing.assert_close(stock.eval()(x), model.eval()(x))
