"""Joint classifiers inside a network: calls, several heads, and outputs that are more than logits."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from ssfe import (
    ChannelDiscard,
    JointLogits,
    JointLoss,
    LazyJointLogits,
    RegionDiscard,
    enhance,
    fold,
    joint_evaluation,
)
from ssfe.core.classifier.embedded import EmbeddedClassifier
from ssfe.core.enhanced import joint_classifiers
from tests.reference import classifier as reference
from tests.reference.networks import TinyNet, TwoHeads, images


class Outputs(NamedTuple):
    features: Tensor
    logits: Any
    nothing: None


class WithFeatures(TinyNet):
    def forward(self, x: Tensor) -> Any:
        features = self.forward_features(x)
        return Outputs(features, self.fc(features), None)


class CallsTwice(TinyNet):
    """Calls its classifier twice."""

    def forward(self, x: Tensor) -> Tensor:
        return (super().forward(x) + super().forward(x.flip(-1))) / 2


def by_definition(features: Tensor, head: EmbeddedClassifier) -> Tensor:
    return reference.joint_logits(features, head.weight, head.bias, head.masks)


def without_batch_statistics(model: nn.Module) -> nn.Module:
    """Training mode, but for batch norm, so that the features may be computed again."""
    model.train()
    for module in model.modules():
        module.training = module.training and not isinstance(module, nn.BatchNorm2d)
    return model


def own_views(every: Tensor, output: JointLogits) -> Tensor:
    """Of the joint logits of all views, those of the views that are there."""
    return every.gather(1, output.views[:, :, None, None].expand(-1, -1, *every.shape[2:]))


@pytest.mark.parametrize("views", ["all", "sampled"])
def test_a_classifier_called_twice_sees_the_same_views(views: Any) -> None:
    model = enhance(CallsTwice(), views=views)
    x = images()
    output = without_batch_statistics(model)(x)
    features = (model.forward_features(x) + model.forward_features(x.flip(-1))) / 2
    torch.testing.assert_close(output.logits, own_views(by_definition(features, model.fc), output))


def test_classifiers_on_different_batches_are_refused_with_sampled_views() -> None:
    class Crops(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + super().forward(x[:2]).mean(0)

    with pytest.raises(RuntimeError, match=r"on batches of 4 and 2: use views='all'"):
        enhance(Crops(), views="sampled")(images())


@pytest.mark.parametrize("views", ["all", "sampled"])
@pytest.mark.parametrize("classifier", [None, ("fc", "head_dist")])
def test_two_heads_share_their_views(views: Any, classifier: Any) -> None:
    model = without_batch_statistics(enhance(TwoHeads(), classifier=classifier, views=views))
    x = images(16)
    output = model(x)
    features = model.forward_features(x)
    one, other = by_definition(features, model.fc), by_definition(model.wide(features).relu(), model.head_dist)
    torch.testing.assert_close(output.logits, own_views((one + other) / 2, output))
    model.both = True
    first, second = model(x)
    assert first.views.equal(second.views)
    torch.testing.assert_close(first.logits, own_views(one, first))
    torch.testing.assert_close(second.logits, own_views(other, second))


def test_two_heads_there_and_back() -> None:
    stock = TwoHeads().eval()
    x = images()
    expected = stock(x)
    model = enhance(copy.deepcopy(stock), ChannelDiscard(identity=True), distill=True)
    torch.testing.assert_close(model(x), expected)
    assert fold(model).state_dict().keys() == stock.state_dict().keys()
    JointLoss()(model.train()(x), torch.randint(5, (4,))).backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    model.eval()
    with joint_evaluation(model):
        output = model(x)
    for reading in ("aggregated", "single", "distilled"):
        for head in joint_classifiers(model):
            head.inference = reading
        torch.testing.assert_close(fold(model)(x), model(x))
        torch.testing.assert_close(output.class_logits(reading), model(x))
        torch.testing.assert_close(fold(model, reading)(x), model(x))


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_of_two_heads_share_with_each_other_alone(how: str) -> None:
    model = enhance(TwoHeads(), views="sampled")
    if how == "deepcopy":
        twin = copy.deepcopy(model)
    else:
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        twin = torch.load(buffer, weights_only=False)
    heads, theirs = joint_classifiers(model), joint_classifiers(twin)
    assert heads[0]._call is heads[1]._call
    assert theirs[0]._call is theirs[1]._call
    assert heads[0]._call is not theirs[0]._call
    assert isinstance(twin(images()), JointLogits)


def test_outputs_beside_the_logits_stay() -> None:
    model = without_batch_statistics(enhance(WithFeatures()))
    x = images()
    output = model(x)
    assert type(output) is Outputs
    assert isinstance(output.logits, JointLogits)
    assert output.logits.logits.shape == (4, 4, 5, 4)
    assert output.features.equal(model.forward_features(x))
    assert output.nothing is None
    assert model.eval()(x).logits.shape == (4, 5)
    assert type(fold(model).train()(x)) is Outputs


@pytest.mark.parametrize("views", ["all", "sampled"])
def test_features_as_wide_as_the_joint_logits(views: Any) -> None:
    """16 classes under 4 transformations make 64 joint labels; the features have 64 channels."""

    class Wide(WithFeatures):
        def __init__(self) -> None:
            super().__init__(classes=16, channels=64)

    model = without_batch_statistics(enhance(Wide(), views=views, distill=True))
    x = images()
    output = model(x)
    assert output.features.equal(model.forward_features(x))
    assert isinstance(output.logits, JointLogits)
    assert output.logits.logits.shape == (4, 4 if views == "all" else 1, 16, 4)


def test_a_replica_of_data_parallel_is_refused() -> None:
    replica = enhance(TinyNet())._replicate_for_data_parallel()
    with pytest.raises(RuntimeError, match=r"DataParallel runs copies .* use DistributedDataParallel"):
        replica(images())


class Joins(TinyNet):
    """Two crops of an image, whose logits come out as one batch."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x), super().forward(x.flip(-1))])


