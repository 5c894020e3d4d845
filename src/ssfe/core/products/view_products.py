"""All masked views of a linear layer for little more than the price of one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssfe.core.products.atom_products import partial_products, to_features, to_weight
from ssfe.core.products.atoms import AtomPlan, accumulator, combine, gather_gradients, in_atom_order, permuted, summed

_BLOCK = 2**22
"""Elements of the atoms' partials at a time: they stay in a processor's cache (16 MiB), where all at once would be
several times as large as the views."""

_VISIBLE = 4e9
"""Operations of M products in float32 for which a large GPU takes some hundred microseconds."""

_COPIES = 2**22
"""Elements of masked copies, at most, that save launches."""

_NARROWEST = 256
"""Outputs of a block, at least: narrower products are slow."""


def view_products(x: Tensor, weight: Tensor, bias: Tensor | None, plan: AtomPlan) -> Tensor:
    """``(m_j * x) @ weight.T + bias`` for all M views, from the K atoms' partial products.

    Args:
        x: (P, C) features.
        weight: (O, C).
        bias: (O,) or None.
        plan: of the masks, on x's device.

    Returns:
        (M, P, O), in the dtype of an ordinary product (autocast included).
    """
    dtype = product_dtype(x)
    x, weight = in_atom_order(x.to(dtype), plan), weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return _composed(x, weight, bias, plan)
    products: Tensor = _ViewProducts.apply(x, weight, bias, plan)
    return products


def launches_pay(plan: AtomPlan, rows: int, outputs: int, *, half: bool) -> bool:
    """Whether the many launches of partial products pay on an accelerator, for (rows, C) features.

    A step of a small network is spent on launching there. One product of all masked copies takes two launches. It is
    used until its arithmetic takes noticeable time (a threshold that is higher in half precision, and where partials
    would have to be gathered or summed), or until the copies, which are kept for the backward pass, are many. The
    thresholds are guesses from few measurements (docs/cost.md).
    """
    copies = len(plan.keep) * rows * sum(plan.widths)
    visible = _VISIBLE * (8 if half else 1) * (8 if plan.order is not None or plan.combination == "sums" else 1)
    return plan.pays and (2 * copies * outputs >= visible or copies > _COPIES)


def masked_products(x: Tensor, weight: Tensor, bias: Tensor | None, masks: Tensor) -> Tensor:
    """The same, by M masked copies of x: where partial products do not pay.

    (P, C), (O, C), (O,) or None, bool (M, C) -> (M, P, O).
    """
    return F.linear(x * masks[:, None], weight, bias)


def product_dtype(x: Tensor) -> torch.dtype:
    """The dtype of an ordinary product with x: autocast's where it is on and x is not float64, else x's own."""
    if not x.is_meta and torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def _composed(x: Tensor, weight: Tensor, bias: Tensor | None, plan: AtomPlan) -> Tensor:
    """The products in differentiable operations: for compilers, torch.func and second derivatives."""
    weight = in_atom_order(weight, plan)
    columns = zip(x.split_with_sizes(plan.widths, 1), weight.split_with_sizes(plan.widths, 1), strict=True)
    return combine(torch.stack([own @ rows.T for own, rows in columns]), bias, plan)


class _ViewProducts(torch.autograd.Function):
    """The products of x in atom order and a weight in its own, a block of outputs at a time.

    Gradients are written where they belong: autograd would permute and copy the weight's.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, plan: AtomPlan) -> Tensor:
        views, memory = x.new_empty(len(plan.keep), len(x), len(weight)), _Memory(x)
        for block in _blocks(x, weight, plan):
            rows, out = _ordered(weight[block], plan.order, memory), views[:, :, block]
            if plan.combination == "sums":
                partials = partial_products(x, rows, plan.widths, memory("partials", len(plan.widths), *out.shape[1:]))
                sums = out if out.is_contiguous() else memory("views", *out.shape)
                torch.mm(plan.keep.to(x.dtype), partials.flatten(1), out=sums.flatten(1))
                torch.add(sums, 0 if bias is None else bias[block], out=out)
            else:
                partial_products(x, rows, plan.widths, out)
        if plan.combination == "sums":
            return views
        return combine(views, bias, plan, torch.empty_like(views[0], dtype=accumulator(x)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, ctx.plan = inputs
        ctx.save_for_backward(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        plan: AtomPlan = ctx.plan
        if torch.is_grad_enabled():  # create_graph=True
            return _differentiable_gradients(ctx, x, weight, bias, grad)
        needs_x, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        grad_x = torch.empty_like(x) if needs_x else None
        grad_weight = torch.empty_like(weight) if needs_weight else None
        total = summed(grad, torch.empty_like(grad[0], dtype=accumulator(grad)))
        partials = None if plan.combination == "sums" else gather_gradients(grad, total, plan)
        memory = _Memory(x)
        for block in _blocks(x, weight, plan):
            if partials is None:
                own = grad[:, :, block]
                views = own if own.is_contiguous() else memory("views", *own.shape).copy_(own)
                parts = memory("partials", len(plan.widths), *own.shape[1:])
                torch.mm(plan.keep.T.to(x.dtype), views.flatten(1), out=parts.flatten(1))
            else:
                parts = partials[:, :, block]
            if grad_x is not None:
                rows = _ordered(weight[block], plan.order, memory)
                to_features(grad_x, parts, rows, plan.widths, first=block.start == 0)
            if grad_weight is not None:
                _write_to_weight(grad_weight[block], parts, x, plan, memory)
        grad_bias = total.sum(0).to(grad.dtype) if needs_bias else None
        return grad_x, grad_weight, grad_bias, None


class _Memory:
    """Tensors that the blocks use in turn."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._held: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        size = math.prod(shape)
        if name not in self._held:  # the first block is the largest
            self._held[name] = self._like.new_empty(size)
        return self._held[name][:size].view(shape)


def _blocks(x: Tensor, weight: Tensor, plan: AtomPlan) -> Iterator[slice]:
    """The outputs, all at once where nothing but the result needs memory, or on a GPU.

    Half precision too: the features' gradient is a sum over blocks.
    """
    outputs = len(weight)
    in_place = plan.order is None and plan.combination != "sums"
    if in_place or x.device.type != "cpu" or x.dtype != accumulator(x):
        yield slice(0, outputs)
        return
    width = max(_BLOCK // max(len(plan.widths) * len(x), 1), _NARROWEST)
    for start in range(0, outputs, width):
        yield slice(start, min(start + width, outputs))


def _ordered(rows: Tensor, order: Tensor | None, memory: _Memory) -> Tensor:
    return rows if order is None else permuted(rows, order, memory("rows", *rows.shape))


def _write_to_weight(grad_rows: Tensor, partials: Tensor, x: Tensor, plan: AtomPlan, memory: _Memory) -> None:
    """The gradient (n, C) of n outputs' weights, in their own order of channels."""
    ordered = grad_rows if plan.order is None else memory("gradients", *grad_rows.shape)
    to_weight(ordered, partials, x, plan.widths)
    if plan.order is not None:
        permuted(ordered, plan.order.argsort(), grad_rows)


def _differentiable_gradients(
    ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, grad: Tensor
) -> tuple[Tensor | None, ...]:
    leaves = {0: x, 1: weight, 2: bias}
    wanted = {place: leaf for place, leaf in leaves.items() if leaf is not None and ctx.needs_input_grad[place]}
    products = _composed(x, weight, bias, ctx.plan)
    found = torch.autograd.grad(products, list(wanted.values()), grad, create_graph=True)
    gradients = dict(zip(wanted, found, strict=True))
    return gradients.get(0), gradients.get(1), gradients.get(2), None
