"""Logits in chunks: the same loss and gradients as whole logits, in the memory of a fraction of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssfe import ChannelDiscard, JointClassifier, JointLogits, JointLoss, LazyJointLogits, enhance, fold
from ssfe import joint_evaluation as joint_evaluation_of
from ssfe.core.enhanced import joint_classifier
from ssfe.core.memory import allocated_bytes
from ssfe.core.products import chunked_loss
from tests.reference import classifier as reference
from tests.reference import joint as reference_joint
from tests.reference.networks import ConvHeadNet, TinyNet, images

EXACT = {"rtol": 1e-10, "atol": 1e-10}
CLASSES = 6
TRANSFORMS = [
    ChannelDiscard(),
    ChannelDiscard(groups="interleaved"),
    ChannelDiscard(3, "keep_group", "random"),
    ChannelDiscard(5, identity=True),
    ChannelDiscard(16),
    ChannelDiscard(3, "drop_fraction"),
    ChannelDiscard(8, "drop_fraction", identity=True),  # partial products do not pay
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few rows make several blocks, the last of them smaller."""
    monkeypatch.setattr(chunked_loss, "_BLOCK", 200)


def classifier(transform: ChannelDiscard | None = None, channels: int = 37, **options: Any) -> JointClassifier:
    options = {"dtype": torch.float64, "gradient_scale": 3.0, **options}
    return JointClassifier(channels, CLASSES, transform, logits="chunked", **options)


def labels_of(kind: str, batch: int = 7) -> Tensor:
    if kind == "indices":
        return torch.randint(CLASSES, (batch,))
    probabilities = (3 * torch.randn(batch, CLASSES)).double().softmax(1)
    return probabilities * torch.empty(batch, 1).uniform_(0.96, 1.04)  # sums may differ from one a little


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_equals_the_reference(transform: ChannelDiscard, kind: str, smoothing: float) -> None:
    joint = classifier(transform, distill=True)
    x, labels = torch.randn(7, 37).double().requires_grad_(), labels_of(kind)
    output = joint(x)
    assert isinstance(output, LazyJointLogits)
    loss = 3 * JointLoss(smoothing)(output, labels)
    slow = reference.joint_logits(x, joint.weight, joint.bias, joint.masks)
    head = F.linear(x, joint.distilled.weight, joint.distilled.bias)
    teacher = reference_joint.aggregated(slow, output.views)
    expected = 3 * (
        reference_joint.cross_entropy(slow, output.views, labels, smoothing)
        + reference_joint.distillation(head, teacher, labels, smoothing)
    )
    torch.testing.assert_close(loss, expected, **EXACT)
    leaves = [x, *joint.parameters()]
    gradients = torch.autograd.grad(loss, leaves, retain_graph=True)
    slow_gradients = reference.rows_scaled(joint, torch.autograd.grad(expected, leaves))
    torch.testing.assert_close(gradients, slow_gradients, **EXACT)
    again = torch.autograd.grad(loss, leaves, retain_graph=True)  # a second backward pass
    torch.testing.assert_close(again, gradients, **EXACT)

    whole = output.whole()
    by_whole = torch.autograd.grad(3 * JointLoss(smoothing)(whole, labels), leaves)
    torch.testing.assert_close(by_whole, slow_gradients, **EXACT)
    torch.testing.assert_close(whole.logits, slow, **EXACT)
    for reading in ("aggregated", "single", "marginal", "distilled"):
        torch.testing.assert_close(output.class_logits(reading), whole.class_logits(reading), **EXACT)  # type: ignore[arg-type]
    torch.testing.assert_close(output.transform_logits(), whole.transform_logits(), **EXACT)
    assert output.pretext_accuracy() == whole.pretext_accuracy()
    with pytest.raises(ValueError, match="unknown reading 'all'"):
        output.class_logits("all")  # type: ignore[arg-type]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_sampled_views(kind: str, conv: bool, bias: bool) -> None:
    joint = classifier(views="sampled", conv=conv, bias=bias)
    x = torch.randn(7, 37, *[1] * (2 * conv)).double().requires_grad_()
    output, labels = joint(x), labels_of(kind)
    slow = reference.joint_logits(x.flatten(1), joint.weight, joint.bias, joint.masks)
    own = slow[torch.arange(7)[:, None], output.views]
    leaves = [x, *joint.parameters()]
    loss, expected = (
        JointLoss(0.1)(output, labels),
        JointLoss(0.1)(JointLogits(own, output.views), labels),
    )
    torch.testing.assert_close(loss, expected, **EXACT)
    slow_gradients = reference.rows_scaled(joint, torch.autograd.grad(expected, leaves))
    torch.testing.assert_close(torch.autograd.grad(loss, leaves), slow_gradients, **EXACT)
    for reading in ("aggregated", "single"):
        torch.testing.assert_close(output.class_logits(reading), output.whole().class_logits(reading), **EXACT)  # type: ignore[arg-type]
    by_whole = torch.autograd.grad(JointLoss(0.1)(output.whole(), labels), leaves)
    torch.testing.assert_close(by_whole, slow_gradients, **EXACT)


