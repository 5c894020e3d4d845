from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import v2

from ssfe import JointLogits, JointLoss, enhance
from ssfe.core.labels.loss import distillation
from tests.reference import joint as reference
from tests.reference.networks import TinyNet, images


def output(dtype: torch.dtype = torch.float64, distilled: bool = False, batch: int = 4) -> JointLogits:
    views = torch.arange(3).expand(batch, -1)
    head = torch.randn(batch, 5, dtype=dtype, requires_grad=True) if distilled else None
    return JointLogits(torch.randn(batch, 3, 5, 3, dtype=dtype, requires_grad=True), views, head)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_with_distillation(smoothing: float, soft: bool) -> None:
    joint = output(distilled=True)
    labels = torch.rand(4, 5).softmax(-1) if soft else torch.randint(5, (4,))
    loss = JointLoss(smoothing)(joint, labels)
    teacher = reference.aggregated(joint.logits, joint.views)
    expected = reference.cross_entropy(joint.logits, joint.views, labels, smoothing) + reference.distillation(
        joint.distilled, teacher, labels, smoothing
    )
    torch.testing.assert_close(loss, expected, rtol=1e-7, atol=1e-7)
    leaves = [joint.logits, joint.distilled]
    # The teacher learns nothing from its pupil: the same gradients.
    torch.testing.assert_close(
        torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_evaluation_mode_is_ordinary_cross_entropy(smoothing: float) -> None:
    logits, hard, soft = torch.randn(4, 5), torch.randint(5, (4,)), torch.rand(4, 5).softmax(-1)
    for labels in (hard, soft):
        assert JointLoss(smoothing)(logits, labels).equal(F.cross_entropy(logits, labels, label_smoothing=smoothing))
    torch.testing.assert_close(JointLoss()(logits, soft.double()).float(), JointLoss()(logits, soft))
    half = JointLoss(smoothing)(logits.bfloat16(), soft)
    assert half.equal(JointLoss(smoothing)(logits.bfloat16().float(), soft)), "in float32, as in training mode"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_any_integer_labels(dtype: torch.dtype) -> None:
    labels = torch.tensor([70, 3, 0, 69])  # 70 * 4 does not fit into a byte
    joint = JointLogits(torch.randn(4, 4, 71, 4), torch.arange(4).expand(4, -1), torch.randn(4, 71))
    assert JointLoss()(joint, labels.to(dtype)).equal(JointLoss()(joint, labels))
    assert JointLoss()(torch.ones(4, 71), labels.to(dtype)).equal(JointLoss()(torch.ones(4, 71), labels))


@pytest.mark.parametrize("mix", [v2.CutMix, v2.MixUp])
def test_soft_labels_of_torchvision(mix: Any) -> None:
    _, labels = mix(num_classes=5)(torch.rand(4, 3, 8, 8), torch.randint(5, (4,)))
    joint = output(torch.float32)
    expected = reference.cross_entropy(joint.logits, joint.views, labels).float()
    torch.testing.assert_close(JointLoss()(joint, labels), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    joint = output(dtype, distilled=True)
    assert joint.distilled is not None
    exact = JointLogits(joint.logits.float(), joint.views, joint.distilled.float())
    for labels in (torch.randint(5, (4,)), torch.rand(4, 5).softmax(1), torch.rand(4, 5).softmax(1).to(dtype)):
        loss = JointLoss(0.1)(joint, labels)
        assert loss.dtype == torch.float32
        # The teacher is a mean of low-precision logits.
        torch.testing.assert_close(loss, JointLoss(0.1)(exact, labels), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 5, 2]), r"label 5 lies outside 0\.\.4"),
        (torch.tensor([0, -100, 1, 2]), r"label -100 lies outside 0\.\.4"),
        (torch.tensor([0, 1, 2]), r"shape"),
        (torch.tensor(1), "shape"),
        (torch.zeros(4, 1, dtype=torch.long), r"indices must be of shape \(4,\), not \(4, 1\)"),
        (torch.rand(4, 6), r"probabilities must be of shape \(4, 5\), not \(4, 6\)"),
        (-torch.rand(4, 5), "probabilities must not be negative, and one is -"),
        (
            torch.tensor([[1.0, 1, 0, 0, 0]] + [[1.0, 0, 0, 0, 0]] * 3),
            r"those of 1 of 4 do not \(one adds up to 2\): .*normalise them",
        ),
        (torch.tensor([[1.2, 0, 0, 0, 0]] + [[1.0, 0, 0, 0, 0]] * 3), r"1 of 4 do not \(one adds up to 1\.2\)"),
        (torch.zeros(4, 5), r"those of 4 of 4 do not \(one adds up to 0\)"),
        (torch.ones(4, dtype=torch.bool), "not booleans"),
        (F.one_hot(torch.arange(4), 5), r"indices must be of shape \(4,\), not \(4, 5\)"),
    ],
)
@pytest.mark.parametrize("evaluation", [False, True])
def test_wrong_labels(labels: torch.Tensor, message: str, evaluation: bool) -> None:
    with pytest.raises(ValueError, match=message):
        JointLoss()(torch.randn(4, 5) if evaluation else output(), labels)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_rounding_of_smoothed_labels_is_no_mistake(dtype: torch.dtype) -> None:
    smoothed = (0.9 * F.one_hot(torch.arange(4), 1000) + 0.1 / 1000).to(dtype)
    assert JointLoss()(torch.randn(4, 1000), smoothed).isfinite()


