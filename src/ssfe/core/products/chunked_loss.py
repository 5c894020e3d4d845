"""The joint loss of a large label space, a part of the batch at a time, with its gradients from the same pass.

B x V x (N*M) logits, their softmax and their gradient do not fit where N is large. Here a chunk of images goes through
all of it in one buffer: partial products, views, softmax, gradient of the logits, and from that the gradients of
features and weight, with no more arithmetic than the whole would take. The loss itself is exact. What is kept until
backward has the size of the parameters and the features. (The idea is Liger's and cut cross-entropy's, arXiv
2410.10989 and 2411.09009.)
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from ssfe.core.products.atom_products import partial_products, to_features, to_weight
from ssfe.core.products.atoms import AtomPlan, Combination, accumulator, combine, gather_gradients, summed

_BLOCK = 2**18
"""Logits worked on at a time: as many as stay in a processor's cache."""
_WIDENED = 2**24
"""Logits in float32 at a time, on an accelerator, of those that are held in half precision."""


def chunked_joint_cross_entropy(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    plan: AtomPlan,
    views: Tensor,
    transforms: int,
    labels: Tensor,
    label_smoothing: float = 0.0,
) -> Tensor:
    """:func:`~ssfe.joint_cross_entropy` of ``(m_v * x) @ weight.T + bias``, without these logits.

    Args:
        x: (R, C) features in atom order, of the products' dtype.
        weight: (N*M, C) in atom order, of any floating dtype.
        bias: (N*M,) or None.
        plan: of the V views of every row.
        views: (R, V) int64, the transformation of each view.
        transforms: M.
        labels: class indices (B,) int64, or probabilities (B, N). Rows of x belong to image ``row // (R / B)``.
        label_smoothing: see :class:`~ssfe.JointLoss`.

    Returns:
        Scalar, float32 (float64 for float64 features). It has first derivatives only.

    Raises:
        ValueError: for labels that require a gradient: they would get none.
    """
    leaves = (x, weight, bias)
    gradients = [torch.is_grad_enabled() and leaf is not None and leaf.requires_grad for leaf in leaves]
    if torch.is_grad_enabled() and labels.requires_grad:
        raise ValueError("labels that are learnt need whole logits: ssfe.enhance(model, logits='whole')")
    widths, kind = list(plan.widths), plan.combination
    # The dtypes of all products are chosen by now.
    with torch.autocast(x.device.type, enabled=False):
        loss: Tensor = _joint_loss(
            *(x, weight, bias, labels, views, plan.keep, widths, kind),
            *(transforms, label_smoothing, gradients),
        )[0]
    return loss