class Splits(TinyNet):
    """Two crops of an image in one batch, whose logits come out apart."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(torch.cat([x, x.flip(-1)])).chunk(2)


class Mirrors(TinyNet):
    """Image and mirror in one batch, one after the other, averaged."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = super().forward(torch.cat([x, x.flip(-1)])).chunk(2)
        return (first + second) / 2


class TimeFirst(TinyNet):
    """The mean over three frames, which stand before the images."""

    def forward(self, x: Tensor) -> Tensor:
        frames = torch.stack([self.forward_features(x.roll(shift, -1)) for shift in range(3)])
        return self.fc(frames).mean(0)


class Clips(TinyNet):
    """The mean over three frames of an image, side by side."""

    def forward(self, x: Tensor) -> Tensor:
        frames = torch.stack([x.roll(shift, -1) for shift in range(3)], 1)
        return super().forward(frames.flatten(0, 1)).unflatten(0, (-1, 3)).mean(1)


class UsesTheWeight(TinyNet):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.forward_features(x), self.fc.weight, self.fc.bias)


class Probes(TinyNet):
    """Looks at the first image alone, afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        self.fc(self.forward_features(x[:1]))
        return logits


def test_a_classifier_called_on_fewer_images_afterwards() -> None:
    x = images()
    assert enhance(Probes())(x).logits.shape == (len(x), 4, 5, 4)


def test_a_joint_classifier_is_copied_and_pickled_without_its_network() -> None:
    model = enhance(TinyNet())
    model.register_forward_hook(lambda module, args, output: None)
    torch.save(model.fc, io.BytesIO())
    assert copy.deepcopy(model.fc).masks.equal(model.fc.masks)


class Branches(TinyNet):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), super().forward(x.flip(-1))


@pytest.mark.parametrize("options", [{}, {"distill": True}, {"views": "sampled"}])
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Joins, "Joins joins its logits along the batch, which would mix up the views"),
        (Splits, "Splits splits its logits along the batch"),
        (Mirrors, "Mirrors makes an image's logits of rows of its classifier that do not lie side by side"),
        (TimeFirst, "TimeFirst (makes|joins) .*, which would mix up the views"),
        (UsesTheWeight, "returned joint logits without calling its classifier"),
    ],
)
def test_networks_that_would_mix_up_the_views_are_refused(
    network: type[TinyNet], message: str, options: dict[str, Any]
) -> None:
    model = enhance(network(), **options)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=message):
            model(images())


@pytest.mark.parametrize("options", [{}, {"distill": True}])
def test_an_average_over_rows_side_by_side_passes(options: dict[str, Any]) -> None:
    model, x = enhance(Clips(), **options), images()
    output = model(x)
    assert output.logits.shape[0] == len(x)
    assert model.fc._followed, "looked at once"
    JointLoss()(output, torch.arange(len(x)) % 5).backward()
    assert model.fc.weight.grad is not None


def test_an_average_over_rows_each_with_a_view_of_its_own_is_refused() -> None:
    model = enhance(Clips(), views="sampled")
    with pytest.raises(RuntimeError, match=r"Clips averages several rows of its classifier .* use views='all'"):
        model(images())


class Centred(TinyNet):
    """Subtracts the mean over the batch from its logits."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits - logits.mean(0)