def test_only_the_gradients_that_are_wanted() -> None:
    joint = classifier()
    x, labels = torch.randn(7, 37).double().requires_grad_(), labels_of("indices")
    expected = torch.autograd.grad(JointLoss()(joint(x), labels), [x, joint.weight, joint.bias])
    for place, leaf in enumerate((x, joint.weight, joint.bias)):
        for other in (x, joint.weight, joint.bias):
            other.requires_grad_(other is leaf)
        torch.testing.assert_close(torch.autograd.grad(JointLoss()(joint(x), labels), leaf)[0], expected[place])
    with torch.no_grad():
        assert not JointLoss()(joint(x), labels).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype: torch.dtype) -> None:
    joint = classifier(channels=64, dtype=torch.float32)
    exact = copy.deepcopy(joint).double()
    x, labels = torch.randn(64, 64).requires_grad_(), labels_of("indices", 64)
    wide = x.detach().double().requires_grad_()
    with torch.autocast("cpu", dtype):
        output = joint(x)
        assert output.features.dtype == output.whole().logits.dtype == dtype
    loss, expected = JointLoss()(output, labels), JointLoss()(exact(wide), labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=1e-2, check_dtype=False)
    found = torch.autograd.grad(loss * 2**18, [x, joint.weight, joint.bias])  # as a GradScaler does
    for gradient, slow in zip(found, torch.autograd.grad(expected, [wide, exact.weight, exact.bias]), strict=True):
        assert gradient.dtype == torch.float32
        distance = (gradient / 2**18 - slow).norm() / slow.norm()
        assert distance < 2e-2


def test_small_gradients_in_half_precision() -> None:
    """Late in training the features' gradient is too small for half precision until a GradScaler's factor is on it."""
    joint = classifier(channels=64, dtype=torch.float32)
    x, labels = torch.randn(64, 64).half(), labels_of("indices", 64)
    optimizer = torch.optim.Adam(joint.parameters(), 0.3)
    for _ in range(300):
        optimizer.zero_grad()
        JointLoss()(joint(x.float()), labels).backward()
        optimizer.step()
    exact, wide = copy.deepcopy(joint).double(), x.double().requires_grad_()
    expected = JointLoss()(exact(wide), labels)
    assert expected < 1e-3
    half = x.requires_grad_()
    with torch.autocast("cpu", torch.float16):
        loss = JointLoss()(joint(half), labels)
    (found,) = torch.autograd.grad(loss * 2**16, half)
    (slow,) = torch.autograd.grad(expected * 2**16, wide)
    assert not (found == 0).any()
    assert (found - slow).norm() < 2e-2 * slow.norm()


