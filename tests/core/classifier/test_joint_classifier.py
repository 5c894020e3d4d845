from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Literal
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from ssfe import ChannelDiscard, JointClassifier, JointLogits, JointLoss, RegionDiscard, joint_cross_entropy
from ssfe.core.classifier.embedded import EmbeddedClassifier
from tests.reference import classifier as reference

CLASSES = 5
EXACT = {"rtol": 1e-10, "atol": 1e-10}
OWN_MASKS = [[1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 0, 1, 1, 1], [1, 0, 0, 1, 1, 0, 1]]

# transform, channels, whether the partial products pay
SETTINGS = [
    pytest.param(ChannelDiscard(2), 16, True, id="M=2"),
    pytest.param(ChannelDiscard(), 13, True, id="M=4, C odd"),
    pytest.param(ChannelDiscard(groups="interleaved"), 16, True, id="interleaved"),
    pytest.param(ChannelDiscard(5, groups="random", seed=3), 31, True, id="random"),
    pytest.param(ChannelDiscard(4, "keep_group"), 16, True, id="keep_group"),
    pytest.param(ChannelDiscard(3, "keep_group", "random", identity=True), 17, True, id="keep_group, identity"),
    pytest.param(ChannelDiscard(16), 67, True, id="M=16"),
    pytest.param(ChannelDiscard(4), 4, False, id="M=C"),
    pytest.param(ChannelDiscard(3, identity=True), 16, True, id="identity"),
    pytest.param(ChannelDiscard(4, "drop_fraction"), 23, False, id="drop_fraction"),
    pytest.param(ChannelDiscard(8, "drop_fraction", identity=True, fraction=0.3), 32, False, id="fraction, identity"),
    pytest.param(ChannelDiscard(masks=OWN_MASKS), 7, False, id="own"),  # type: ignore[arg-type]
]


def features(channels: int, conv: bool = False, dtype: torch.dtype = torch.float64, batch: int = 6) -> Tensor:
    return torch.randn(batch, channels, *[1] * (2 * conv), dtype=torch.float64).to(dtype)


def make(channels: int, transform: ChannelDiscard | None = None, **options: Any) -> JointClassifier:
    options = {"dtype": torch.float64, "gradient_scale": 3.0, **options}
    return JointClassifier(channels, CLASSES, transform, **options)


@pytest.fixture
def paths() -> Iterator[list[str]]:
    """Which of the two ways to the products is taken, in order."""
    taken: list[str] = []

    def spy(name: str) -> Any:
        original = getattr(__import__("ssfe.core.products.masks", fromlist=[name]), name)

        def call(*args: Any) -> Any:
            taken.append(name)
            return original(*args)

        return patch(f"ssfe.core.products.masks.{name}", call)

    with spy("view_products"), spy("masked_products"):
        yield taken


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize(("transform", "channels", "pays"), SETTINGS)
def test_equals_masking_the_features_m_times(
    transform: ChannelDiscard, channels: int, pays: bool, conv: bool, bias: bool, paths: list[str]
) -> None:
    joint = make(channels, transform, conv=conv, bias=bias, distill=True)
    x = features(channels, conv).requires_grad_()
    output = joint(x)
    assert isinstance(output, JointLogits)
    assert paths == ["view_products" if pays else "masked_products"]

    flat = x.flatten(1)
    assert output.views.tolist() == [list(range(joint.transforms))] * len(x)
    slow = reference.joint_logits(flat, joint.weight, joint.bias, joint.masks)
    torch.testing.assert_close(output.logits, slow, **EXACT)
    assert joint.distilled is not None
    head = nn.functional.linear(flat, joint.distilled.weight, joint.distilled.bias)
    torch.testing.assert_close(output.distilled, head, **EXACT)

    labels = torch.randint(CLASSES, (len(x),))
    leaves = [x, *joint.parameters()]
    fast_gradients = torch.autograd.grad(JointLoss()(output, labels), leaves)
    slow_gradients = torch.autograd.grad(JointLoss()(JointLogits(slow, output.views, head), labels), leaves)
    torch.testing.assert_close(fast_gradients, reference.rows_scaled(joint, slow_gradients), **EXACT)