@pytest.mark.parametrize("kind", ["whole", "chunked", "evaluation"])
def test_a_loss_that_is_not_finite(kind: str) -> None:
    model = enhance(TinyNet(), logits="chunked" if kind == "chunked" else "whole").train(kind != "evaluation")
    images, labels = torch.randn(4, 3, 8, 8), torch.arange(4)
    images[2, 0, 0, 0] = torch.nan
    if kind != "evaluation":
        model.stem.eval()  # or the batch statistics spread it
    what = {"whole": "joint logits", "chunked": "features", "evaluation": "logits"}[kind]
    with pytest.raises(
        FloatingPointError, match=rf"the loss is nan: the {what} of 1 of 4 images are not finite\. Look"
    ):
        JointLoss()(model(images), labels)
    assert JointLoss(check_finite=False)(model(images), labels).isnan()


def test_wrong_outputs() -> None:
    labels = torch.zeros(4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"shape \(12, 15\) for labels of shape \(4,\).*not its parts"):
        JointLoss()(torch.randn(12, 15), labels)
    with pytest.raises(ValueError, match=r"shape \(4, 5, 1\).*expected \(B, N\)"):
        JointLoss()(torch.randn(4, 5, 1), labels)
    with pytest.raises(TypeError, match="not tuple"):
        JointLoss()((torch.randn(4, 5),), labels)  # type: ignore[arg-type]
    for wrong in (1.0, -0.1):
        with pytest.raises(ValueError, match=f"label_smoothing={wrong}"):
            JointLoss(wrong)


def test_training_without_joint_logits_is_warned_of() -> None:
    """enhance forgotten, a folded network trained on, or model.train() forgotten after evaluating."""
    plain, labels = torch.randn(4, 5, requires_grad=True), torch.randint(5, (4,))
    loss = JointLoss()
    loss(plain.detach(), labels)
    for _ in range(3):  # of several classifiers, the auxiliary ones may come first
        loss(plain, labels)
    with pytest.warns(UserWarning, match="not enhanced, or it is in evaluation mode") as seen:
        loss(plain, labels)
    assert seen[0].filename == __file__, "it points at the caller"
    loss(plain, labels)  # once is enough
    joint = output(torch.float32)
    for _ in range(20):  # auxiliary logits beside joint ones
        loss(joint, labels)
        loss(plain, labels)
    for _ in range(98):
        loss(plain, labels)  # the 99th since the last joint logits: an attack takes many steps
    with pytest.warns(UserWarning, match=r"model\.train\(\) after evaluating"):
        loss(plain, labels)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JointLoss(torch.ones(5)), "label_smoothing is a number, not Tensor; class weights are not offered"),  # type: ignore[arg-type]
        (lambda: JointLoss()(torch.randn(2, 5), [0, 1]), "labels are a tensor of class indices .* not list"),  # type: ignore[arg-type]
        (lambda: JointLoss()((torch.randn(2, 5),), torch.tensor([0, 1])), "not tuple; of several outputs, add up"),  # type: ignore[arg-type]
        (lambda: JointLoss()({"logits": torch.randn(2, 5)}, torch.tensor([0, 1])), "not dict: give its logits"),  # type: ignore[arg-type]
        (lambda: JointLoss()(enhance(TinyNet())(images())[:1], torch.tensor([0])), "not tuple: a slice of JointLogits"),  # type: ignore[arg-type]
    ],
)
def test_arguments_of_other_losses(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_a_wrong_dtype_of_labels_is_said_to_be_the_cause() -> None:
    with pytest.raises(ValueError, match=r"not \(4,\); class indices are integers: labels\.long\(\)"):
        JointLoss()(output(), torch.rand(4))
    with pytest.raises(ValueError, match=r"not \(4, 5\); probabilities are floating point: labels\.float\(\)"):
        JointLoss()(output(), torch.eye(5, dtype=torch.int64)[:4])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.uint16])
def test_labels_of_any_integer_dtype(dtype: torch.dtype) -> None:
    output, labels = enhance(TinyNet())(images(4)), torch.tensor([0, 4, 2, 1])
    assert torch.equal(JointLoss()(output, labels.to(dtype)), JointLoss()(output, labels))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_distillation_in_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    head, teacher = (torch.randn(64, 100).to(dtype) for _ in range(2))
    expected = distillation(head.float(), teacher.float())
    torch.testing.assert_close(distillation(head, teacher), expected, rtol=1e-6, atol=0)
    teacher = torch.randn(8, 5, requires_grad=True)
    distillation(torch.randn(8, 5, requires_grad=True), teacher).backward()
    assert teacher.grad is None