def test_half_precision_parameters() -> None:
    joint = classifier(channels=64, dtype=torch.bfloat16)
    exact = copy.deepcopy(joint).double()
    x, labels = torch.randn(16, 64).bfloat16(), labels_of("indices", 16)
    JointLoss()(joint(x), labels).backward()
    JointLoss()(exact(x.double()), labels).backward()
    for parameter, slow in zip(joint.parameters(), exact.parameters(), strict=True):
        assert parameter.grad.dtype == torch.bfloat16
        assert (parameter.grad - slow.grad).norm() < 2e-2 * slow.grad.norm()


def train(model: nn.Module, own: nn.Module, size: tuple[int, int] = (8, 8)) -> list[Tensor]:
    optimizer = torch.optim.SGD(own.parameters(), 0.1)
    losses = []
    for number in range(3):
        torch.manual_seed(number)
        x, labels = torch.randn(4, 3, *size), torch.randint(5, (4,))
        optimizer.zero_grad()
        losses.append(JointLoss(0.1)(model(x), labels))
        losses[-1].backward()
        optimizer.step()
    return [loss.detach() for loss in losses]


class PooledConvNet(ConvHeadNet):
    """As resnetv2: pooling, a 1x1 convolution, flatten."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).mean((2, 3), keepdim=True)).flatten(1)


@pytest.mark.parametrize("views", ["all", "sampled"])
@pytest.mark.parametrize("network", [TinyNet, PooledConvNet])
def test_trains_a_network_as_whole_logits_do(network: type[nn.Module], views: Any) -> None:
    torch.manual_seed(1)
    whole = enhance(network(), views=views, distill=True, logits="whole")
    chunked = copy.deepcopy(whole)
    joint_classifier(chunked).logits = "chunked"
    assert isinstance(chunked(images()), LazyJointLogits)
    whole(images())  # batch norm sees as many
    chunked.load_state_dict(whole.state_dict())
    torch.testing.assert_close(train(chunked, chunked), train(whole, whole))
    torch.testing.assert_close(chunked.state_dict(), whole.state_dict())
    x = images()
    torch.testing.assert_close(fold(chunked.eval())(x), chunked(x))
    with joint_evaluation_of(chunked):
        torch.testing.assert_close(chunked(x).class_logits("aggregated"), chunked(x).whole().class_logits())


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("network", [TinyNet, PooledConvNet])
def test_compiles(network: type[nn.Module]) -> None:
    torch._dynamo.reset()
    model = enhance(network(), logits="chunked")
    twin = copy.deepcopy(model)
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(train(compiled, model), train(twin, twin))
        loss = torch.compile(JointLoss(), backend="aot_eager", fullgraph=True)
        output, labels = twin(images()), torch.randint(5, (4,))
        torch.testing.assert_close(loss(output, labels), JointLoss()(output, labels))
    torch._dynamo.reset()


class Activated(TinyNet):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


def test_a_network_that_goes_on_after_its_classifier() -> None:
    with pytest.raises(RuntimeError, match=r"Activated does more after its classifier than flatten.*logits='whole'"):
        enhance(Activated(), logits="chunked")(images())
    with pytest.raises(RuntimeError, match=r"applied to a map of shape \(4, 12, 3, 3\); use logits='whole'"):
        enhance(ConvHeadNet(), logits="chunked")(images())
    assert isinstance(enhance(Activated(), logits="whole")(images()), JointLogits)
    with pytest.raises(ValueError, match="unknown logits 'lazy': choose one of auto, whole, chunked"):
        enhance(TinyNet(), logits="lazy")  # type: ignore[arg-type]


class Casts(TinyNet):
    """As Accelerate's mixed precision: autocast within the network's forward, and its output in float32."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.fc(self.forward_features(x).float())
        return logits.float()


