from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import ssfe
from ssfe import JointClassifier, JointLogits, joint_cross_entropy, joint_targets
from ssfe.core.labels.joint import aggregated, class_marginal, single, transform_marginal
from tests.reference import joint as reference

SHAPES = [(3, 4, 5, 4), (2, 1, 7, 3), (1, 2, 2, 2), (4, 3, 3, 6)]


def batch(
    shape: tuple[int, int, int, int], dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, views in any order and with repetition, hard labels, soft labels."""
    images, count, classes, transforms = shape
    return (
        torch.randn(shape, dtype=torch.float64).mul(3).to(dtype),
        torch.randint(transforms, (images, count)),
        torch.randint(classes, (images,)),
        torch.rand(images, classes, dtype=torch.float64).to(dtype),  # not even normalised
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_targets(shape: tuple[int, int, int, int]) -> None:
    _, views, hard, soft = batch(shape)
    classes, transforms = shape[2:]
    assert joint_targets(hard, views, classes, transforms).equal(reference.target_indices(hard, views, transforms))
    assert joint_targets(soft, views, classes, transforms).equal(
        reference.target_probabilities(soft, views, transforms)
    )
    one_hot = F.one_hot(joint_targets(hard, views, classes, transforms), classes * transforms)
    assert joint_targets(F.one_hot(hard, classes).float(), views, classes, transforms).equal(one_hot.float())


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy(shape: tuple[int, int, int, int], smoothing: float) -> None:
    logits, views, hard, soft = batch(shape)
    logits.requires_grad_()
    for labels in (hard, soft):
        fast = joint_cross_entropy(logits, views, labels, label_smoothing=smoothing)
        slow = reference.cross_entropy(logits, views, labels, smoothing)
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(
            torch.autograd.grad(fast, logits), torch.autograd.grad(slow, logits), rtol=1e-10, atol=1e-10
        )
    smoothed_by_hand = reference.smoothed(hard, shape[2], smoothing)
    torch.testing.assert_close(
        joint_cross_entropy(logits, views, hard, label_smoothing=smoothing),
        joint_cross_entropy(logits, views, smoothed_by_hand),
        rtol=1e-12,
        atol=1e-12,
    )


def test_cross_entropy_is_torchs_on_joint_indices() -> None:
    logits, views, hard, _ = batch((3, 4, 5, 4))
    indices = joint_targets(hard, views, 5, 4)
    expected = F.cross_entropy(logits.flatten(2).flatten(0, 1), indices.flatten())
    torch.testing.assert_close(joint_cross_entropy(logits, views, hard), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_cross_entropy_of_low_precision(dtype: torch.dtype) -> None:
    logits, views, hard, soft = batch((6, 4, 5, 4), dtype)
    for labels in (hard, soft):
        loss = joint_cross_entropy(logits, views, labels, label_smoothing=0.1)
        assert loss.dtype == torch.float32
        # Computed in float32, so as exact as its input.
        expected = reference.cross_entropy(logits, views, labels, 0.1).float()
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    extreme = torch.full((2, 3, 4, 3), 6e4, dtype=dtype)
    assert joint_cross_entropy(extreme, torch.zeros(2, 3, dtype=torch.long), torch.zeros(2).long()).isfinite()


def test_cross_entropy_inside_autocast_is_as_exact_as_outside() -> None:
    logits, views, hard, soft = batch((1, 4, 10, 4), torch.float32)
    logits.requires_grad_()
    for labels in (hard, soft.softmax(-1)):
        expected = torch.autograd.grad(joint_cross_entropy(logits, views, labels), logits)
        with torch.autocast("cpu", torch.bfloat16):
            loss = joint_cross_entropy(logits, views, labels)
            targets = joint_targets(labels, views, 10, 4)
        torch.testing.assert_close(torch.autograd.grad(loss, logits), expected, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(targets, joint_targets(labels, views, 10, 4))


@pytest.mark.parametrize("shape", SHAPES)
def test_readings(shape: tuple[int, int, int, int]) -> None:
    logits, views, _, _ = batch(shape)
    head = torch.randn(shape[0], shape[2])
    output = JointLogits(logits, views, head)
    close = {"rtol": 1e-10, "atol": 1e-10}
    for reading, function in (("aggregated", aggregated), ("single", single)):
        slow = getattr(reference, reading)(logits, views)
        torch.testing.assert_close(function(logits, views), slow, **close)
        torch.testing.assert_close(output.class_logits(reading), slow, **close)
    class_probabilities = reference.class_probabilities(logits)
    geometric = class_probabilities.log().mean(1).softmax(-1)
    torch.testing.assert_close(output.class_logits("marginal").softmax(-1), geometric, **close)
    torch.testing.assert_close(class_marginal(logits[:, :1]).softmax(-1), class_probabilities[:, 0], **close)
    torch.testing.assert_close(
        transform_marginal(logits).softmax(-1), reference.transform_probabilities(logits), **close
    )
    assert output.class_logits("distilled") is head
    assert output.pretext_accuracy().item() == pytest.approx(reference.pretext_accuracy(logits, views))


def test_a_sample_is_of_the_first_sixteen_images() -> None:
    logits, views, head = torch.randn(20, 3, 5, 3), torch.arange(3).expand(20, 3), torch.randn(20, 5)
    for own in (None, head):
        some = JointLogits(logits, views, own).sample()
        assert some.logits.equal(logits[:16])
        assert some.views.equal(views[:16])
        assert some.distilled is None if own is None else some.distilled is not None and some.distilled.equal(own[:16])


def test_unknown_readings() -> None:
    logits, views, _, _ = batch((2, 3, 4, 3))
    with pytest.raises(ValueError, match=r"no distilled head.*distill=True"):
        JointLogits(logits, views).class_logits("distilled")
    with pytest.raises(ValueError, match=r"unknown reading 'mean'.*aggregated, single, marginal, distilled"):
        JointLogits(logits, views).class_logits("mean")  # type: ignore[arg-type]


def test_what_joint_logits_are_not() -> None:
    output = JointLogits(torch.randn(2, 4, 5, 4), torch.arange(4).expand(2, -1))
    with pytest.raises(AttributeError, match=r"no 'argmax': .* Class logits \(B, N\) are ssfe\.class_logits\(output\)"):
        output.argmax(1)
    assert copy.deepcopy(output).logits.equal(output.logits)
    assert pickle.loads(pickle.dumps(output)).views.equal(output.views)


@pytest.mark.parametrize(
    "call",
    [
        lambda output: torch.nn.functional.cross_entropy(output, torch.tensor([0, 1])),
        lambda output: torch.nn.CrossEntropyLoss()(output, torch.tensor([0, 1])),
        lambda output: torch.softmax(output, -1),
        lambda output: torch.max(output, 1),
        lambda output: torch.argmax(output, 1),
    ],
)
@pytest.mark.parametrize("logits", ["whole", "chunked"])
def test_functions_on_tensors_say_what_joint_logits_are(call: Any, logits: Any) -> None:
    output = JointClassifier(8, 3, logits=logits)(torch.randn(2, 8))
    with pytest.raises(TypeError, match=r"does not take JointLogits: .*ssfe\.class_logits\(output\).*ssfe\.JointLoss"):
        call(output)


@pytest.mark.parametrize("logits", ["whole", "chunked"])
@pytest.mark.parametrize(
    "call",
    [lambda o: o / 2, lambda o: o * 2, lambda o: 2 * o, lambda o: o + o, lambda o: torch.ones(1) + o, lambda o: -o],
)
def test_joint_logits_are_not_calculated_with_as_tuples(call: Any, logits: Any) -> None:
    output = JointClassifier(8, 3, logits=logits)(torch.randn(2, 8))
    with pytest.raises(TypeError, match=r"JointLogits.*ssfe\.class_logits\(output\)"):
        call(output)


@pytest.mark.parametrize("logits", ["whole", "chunked"])
def test_class_logits_of_either_mode(logits: Any) -> None:
    head, x = JointClassifier(8, 3, logits=logits), torch.randn(2, 8)
    trained = ssfe.class_logits(head(x))
    assert trained.shape == (2, 3)
    torch.testing.assert_close(trained, ssfe.class_logits(head.eval()(x)))
    assert not ssfe.class_logits(head.train()(x), "marginal").equal(trained)
    with pytest.raises(TypeError, match="not in a list"):
        ssfe.class_logits([trained])  # type: ignore[arg-type]


def test_no_wrong_label_is_left_out() -> None:
    logits, views = torch.randn(1, 1, 5, 4), torch.zeros(1, 1, dtype=torch.long)
    with pytest.raises(IndexError, match="Target -100 is out of bounds"):
        joint_cross_entropy(logits, views, torch.tensor([-25]))


def test_targets_of_small_integers_do_not_wrap_around() -> None:
    labels = torch.tensor([70, 3], dtype=torch.uint8)
    views = torch.arange(4).expand(2, -1)
    assert joint_targets(labels, views, 100, 4).tolist() == [[280, 281, 282, 283], [12, 13, 14, 15]]
    logits = torch.randn(2, 4, 100, 4)
    for smoothing in (0.0, 0.1):
        losses = [
            joint_cross_entropy(logits, views, given, label_smoothing=smoothing) for given in (labels, labels.long())
        ]
        torch.testing.assert_close(*losses)