@pytest.mark.parametrize("options", [{}, {"tap": "stem"}, {"transform": RegionDiscard()}])
def test_logits_centred_over_views_are_refused_at_any_tap(options: dict[str, Any]) -> None:
    """The trial of a tap, on the meta device where all addresses are 0, does not show it; nor does an empty batch."""
    model = enhance(Centred(), example=images(), **options)
    model(images()[:0])
    with pytest.raises(RuntimeError, match="do not lie side by side"):
        model(images())


def test_transforms_of_functions_work_from_the_first_step_on() -> None:
    model, x, labels = enhance(TinyNet()), images(), torch.arange(len(images())) % 5
    without_batch_statistics(model)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(own: dict[str, Tensor]) -> Tensor:
        return JointLoss()(torch.func.functional_call(model, own, (x,)), labels)

    found = torch.func.grad(loss)(parameters)
    JointLoss()(model(x), labels).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(found[name], p.grad)


def test_transforms_of_functions_take_whole_logits_of_large_label_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssfe.core.classifier.joint_classifier.LARGE", 1)
    model, x, labels = enhance(TinyNet()), images(), torch.arange(len(images())) % 5
    without_batch_statistics(model)
    assert isinstance(model(x), LazyJointLogits)
    found = torch.func.grad(lambda x: JointLoss()(model(x), labels))(x)
    (expected,) = torch.autograd.grad(JointLoss()(model(x.requires_grad_()), labels), x)
    torch.testing.assert_close(found, expected)


def test_on_the_meta_device_shapes_can_be_had() -> None:
    for views in ("all", "sampled"):
        model = enhance(TinyNet(), views=views).to("meta")
        output = model(images().to("meta"))
        assert output.logits.shape == (len(images()), 4 if views == "all" else 1, 5, 4)
        loss = JointLoss()(output, torch.zeros(len(images()), dtype=torch.long, device="meta"))
        loss.backward()
        assert loss.is_meta


def test_the_loss_takes_fake_tensors() -> None:
    with FakeTensorMode():
        logits = torch.randn(3, 4, 5, 4, requires_grad=True)
        JointLoss()(JointLogits(logits, torch.arange(4).expand(3, -1)), torch.zeros(3, dtype=torch.long)).backward()