class Scales(Casts):
    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).bfloat16() * self.temperature


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("low", [False, True], ids=["features in float32", "features in bfloat16"])
def test_a_network_that_casts_its_output(frozen: bool, low: bool) -> None:
    class Net(Casts):
        def forward_features(self, x: Tensor) -> Tensor:
            features = super().forward_features(x)
            return features.bfloat16() if low else features

        def forward(self, x: Tensor) -> Tensor:
            if not low:
                return super().forward(x)
            with torch.autocast("cpu", torch.bfloat16):
                logits = self.fc(self.forward_features(x))
            return logits.float()

    model = enhance(Net(), distill=True, logits="chunked")
    model.stem.requires_grad_(not frozen)
    x, labels = images(), torch.randint(5, (4,))
    output = model(x)
    assert isinstance(output, LazyJointLogits)
    assert output.features.dtype == torch.bfloat16, "as an ordinary product there would be"
    loss = JointLoss()(output, labels)
    loss.backward()
    model.fc.logits = "whole"
    torch.testing.assert_close(loss, JointLoss()(model(x), labels), rtol=2e-2, atol=2e-2)
    assert model.fc.weight.grad.isfinite().all()


def test_a_network_that_scales_and_casts() -> None:
    model = enhance(Scales(), logits="chunked")
    for frozen in (False, True):
        model.stem.requires_grad_(not frozen)
        with pytest.raises(RuntimeError, match="Scales does more after its classifier than flatten"):
            model(images())


def test_no_images() -> None:
    joint = classifier()
    output, none = joint(torch.zeros(0, 37, dtype=torch.float64)), torch.zeros(0, dtype=torch.long)
    for logits in (output, output.whole(), output.whole().class_logits()):
        assert JointLoss(check_finite=False)(logits, none).isnan(), "as F.cross_entropy"
        with pytest.raises(FloatingPointError, match="loss of a batch without images is nan"):
            JointLoss()(logits, none)


def test_the_pretext_task_is_followed_on_a_few_images() -> None:
    joint = classifier()
    output = joint(torch.randn(40, 37, dtype=torch.float64))
    few = joint(output.features[:16])
    assert output.pretext_accuracy().equal(few.whole().pretext_accuracy())
    assert output.sample().logits.equal(few.whole().logits)
    assert not output.sample().logits.requires_grad


def test_readings_of_more_images_than_are_read_at_a_time() -> None:
    output = classifier(distill=True)(torch.randn(40, 37, dtype=torch.float64))
    whole = output.whole()
    for reading in ("single", "marginal"):
        torch.testing.assert_close(output.class_logits(reading), whole.class_logits(reading), **EXACT)  # type: ignore[arg-type]
    torch.testing.assert_close(output.transform_logits(), whole.transform_logits(), **EXACT)
    torch.testing.assert_close(output.sample().distilled, whole.sample().distilled)


