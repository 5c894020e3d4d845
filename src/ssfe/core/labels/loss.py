"""JointLoss: the training criterion, one call for training and evaluation."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssfe.core.labels.joint import JointLogits, at_least_float32, joint_cross_entropy
from ssfe.core.labels.lazy import LazyJointLogits

_PLAIN_AT_FIRST, _PLAIN_LATER = 4, 100
"""Consecutive calls with plain class logits after which to warn: a few at the start (auxiliary logits may come first),
many later (an attack's steps in evaluation mode)."""

_SUM_TOLERANCE = 0.05
"""How far from 1 the probabilities of an image may add up: far above the rounding of smoothed labels in bfloat16."""

_TRAINS_PLAIN = (
    "JointLoss gets class logits (B, N) with gradients, and no joint logits: the network is not enhanced, or it is in "
    "evaluation mode, so that it trains as with ordinary cross-entropy. Call ssfe.enhance(model) before training, and "
    "model.train() after evaluating"
)


class JointLoss(nn.Module):
    """The loss of an enhanced network, from its output and the ordinary class labels.

    In training mode the network returns :class:`~ssfe.JointLogits` (or, for large label spaces,
    :class:`~ssfe.LazyJointLogits`), and the loss is the joint cross-entropy over
    its views (see :func:`~ssfe.joint_cross_entropy`). A distilled head adds SLA's self-distillation
    (arXiv 1910.05872, eq. 5 with beta = 1): ``KL(softmax(aggregated).detach() || head) + CE(head, y)``.

    In evaluation mode the network returns (B, N) logits, and the loss is ordinary cross-entropy: one criterion serves
    both, and the stock network too. Class logits that carry gradients, call after call, are warned of once: they train
    without the method.

    Args:
        label_smoothing: in [0, 1), applied to the class half of the joint label.
        check_finite: whether a loss of nan or infinity is an error. Looked at on the CPU only, and not in a compiled
            step: reading it on an accelerator would stall every step.

    Raises:
        TypeError, ValueError: if ``label_smoothing`` is no number, or outside [0, 1).
    """

    def __init__(self, label_smoothing: float = 0.0, *, check_finite: bool = True) -> None:
        super().__init__()
        if not isinstance(label_smoothing, int | float):
            raise TypeError(
                f"label_smoothing is a number, not {type(label_smoothing).__name__}; class weights are not offered"
            )
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing={label_smoothing} must lie in [0, 1)")
        self.label_smoothing = label_smoothing
        self.check_finite = check_finite
        self._joint_seen, self._plain_since = False, 0

    def forward(self, output: JointLogits | LazyJointLogits | Tensor, labels: Tensor) -> Tensor:
        """The scalar loss, averaged over images and views.

        Args:
            output: what the network returned: JointLogits, LazyJointLogits, or a (B, N) tensor.
            labels: class indices (B,) of any integer dtype, or class probabilities (B, N) of any floating dtype (MixUp,
                CutMix, soft labels).

        Raises:
            TypeError: if ``output`` is neither.
            ValueError: if labels do not match the output in batch size or classes, indices lie outside 0..N-1, or
                probabilities are negative or do not add up to 1 (values are checked on the CPU only: reading them on an
                accelerator would stall every step).
            FloatingPointError: if the loss is not finite; see ``check_finite``.
        """
        if not isinstance(labels, Tensor):
            what = type(labels).__name__
            raise TypeError(f"labels are a tensor of class indices (B,) or probabilities (B, N), not {what}")
        if isinstance(output, JointLogits):
            batch, _, classes, _ = output.logits.shape
        elif isinstance(output, LazyJointLogits):
            batch, classes = output.views.shape[0], output.num_classes
        elif isinstance(output, Tensor):
            batch, classes = _check_class_logits(output, labels)
        else:
            raise TypeError(
                f"JointLoss takes an enhanced network's output or (B, N) logits, not {type(output).__name__}"
                f"{_inside(output)}"
            )
        labels = _check_labels(labels, batch, classes)
        self._watch(output)
        loss = self._loss(output, labels)
        if self.check_finite and _readable(loss) and not loss.detach().isfinite():
            raise FloatingPointError(_not_finite(loss.detach(), output))
        return loss

    def _watch(self, output: JointLogits | LazyJointLogits | Tensor) -> None:
        """Warn where training goes on without joint logits; auxiliary logits may come between them."""
        if torch.compiler.is_compiling():
            return
        if not isinstance(output, Tensor):
            self._joint_seen, self._plain_since = True, 0
        elif output.requires_grad:
            self._plain_since += 1
            if self._plain_since == (_PLAIN_LATER if self._joint_seen else _PLAIN_AT_FIRST):
                warnings.warn(_TRAINS_PLAIN, stacklevel=6)  # where the loss was called

    def _loss(self, output: JointLogits | LazyJointLogits | Tensor, labels: Tensor) -> Tensor:
        if isinstance(output, Tensor):
            return self._class_loss(output, labels)
        if isinstance(output, LazyJointLogits):
            loss = output.cross_entropy(labels, self.label_smoothing)
        else:
            loss = joint_cross_entropy(output.logits, output.views, labels, label_smoothing=self.label_smoothing)
        if output.distilled is not None:
            loss = loss + self._distillation(output, labels)
        return loss

    def _distillation(self, output: JointLogits | LazyJointLogits, labels: Tensor) -> Tensor:
        head = output.class_logits("distilled")
        return distillation(head, output.class_logits("aggregated")) + self._class_loss(head, labels)

    def _class_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        labels = labels.to(logits.dtype) if labels.is_floating_point() else labels
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def extra_repr(self) -> str:
        return f"label_smoothing={self.label_smoothing}"

    # Typed, so that callers see a Tensor and not Any.
    def __call__(self, output: JointLogits | LazyJointLogits | Tensor, labels: Tensor) -> Tensor:
        result: Any = super().__call__(output, labels)
        assert isinstance(result, Tensor)
        return result


def distillation(head: Tensor, teacher: Tensor) -> Tensor:
    """``KL(softmax(teacher).detach() || softmax(head))`` of logits (B, N), averaged over images."""
    student, fixed = (at_least_float32(logits).log_softmax(-1) for logits in (head, teacher.detach()))
    return F.kl_div(student, fixed, reduction="batchmean", log_target=True)


def _check_class_logits(output: Tensor, labels: Tensor) -> tuple[int, int]:
    if output.ndim != 2 or labels.ndim == 0 or output.shape[0] != labels.shape[0]:
        raise ValueError(
            f"JointLoss got a tensor of shape {tuple(output.shape)} for labels of shape {tuple(labels.shape)}, "
            f"expected (B, N). "
            "An enhanced network packs its joint logits when it is called as a whole: give its output as it is, and "
            "call model(images), not its parts (forward_features, forward_head)"
        )
    return output.shape[0], output.shape[1]


def _inside(output: object) -> str:
    """What to do with something that may hold the logits."""
    if isinstance(output, dict) and "logits" in output:  # transformers' ModelOutput is one
        return ": give its logits, output['logits']"
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor) and output[0].ndim == 4:
        return ": a slice of JointLogits slices its fields; give JointLogits(output.logits[:n], output.views[:n])"
    return "; of several outputs, add up the loss of each" if isinstance(output, tuple | list | dict) else ""