@torch.library.custom_op(
    "ssfe::joint_loss",
    mutates_args=(),
    schema="(Tensor x, Tensor weight, Tensor? bias, Tensor labels, Tensor views, Tensor keep, int[] widths, str kind, "
    "int transforms, float label_smoothing, bool[] gradients) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
)
def _joint_loss(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    views: Tensor,
    keep: Tensor,
    widths: list[int],
    kind: Combination,
    transforms: int,
    label_smoothing: float,
    gradients: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, and the gradients of x (of the summed loss: see :func:`_scale_gradients`), weight and bias; empty where
    ``gradients`` says that they are not wanted.
    """
    plan = AtomPlan(keep, tuple(widths), None, kind, pays=True)
    rows, outputs, wide = len(x), len(weight), accumulator(x)
    scale = 1 / max(views.numel(), 1)
    # A weight's gradient in half precision would be summed over chunks in float32: all rows' logits may take less.
    whole = x.dtype == weight.dtype != wide and len(widths) * rows <= 3 * x.shape[1]
    found = _empty_gradients(x, weight, bias, gradients, weight.dtype if whole else accumulator(weight))
    product_weight, wide_bias = weight.to(x.dtype), None if bias is None else bias.to(wide)
    images = torch.arange(rows, device=x.device) // max(rows // max(len(labels), 1), 1)
    loss = x.new_zeros((), dtype=wide)
    # Else logits as many as two views of all rows have.
    chunk = max(rows if whole else -(-2 * rows // max(keep.shape)), 1)
    block = max(_logits_at_a_time(x) // (max(keep.shape) * outputs), 1)
    workspace = x.new_empty(min(block, chunk), outputs, dtype=wide)
    buffer = x.new_empty(len(widths), chunk, outputs)
    for start in range(0, rows, chunk):
        own = slice(start, min(start + chunk, rows))
        partials = partial_products(x[own], product_weight, widths, buffer[:, : own.stop - start])
        for first in range(start, own.stop, block):
            some = slice(first, min(first + block, own.stop))
            part = partials[:, first - start : some.stop - start]
            total = workspace[: some.stop - first]
            logits = _logits(part, wide_bias, plan, total)
            loss += _softmax_loss(logits, views[some].T, labels[images[some]], transforms, label_smoothing)
            if any(gradients):
                summed(logits, total)
                gather_gradients(logits, total, plan, out=part)
                found[2].add_(total.sum(0) if gradients[2] else 0)
        _add_products(found, partials, x, product_weight, widths, own, scale)
    to_bias = found[2].mul_(scale)
    return loss / views.numel(), found[0], found[1].to(weight.dtype), to_bias.to(weight.dtype)


def _logits_at_a_time(x: Tensor) -> int:
    """Within a chunk; on an accelerator all of it, unless they are widened."""
    if x.device.type == "cpu":
        return _BLOCK
    return _WIDENED if x.dtype != accumulator(x) else sys.maxsize


def _logits(partials: Tensor, bias: Tensor | None, plan: AtomPlan, total: Tensor) -> Tensor:
    """The views' logits (V, r, N*M) in the accumulator's dtype, perhaps in the partials' memory; ``total`` is some."""
    if plan.combination != "others" or partials.dtype == total.dtype:
        return combine(partials.to(total.dtype), bias, plan, total)
    summed(partials, total)
    return torch.sub(total if bias is None else total.add_(bias), partials)  # half precision is widened on the way


def _softmax_loss(logits: Tensor, views: Tensor, labels: Tensor, transforms: int, label_smoothing: float) -> Tensor:
    """The summed loss of logits (V, r, N*M), which become their own gradient; views (V, r), labels (r,) or (r, N)."""
    by_class = logits.view(*logits.shape[:2], -1, transforms)
    classes = by_class.shape[2]
    if not labels.is_floating_point() and not label_smoothing:
        index = (labels * transforms + views)[:, :, None]
        true = logits.gather(2, index)
        loss = (_softmax(logits) - true).sum()
        logits.scatter_add_(2, index, -torch.ones_like(true))
        return loss
    probabilities = labels if labels.is_floating_point() else torch.nn.functional.one_hot(labels, classes)
    probabilities = probabilities.to(logits.dtype)
    probabilities = (1 - label_smoothing) * probabilities + label_smoothing / classes
    mass = probabilities.sum(-1, keepdim=True)
    index = views[:, :, None, None].expand(*by_class.shape[:3], 1)
    true = (by_class.gather(3, index).squeeze(3) * probabilities).sum(-1, keepdim=True)
    loss = (_softmax(logits) * mass - true).sum()
    logits.mul_(mass)
    by_class.scatter_add_(3, index, -probabilities[:, :, None].expand(index.shape))
    return loss


def _softmax(logits: Tensor) -> Tensor:
    """Logits (V, r, N*M) become their softmax; returns their log-sum-exp (V, r, 1), from the largest probability, which
    is the inverse of the sum and cannot vanish."""
    peak = logits.amax(2, keepdim=True)
    return peak - torch.softmax(logits, 2, out=logits).amax(2, keepdim=True).log()


def _empty_gradients(
    x: Tensor, weight: Tensor, bias: Tensor | None, gradients: list[bool], of_weight: torch.dtype
) -> tuple[Tensor, ...]:
    unwritten = torch.empty_like if len(x) else torch.zeros_like  # nothing is written for an empty batch
    bias_sums = torch.zeros(len(weight), dtype=accumulator(weight), device=x.device)
    return (
        torch.empty_like(x) if gradients[0] else x.new_empty(0),
        unwritten(weight, dtype=of_weight) if gradients[1] else weight.new_empty(0),
        bias_sums if gradients[2] else weight.new_empty(0),
    )


def _add_products(
    found: tuple[Tensor, ...],
    partials: Tensor,
    x: Tensor,
    weight: Tensor,
    widths: list[int],
    own: slice,
    scale: float,
) -> None:
    """What the partials' gradients (K, r, N*M) of the rows ``own`` say about features and, times ``scale``, about
    the weight.
    """
    grad_x, grad_weight, _ = found
    if grad_x.numel():
        to_features(grad_x[own], partials, weight, widths)
    if grad_weight.numel() and partials.dtype == grad_weight.dtype:
        to_weight(grad_weight, partials, x[own], widths, scale, first=own.start == 0)
    elif grad_weight.numel():  # summed in float32, of products in half precision
        columns = zip(
            partials, x[own].split_with_sizes(widths, 1), grad_weight.split_with_sizes(widths, 1), strict=True
        )
        for part, features, out in columns:
            if own.start == 0:
                torch.mul(torch.mm(part.T, features), scale, out=out)
            else:
                out.add_(torch.mm(part.T, features), alpha=scale)


@_joint_loss.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, *others: Any) -> tuple[Tensor, ...]:
    wide = accumulator(x)
    gradients: list[bool] = others[-1]
    found = _empty_gradients(x, weight, bias, gradients, weight.dtype)
    return x.new_empty((), dtype=wide), found[0], found[1], found[2].to(weight.dtype)


def _keep_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output[1:])
    ctx.wanted, ctx.terms = inputs[-1], inputs[4].numel()
    ctx.set_materialize_grads(False)  # or backward would fill zeros as large as the weight, for its gradient


def _scale_gradients(ctx: Any, grad: Tensor | None, *of_gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None or any(second is not None for second in of_gradients):
        raise RuntimeError(
            "the loss of joint logits in chunks has first derivatives only: for a gradient penalty, "
            "ssfe.enhance(model, logits='whole')"
        )
    to_x, *found = ctx.saved_tensors
    # A gradient scaler's factor does not fit into half precision, nor does a gradient divided by the number of terms;
    # their product may.
    to_x = (to_x.to(accumulator(to_x)) * (grad / ctx.terms)).to(to_x.dtype)
    # Most often it is 1; looking is free where it stalls nothing. (While torch 2.11 traces the backward pass,
    # is_compiling is false, but the gradient is no ordinary tensor.)
    traced = torch.compiler.is_compiling() or type(grad) is not Tensor
    # Once given away, a gradient may be changed in place: a graph that is to be gone through again gives copies.
    again = traced or torch._C._autograd._get_current_graph_task_keep_graph()
    scaled = again or grad.device.type != "cpu" or float(grad) != 1
    kept = [to_x, *((g.to(accumulator(g)) * grad).to(g.dtype) if scaled else g for g in found)]
    return *(gradient if wanted else None for gradient, wanted in zip(kept, ctx.wanted, strict=True)), *[None] * 8


_joint_loss.register_autograd(_scale_gradients, setup_context=_keep_gradients)