def test_automatic_from_2_to_the_17_on() -> None:
    x = torch.randn(2, 16)
    for classes, views, kind in (
        (8191, "all", JointLogits),
        (8192, "all", LazyJointLogits),
        (8192, "sampled", JointLogits),
    ):
        joint = JointClassifier(16, classes, bias=False, views=views)  # type: ignore[arg-type]
        assert isinstance(joint(x), kind)
    # A map has to be pooled: whole logits.
    conv = nn.Sequential(nn.Conv2d(3, 8192, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert isinstance(enhance(conv, ChannelDiscard(3))(torch.randn(1, 3, 2, 2)), JointLogits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peak_memory(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 1.6 times that of an N*M-way classifier on one view, and far below whole logits."""
    channels = 32 if dtype == torch.float32 else 256  # wide enough for all rows at once
    joint = JointClassifier(channels, 2048, logits="chunked", dtype=dtype)
    x, labels = torch.randn(64, channels, dtype=dtype).requires_grad_(), torch.randint(2048, (64,))

    def enhanced() -> None:
        JointLoss()(joint(x), labels).backward()

    def plain() -> None:
        F.cross_entropy(F.linear(x, joint.weight, joint.bias).float(), labels).backward()

    def peak(call: Callable[[], None]) -> int:
        joint.zero_grad()  # first, or what it frees would count
        return allocated_bytes(call)

    monkeypatch.setattr(chunked_loss, "_BLOCK", 2**14)
    chunked, one_view = peak(enhanced), peak(plain)
    joint.logits = "whole"
    assert chunked < 1.6 * one_view
    assert chunked < 0.35 * peak(enhanced)


def test_half_precision_of_all_rows_at_once_and_of_chunks() -> None:
    joint = JointClassifier(48, 7, logits="chunked", dtype=torch.bfloat16)
    loss = JointLoss()
    for rows in (36, 37):  # 4 atoms of 36 rows are three times 48 channels
        x, labels = torch.randn(rows, 48).bfloat16().requires_grad_(), torch.randint(7, (rows,))
        leaves = (x, *joint.parameters())
        found = torch.autograd.grad(loss(joint(x), labels), leaves)
        wide = joint.double()
        expected = torch.autograd.grad(loss(wide(x.double()), labels), (x, *wide.parameters()))
        joint.bfloat16()
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == torch.bfloat16
            assert (ours - theirs).abs().max() < 0.02 * theirs.abs().max()


def test_gradients_of_an_empty_batch_are_zero() -> None:
    joint = JointClassifier(12, 5, logits="chunked")
    JointLoss(check_finite=False)(joint(torch.empty(0, 12)), torch.empty(0, dtype=torch.long)).backward()
    for parameter in joint.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


@pytest.mark.parametrize("with_loss", [True, False])
def test_second_derivatives_are_refused(with_loss: bool) -> None:
    model = enhance(TinyNet(), logits="chunked")
    x = images().requires_grad_()
    loss = JointLoss()(model(x), torch.arange(len(x)) % 5)
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    penalty = gradient.pow(2).sum()
    with pytest.raises(RuntimeError, match="first derivatives only: for a gradient penalty"):
        (loss + penalty if with_loss else penalty).backward()


@pytest.mark.parametrize("gradient_scale", [1.0, 4.0])
def test_class_logits_may_be_a_term_of_the_loss(gradient_scale: float) -> None:
    torch.manual_seed(0)
    joint = classifier(gradient_scale=gradient_scale)
    x = torch.randn(7, 37, dtype=torch.float64).requires_grad_()
    leaves = (x, joint.weight, joint.bias)
    found = {}
    for joint.logits in ("chunked", "whole"):
        teacher = joint(x).class_logits().pow(2).sum()
        found[joint.logits] = torch.autograd.grad(teacher, leaves)  # type: ignore[arg-type]
    for ours, theirs in zip(found["chunked"], found["whole"], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_autocast_changes_no_sum_of_a_head_that_is_kept_out_of_it() -> None:
    joint, x = classifier(ChannelDiscard(4, "drop_fraction"), dtype=torch.float32), 30 * torch.randn(7, 37)
    output, labels = joint(x), labels_of("indices")
    exact = JointLoss()(output, labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert JointLoss()(output, labels).equal(exact)


def test_backward_again_and_again() -> None:
    joint, x, labels = classifier(gradient_scale=1.0), torch.randn(7, 37).double(), labels_of("indices")
    loss = JointLoss()(joint(x), labels)
    gradients = []
    for _ in range(3):
        joint.zero_grad(set_to_none=False)
        loss.backward(retain_graph=True)
        gradients.append([parameter.grad.clone() for parameter in joint.parameters() if parameter.grad is not None])
    assert all(len(each) == 2 for each in gradients)
    for each in zip(*gradients, strict=True):
        assert each[0].abs().max() > 0
        assert each[0].equal(each[1])
        assert each[0].equal(each[2])


def test_labels_that_are_learnt_are_refused() -> None:
    with pytest.raises(ValueError, match="labels that are learnt need whole logits"):
        JointLoss()(classifier()(torch.randn(7, 37).double()), labels_of("probabilities").requires_grad_())