def _check_labels(labels: Tensor, batch: int, classes: int) -> Tensor:
    if labels.is_floating_point():
        if labels.shape != (batch, classes):
            hint = "; class indices are integers: labels.long()" if labels.shape == (batch,) else ""
            raise ValueError(
                f"class probabilities must be of shape {(batch, classes)}, not {tuple(labels.shape)}{hint}"
            )
        if _readable(labels) and batch:
            _check_probabilities(labels.detach())
        return labels
    if labels.dtype == torch.bool:
        raise ValueError("labels are class indices (B,) or probabilities (B, N), not booleans")
    if labels.shape != (batch,):
        hint = "; probabilities are floating point: labels.float()" if labels.shape == (batch, classes) else ""
        raise ValueError(f"class indices must be of shape {(batch,)}, not {tuple(labels.shape)}{hint}")
    labels = labels.long()
    if _readable(labels) and batch:
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            wrong = low if low < 0 else high
            raise ValueError(f"label {wrong} lies outside 0..{classes - 1}: the network has {classes} classes")
    return labels


def _check_probabilities(labels: Tensor) -> None:
    if float(labels.min()) < 0:
        raise ValueError(f"class probabilities must not be negative, and one is {float(labels.min()):g}")
    sums = labels.sum(1, dtype=torch.float32)
    wrong = sums[(sums - 1).abs() > _SUM_TOLERANCE]
    if len(wrong):
        raise ValueError(
            f"class probabilities must add up to 1 for each image, and those of {len(wrong)} of {len(labels)} do not "
            f"(one adds up to {float(wrong[0]):g}): normalise them; neither several classes at once (multi-label) nor "
            "weights of images are supported"
        )


def _readable(tensor: Tensor) -> bool:
    """Whether looking at values stalls nothing and breaks no graph."""
    return (
        tensor.device.type == "cpu"
        and type(tensor) is Tensor  # a fake one has no values
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def _not_finite(loss: Tensor, output: JointLogits | LazyJointLogits | Tensor) -> str:
    if isinstance(output, LazyJointLogits):
        what, seen = "features", output.features
    elif isinstance(output, JointLogits):
        what, seen = "joint logits", output.logits
    else:
        what, seen = "logits", output
    if not len(seen):
        return f"the loss of a batch without images is {float(loss)}: skip empty batches"
    bad = int((~seen.detach().flatten(1).isfinite().all(1)).sum())
    cause = f"the {what} of {bad} of {len(seen)} images are not finite" if bad else f"the {what} are finite"
    return (
        f"the loss is {float(loss)}: {cause}. Look for images or labels that are not finite, lower the learning rate, "
        "clip gradients, or leave float16 for bfloat16 or float32"
    )