@pytest.mark.parametrize("transforms", range(2, 17))
@pytest.mark.parametrize("groups", ["contiguous", "interleaved", "random"])
def test_every_number_of_transformations(transforms: int, groups: Any) -> None:
    for channels in (transforms, transforms + 1, 37):
        joint = make(channels, ChannelDiscard(transforms, groups=groups))
        x = features(channels, batch=2)
        x.requires_grad_()
        slow, fast = reference.joint_logits(x, joint.weight, joint.bias, joint.masks), joint(x).logits
        torch.testing.assert_close(fast, slow, **EXACT)
        leaves, upstream = [x, *joint.parameters()], torch.randn_like(slow)
        found = torch.autograd.grad(fast, leaves, upstream)
        torch.testing.assert_close(
            found, reference.rows_scaled(joint, torch.autograd.grad(slow, leaves, upstream)), **EXACT
        )


@pytest.mark.parametrize("transform", [ChannelDiscard(), ChannelDiscard(scheme="drop_fraction")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision(transform: ChannelDiscard, dtype: torch.dtype) -> None:
    exact = make(64, transform, distill=True)
    low = copy.deepcopy(exact).to(dtype)
    assert low.masks.dtype == torch.bool
    x = features(64, dtype=dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 4 * torch.finfo(dtype).eps
    for mode in (True, False):
        outputs = low.train(mode)(x), exact.train(mode)(x.double())
        for a, b in zip(*[o if isinstance(o, tuple) else (o,) for o in outputs], strict=True):
            assert a.dtype == (dtype if a.is_floating_point() else torch.int64)
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, check_dtype=False)
    low.train()
    JointLoss()(low(x), torch.zeros(6).long()).backward()
    assert all(p.grad is not None and p.grad.dtype == dtype and p.grad.isfinite().all() for p in low.parameters())


@pytest.mark.parametrize("views", ["all", "sampled"])
@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("transform", [ChannelDiscard(), ChannelDiscard(scheme="drop_fraction")])
def test_autocast(transform: ChannelDiscard, conv: bool, views: Any) -> None:
    joint = make(64, transform, conv=conv, views=views, distill=True, dtype=torch.float32)
    x = features(64, conv, torch.float32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = joint(x)
        loss = JointLoss()(output, torch.zeros(6).long())
        evaluated = joint.eval()(x)
    assert output.logits.dtype == output.distilled.dtype == evaluated.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    slow = reference.joint_logits(x.flatten(1), joint.weight, joint.bias, joint.masks)
    own = slow[torch.arange(6)[:, None], output.views]
    torch.testing.assert_close(output.logits.float(), own, rtol=3e-2, atol=3e-2)
    loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in joint.parameters())


@pytest.mark.parametrize("views", ["all", "sampled"])
def test_memory_formats_and_strides(views: Any) -> None:
    """A channels_last map, and features that are no contiguous tensor, are the same features."""
    x = torch.randn(4, 16, 3, 2).double()
    stock = nn.Conv2d(16, CLASSES, 1).double()
    joint = EmbeddedClassifier.from_classifier(stock, views=views)
    joint.attach(nn.Sequential(joint))
    outputs = []
    for version in (x, x.to(memory_format=torch.channels_last), x.mT.contiguous().mT):
        torch.manual_seed(1)
        joint.announce(joint, (), {})
        outputs.append(joint(version))
    torch.testing.assert_close(outputs[0], outputs[1], **EXACT)
    torch.testing.assert_close(outputs[0], outputs[2], **EXACT)
    linear = make(16, views=views)
    flat = torch.randn(16, 4).double()
    torch.manual_seed(1)
    expected = linear(flat.T.contiguous()).logits
    torch.manual_seed(1)
    torch.testing.assert_close(linear(flat.T).logits, expected, **EXACT)


def test_sampled_views_are_unbiased() -> None:
    """The mean over all M^B draws of the sampled loss is the loss over all views, and so are the gradients."""
    joint = make(9, ChannelDiscard(3))
    x, labels = features(9, batch=2), torch.tensor([1, 4])
    expected = torch.autograd.grad(JointLoss()(joint(x), labels), joint.weight)[0]
    joint.views = "sampled"
    losses = []
    for draw in torch.cartesian_prod(torch.arange(3), torch.arange(3)):
        with patch("torch.randint", return_value=draw):
            output = joint(x)
        assert output.logits.shape == (2, 1, CLASSES, 3)
        assert output.views.flatten().equal(draw)
        losses.append(JointLoss()(output, labels))
    mean = torch.stack(losses).mean()
    joint.views = "all"
    torch.testing.assert_close(mean, JointLoss()(joint(x), labels), **EXACT)
    torch.testing.assert_close(torch.autograd.grad(mean, joint.weight)[0], expected, **EXACT)


def test_sampled_views_are_drawn_uniformly_and_by_the_seed() -> None:
    joint = make(16, views="sampled")
    x = features(16, batch=4000)
    counts = joint(x).views.flatten().bincount()
    assert len(counts) == 4
    assert (counts - 1000).abs().max() < 120  # over four standard deviations
    torch.manual_seed(7)
    first = joint(x).views
    assert not joint(x).views.equal(first)
    torch.manual_seed(7)
    assert joint(x).views.equal(first)


@pytest.mark.parametrize("inference", ["aggregated", "single", "distilled"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize(("transform", "channels", "pays"), SETTINGS[::3])
def test_fold_equals_evaluation_equals_the_reading(
    transform: ChannelDiscard, channels: int, pays: bool, conv: bool, bias: bool, inference: Any
) -> None:
    joint = make(channels, transform, conv=conv, bias=bias, distill=True)
    x = features(channels, conv)
    reading = joint(x).class_logits(inference)
    joint.eval().inference = inference
    evaluated = joint(x)
    assert evaluated.shape == (6, CLASSES, *[1] * (2 * conv))
    torch.testing.assert_close(evaluated.flatten(1), reading, **EXACT)
    joint.inference = "aggregated"
    stock = joint.fold(inference)
    assert type(stock) is (nn.Conv2d if conv else nn.Linear)
    assert not stock.training
    assert [p.requires_grad for p in stock.parameters()] == [True] * (1 + bias)
    assert stock(x).equal(evaluated)
    if inference != "distilled":
        expected = reference.folded(joint.weight, joint.bias, joint.masks, inference)
        torch.testing.assert_close(joint.folded(inference), expected, **EXACT)


class NamedLinear(nn.Linear):
    """As libraries have them: a subclass that changes nothing."""


@pytest.mark.parametrize("inference", ["aggregated", "single", "distilled"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [nn.Linear, NamedLinear, nn.Conv2d])
@pytest.mark.parametrize(
    ("transform", "single_too"),
    [(ChannelDiscard(), False), (ChannelDiscard(identity=True), True), (ChannelDiscard(3, "keep_group"), False)],
)
def test_starts_with_the_stock_predictions(
    transform: ChannelDiscard, single_too: bool, kind: Any, bias: bool, inference: Any
) -> None:
    conv = kind is nn.Conv2d
    stock = kind(13, CLASSES, *[1] * conv, bias=bias, dtype=torch.float64).eval()
    before = copy.deepcopy(stock.state_dict())
    x = features(13, conv)
    joint = JointClassifier.from_classifier(stock, transform, distill=True, inference=inference)
    assert not joint.training
    if inference != "single" or single_too:
        torch.testing.assert_close(joint(x), stock(x), **EXACT)
        torch.testing.assert_close(joint.train()(x).class_logits(inference), stock(x).flatten(1), **EXACT)
        torch.testing.assert_close(joint.fold().state_dict(), before, **EXACT)
    assert type(joint.fold()) is kind
    # It is left as it is, and shares nothing.
    nn.init.zeros_(joint.weight)
    torch.testing.assert_close(stock.state_dict(), before, rtol=0, atol=0)


def test_starts_with_the_stock_predictions_where_only_the_identity_view_keeps_a_channel() -> None:
    stock = nn.Linear(4, CLASSES).double()
    masks = [[1, 1, 1, 1], [1, 0, 0, 1], [0, 1, 0, 1]]
    joint = JointClassifier.from_classifier(stock, ChannelDiscard(masks=masks)).eval()  # type: ignore[arg-type]
    x = features(4)
    torch.testing.assert_close(joint(x), stock(x), **EXACT)


def test_fold_keeps_the_settings_of_its_origin() -> None:
    stock = nn.Linear(16, CLASSES, dtype=torch.bfloat16)
    stock.weight.requires_grad_(False)
    joint = JointClassifier.from_classifier(stock)
    assert joint.weight.dtype == torch.bfloat16
    folded = joint.fold()
    assert folded.training
    assert folded.weight.dtype == torch.bfloat16
    assert not folded.weight.requires_grad
    assert joint.float().fold().weight.dtype == torch.float32


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(
    "wrap",
    [
        torch.nn.utils.parametrizations.weight_norm,
        torch.nn.utils.parametrizations.spectral_norm,
        torch.nn.utils.weight_norm,
        torch.nn.utils.spectral_norm,
        lambda joint: prune.l1_unstructured(joint, "weight", 3),
    ],
    ids=["weight_norm", "spectral_norm", "old weight_norm", "old spectral_norm", "pruned"],
)
def test_a_weight_that_is_computed_folds_to_one_that_learns(wrap: Any) -> None:
    joint = make(16, dtype=torch.float32)
    wrap(joint)
    joint(features(16, dtype=torch.float32))
    assert all(parameter.requires_grad for parameter in joint.fold().parameters())
    for name, parameter in joint.named_parameters():
        parameter.requires_grad_("bias" in name)
    folded = joint.fold()
    assert (folded.weight.requires_grad, folded.bias.requires_grad) == (False, True)


def test_each_reading_folds_to_what_its_own_rows_learn() -> None:
    joint = make(16, distill=True)
    joint.weight.requires_grad_(False)
    joint.distilled.bias.requires_grad_(False)
    learns = {
        reading: [p.requires_grad for p in joint.fold(reading).parameters()] for reading in ("single", "distilled")
    }
    assert learns == {"single": [False, True], "distilled": [True, False]}


def test_a_checkpoint_brings_its_masks_back() -> None:
    theirs = make(13, ChannelDiscard(groups="random", seed=5))
    x = features(13)
    for ours in (make(13), make(13, ChannelDiscard(scheme="drop_fraction", seed=9))):
        ours.load_state_dict(theirs.state_dict())
        assert ours(x).logits.equal(theirs(x).logits)
        assert ours.eval()(x).equal(theirs.eval()(x))
        theirs.train()
    fraction = make(13, ChannelDiscard(scheme="drop_fraction"))
    theirs.load_state_dict(fraction.state_dict())
    torch.testing.assert_close(theirs(x).logits, fraction(x).logits, **EXACT)
    broken = {**fraction.state_dict(), "channel_masks._extra_state": torch.ones(4, 13, dtype=torch.bool)}
    with pytest.raises(ValueError, match="masks 0 and 1 are equal"):
        theirs.load_state_dict(broken)


def test_built_on_the_meta_device() -> None:
    """As large networks are: without memory first, then with the weights of a checkpoint."""
    filled = make(13, ChannelDiscard(seed=1, groups="random"))
    x = features(13)
    for assign in (True, False):
        empty = make(13, ChannelDiscard(), device="meta")
        if not assign:
            empty.to_empty(device="cpu")
        empty.load_state_dict(filled.state_dict(), assign=assign)
        torch.testing.assert_close(empty(x).logits, filled(x).logits, **EXACT)
    from_meta = JointClassifier.from_classifier(nn.Linear(13, CLASSES, device="meta", dtype=torch.float64))
    from_meta.load_state_dict(filled.state_dict(), assign=True)
    torch.testing.assert_close(from_meta(x).logits, filled(x).logits, **EXACT)


def test_learns() -> None:
    """A few steps on separable features teach the class and the transformation."""
    joint = make(16, distill=True, dtype=torch.float32)
    centres = torch.randn(CLASSES, 16)
    optimizer = torch.optim.Adam(joint.parameters(), 0.05)
    labels = torch.arange(CLASSES).repeat(20)
    x = centres[labels] + 0.1 * torch.randn(100, 16)
    for _ in range(60):
        optimizer.zero_grad()
        output = joint(x)
        JointLoss()(output, labels).backward()
        optimizer.step()
    assert output.pretext_accuracy() > 0.95
    for inference in ("aggregated", "single", "distilled"):
        joint.eval().inference = inference  # type: ignore[assignment]
        assert (joint(x).argmax(1) == labels).float().mean() > 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes=1.*at least 2 classes"),
        ({"views": "some"}, "unknown views 'some'.*all, sampled"),
        ({"inference": "mean"}, "unknown inference 'mean'.*aggregated, single, distilled"),
        ({"inference": "distilled"}, "distill=True"),
        ({"in_features": 3}, "transforms=4 is more than the 3 channels"),
    ],
)
def test_impossible_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JointClassifier(**{"in_features": 16, "num_classes": 5, **arguments})


def test_transformations_of_maps_need_the_network() -> None:
    with pytest.raises(TypeError, match=r"takes a ChannelDiscard, not RegionDiscard: .* ssfe\.enhance\(model, tr"):
        JointClassifier(16, 5, RegionDiscard())  # type: ignore[arg-type]


def test_a_distilled_head_is_there_to_be_shipped() -> None:
    assert make(16).inference == "aggregated"
    assert make(16, distill=True).inference == "distilled"
    assert make(16, distill=True, inference="single").inference == "single"


@pytest.mark.parametrize("inference", ["mean", "distilled"])
def test_impossible_inference(inference: Literal["distilled"]) -> None:
    joint = make(16)
    with pytest.raises(ValueError, match="inference"):
        joint.inference = inference
    with pytest.raises(ValueError, match="inference"):
        joint.fold(inference)
    assert joint.inference == "aggregated"


def test_joint_cross_entropy_agrees_with_the_stock_loss_at_the_start() -> None:
    """Rows of one class are copies, so each view's loss is the stock loss of that view plus log M of the pretext."""
    stock = nn.Linear(16, CLASSES, bias=False).double()
    joint = JointClassifier.from_classifier(stock)
    x, labels = features(16), torch.randint(CLASSES, (6,))
    output = joint(x)
    views = [nn.functional.cross_entropy(stock(x * mask * 4 / 3), labels) for mask in joint.masks]
    expected = torch.stack(views).mean() + torch.tensor(4.0).double().log()
    torch.testing.assert_close(joint_cross_entropy(output.logits, output.views, labels), expected, **EXACT)


@pytest.mark.parametrize("views", ["all", "sampled"])
def test_rows_learn_at_a_plain_classifiers_pace(views: Any) -> None:
    """With the factor M the rows' mean gradient is a plain classifier's where the pretext task is solved and what views
    lack is zero.

    Exactly so, sampled or not: every image's gradient falls to the rows of its own view.
    """
    masks = torch.ones(4, 8, dtype=torch.bool)
    masks[range(4), range(4)] = False
    x, labels = features(8, batch=4000), torch.randint(CLASSES, (4000,))
    x[:, :4] = 0  # what the views lack is nothing
    stock = nn.Linear(8, CLASSES).double()
    found = {}
    for scale in (4.0, 1.0):
        joint = JointClassifier.from_classifier(stock, ChannelDiscard(masks=masks), views=views, gradient_scale=scale)
        output = joint(x)
        # Where the pretext task is solved, only the classes under a view's own transformation compete.
        chosen = output.logits.gather(3, output.views[:, :, None, None].expand(-1, -1, CLASSES, 1))[..., 0]
        loss = nn.functional.cross_entropy(chosen.flatten(0, 1), labels.repeat_interleave(chosen.shape[1]))
        found[scale] = torch.autograd.grad(loss, joint.weight)[0].view(CLASSES, 4, 8).mean(1)
    plain = torch.autograd.grad(nn.functional.cross_entropy(stock(x), labels), stock.weight)[0]
    torch.testing.assert_close(found[4.0], plain, **EXACT)
    torch.testing.assert_close(found[1.0], plain / 4, **EXACT)


@pytest.mark.parametrize("scheme", ["drop_group", "keep_group", "drop_fraction"])
@pytest.mark.parametrize("transforms", [2, 4, 8])
def test_the_folded_classifier_moves_at_the_share_of_views_that_keep_a_channel(scheme: Any, transforms: int) -> None:
    """One step of SGD with the factor M, the pretext task solved: what docs/method.md says of the pace."""
    x, labels = features(16), torch.randint(CLASSES, (6,))
    joint = make(16, ChannelDiscard(transforms, scheme), bias=False, gradient_scale=float(transforms))
    torch.nn.init.zeros_(joint.weight)
    output = joint(x)
    own = output.logits.gather(3, output.views[:, :, None, None].expand(-1, -1, CLASSES, 1))[..., 0]
    nn.functional.cross_entropy(own.flatten(0, 1), labels.repeat_interleave(transforms)).backward()
    with torch.no_grad():
        joint.weight -= joint.weight.grad
    stock = nn.Linear(16, CLASSES, bias=False).double()
    torch.nn.init.zeros_(stock.weight)
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(stock(x), labels), stock.weight)
    share = joint.masks.double().mean(0)
    torch.testing.assert_close(joint.folded()[0], -gradient * share, **EXACT)


@pytest.mark.parametrize("scheme", ["drop_group", "drop_fraction"])
def test_scaled_gradients_do_not_overflow_half_precision(scheme: Any) -> None:
    """Features that times M would be too large: the products of gradients and features are not."""
    joint = make(64, ChannelDiscard(scheme=scheme), dtype=torch.float16, gradient_scale=4.0)
    x = torch.full((8, 64), 20_000.0, dtype=torch.float16)
    joint(x).logits.backward(torch.full((8, 4, CLASSES, 4), 1e-4, dtype=torch.float16))
    assert joint.weight.grad.isfinite().all()
    assert joint.weight.grad.any()


@pytest.mark.parametrize("logits", ["whole", "chunked"])
@pytest.mark.parametrize("groups", ["contiguous", "interleaved"])
def test_scaled_gradients_do_not_overflow_under_autocast(groups: Any, logits: Any) -> None:
    """Of float32 weights that are trained in half precision: the factor is on the float32 gradient."""
    joint = make(64, ChannelDiscard(groups=groups), dtype=torch.float32, gradient_scale=4.0, logits=logits)
    plain = make(64, ChannelDiscard(groups=groups), dtype=torch.float32, gradient_scale=1.0, logits=logits)
    plain.load_state_dict(joint.state_dict())
    x, labels = torch.full((8, 64), 1000.0), torch.zeros(8, dtype=torch.int64)
    gradients = []
    for each in (joint, plain):
        with torch.autocast("cpu", torch.float16):
            loss = 72 * JointLoss()(each(x), labels)
        gradients.append(torch.autograd.grad(loss, [each.weight])[0])
    assert 65504 / 4 < gradients[1].abs().max() < 65504
    torch.testing.assert_close(gradients[0], 4 * gradients[1])


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch.func's own call
@pytest.mark.parametrize(
    "transform", [ChannelDiscard(), ChannelDiscard(groups="interleaved"), ChannelDiscard(8, "drop_fraction")]
)
def test_forward_mode_derivatives(transform: ChannelDiscard) -> None:
    joint = make(16, transform)
    x, tangent = features(16), features(16)
    _, moved = torch.func.jvp(lambda x: joint(x).logits, (x,), (tangent,))
    torch.testing.assert_close(moved, joint(x + tangent).logits - joint(x).logits, **EXACT)


@pytest.mark.parametrize("scale", [0, -1.0, float("inf"), float("nan")])
def test_gradient_scales_that_cannot_be(scale: float) -> None:
    with pytest.raises(ValueError, match=r"gradient_scale=.* must be a positive number"):
        make(8, gradient_scale=scale)


def test_a_state_dict_that_is_written_into_leaves_the_masks_and_their_plan_as_they_are() -> None:
    """As torch.distributed.checkpoint writes into it, before load_state_dict."""
    one, other = (make(12, ChannelDiscard(groups="random", seed=seed)) for seed in (1, 2))
    before, given = other.masks.clone(), other.state_dict()
    for name, value in given.items():
        value.copy_(one.state_dict()[name])
    assert other.masks.equal(before)
    other.load_state_dict(given)
    x = features(12)
    torch.testing.assert_close(other.train()(x).logits, one.train()(x).logits)


def trained_a_step(wrap: Any) -> tuple[JointClassifier, Tensor]:
    joint = make(12, distill=True)
    for layer in (joint, joint.distilled):
        assert layer is not None
        wrap(layer)
    x, optimizer = features(12), torch.optim.SGD(joint.parameters(), lr=0.5)
    output = joint.train()(x)
    (output.logits.square().mean() + output.distilled.square().mean()).backward()
    optimizer.step()
    return joint, x


@pytest.mark.parametrize("inference", ["aggregated", "distilled"])
@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.3),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weights_made_in_a_hook_are_read_as_they_are_now(wrap: Any, inference: Any) -> None:
    joint, x = trained_a_step(wrap)
    joint.inference = inference
    folded = joint.fold()
    joint.eval()
    expected = joint.distilled(x) if inference == "distilled" and joint.distilled is not None else joint(x)
    torch.testing.assert_close(joint(x), expected)
    torch.testing.assert_close(folded(x), expected)


def test_reset_parameters_begins_anew() -> None:
    """As networks on the meta device are given their first values."""
    joint = JointClassifier(12, 5, device="meta").to_empty(device="cpu")
    joint.weight.detach().fill_(torch.nan)
    joint.reset_parameters()
    fresh = nn.Linear(12, 20)
    for own, theirs in ((joint.weight, fresh.weight), (joint.bias, fresh.bias)):
        assert 0.8 < own.abs().max() / theirs.abs().max() < 1.25


@pytest.mark.parametrize("training", [False, True])
def test_a_layer_that_does_more_is_refused_in_either_mode(training: bool) -> None:
    class WithDropout(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(super().forward(x), 0.5, self.training)

    with pytest.raises(TypeError, match="does more than a linear layer does: it has no fold"):
        JointClassifier.from_classifier(WithDropout(8, 3).train(training))
    replaced = nn.Linear(8, 3).train(training)
    replaced.forward = lambda x: 3 * nn.Linear.forward(replaced, x)  # type: ignore[method-assign]
    with pytest.raises(TypeError, match="its forward was replaced"):
        JointClassifier.from_classifier(replaced)
    assert replaced.training == training