def test_rows_are_followed_once_it_can_be_done() -> None:
    """Within a checkpoint a backward pass would start the network anew."""
    model, x = enhance(Mirrors()), images().requires_grad_()
    checkpoint(model, x, use_reentrant=False)
    with torch.no_grad():
        model(x)
    with pytest.raises(RuntimeError, match="do not lie side by side"):
        model(x)


def test_a_weight_used_without_its_layer_is_seen_in_evaluation_too() -> None:
    with pytest.raises(RuntimeError, match="UsesTheWeight returned joint logits without calling its classifier"):
        enhance(UsesTheWeight()).eval()(images())


class Listed(TinyNet):
    """Keeps its classifier where no module is looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [self.fc]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[0](self.forward_features(x))


def test_a_stock_layer_held_elsewhere_is_named_as_the_cause() -> None:
    with pytest.raises(RuntimeError, match="Listed did not call its joint classifier 'fc': if it holds the stock"):
        enhance(Listed())(images())


def test_branches_are_the_network_on_each_part() -> None:
    torch.manual_seed(0)
    whole, branches = enhance(TinyNet()), enhance(Branches())
    branches.load_state_dict(whole.state_dict())
    x, labels = images(), torch.arange(len(images())) % 5
    first, second = without_batch_statistics(branches)(x)
    without_batch_statistics(whole)
    assert torch.equal(first.logits, whole(x).logits)
    assert torch.equal(second.logits, whole(x.flip(-1)).logits)
    assert torch.isfinite(JointLoss()(first, labels) + JointLoss()(second, labels))


LOAD = """
import sys, torch
from torch import nn
from tests.reference.networks import TinyNet, images
model = torch.load(sys.argv[1], weights_only=False)
calls = []
model.register_forward_pre_hook(lambda module, args: calls.append("before"))
for _ in range(3):
    model.register_forward_hook(lambda module, args, output: calls.append(type(output).__name__))
model.stem.register_forward_hook(lambda module, args, output: calls.append("stem"))
assert type(model(images())).__name__ == "JointLogits", calls
assert calls == ["before", "stem", *["JointLogits"] * 3], calls
"""


@pytest.mark.parametrize("tap", [None, "stem"])
def test_hooks_put_on_a_network_from_a_file_replace_none(tap: str | None, tmp_path: Path) -> None:
    """torch counts hooks from zero in every process."""
    torch.save(enhance(TinyNet(), tap=tap, example=images()), tmp_path / "model.pt")
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", LOAD, str(tmp_path / "model.pt")]
    loaded = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr


def test_an_empty_batch_passes() -> None:
    output = enhance(TinyNet()).train()
    for module in output.modules():
        module.training = module.training and not isinstance(module, nn.BatchNorm2d)
    assert output(images(0)).logits.shape[0] == 0


class AddsAPrior(TinyNet):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.zeros(5)


def test_what_fails_after_the_classifier_is_told_why() -> None:
    model = enhance(AddsAPrior()).train()
    with pytest.raises(RuntimeError, match="size of tensor") as caught:
        model(images())
    (note,) = caught.value.__notes__
    assert "ssfe: in training mode the enhanced classifier 'fc' returns joint logits (views * B, 20)" in note
    assert "as (B, 5) class logits" in note
    assert model.eval()(images()).shape[1] == 5
    with pytest.raises(RuntimeError) as caught:
        model.train()(torch.zeros(2, 7, 8, 8))
    assert not hasattr(caught.value, "__notes__"), "this failed before the classifier"


def test_a_weight_used_without_its_layer_in_evaluation_alone_is_seen_after_a_step_too() -> None:
    class InEvaluation(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            features = self.forward_features(x)
            return self.fc(features) if self.training else features @ self.fc.weight.T + self.fc.bias

    model = enhance(InEvaluation())
    model(images())
    with pytest.raises(RuntimeError, match="InEvaluation returned joint logits without calling its classifier"):
        model.eval()(images())
