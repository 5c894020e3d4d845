"""The atoms of a set of masks, and how partial products become views.

Channels that the M masks treat alike (equal columns of the mask matrix) form an *atom*. A linear layer's output for a
view is the sum of the partial products of the atoms it keeps, so the K atoms' partials are computed once, together as
large as one ordinary product, and combined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Combination = Literal["own", "others", "sums"]


@dataclass(frozen=True)
class AtomPlan:
    """How to group the channels of a mask matrix into atoms. Built by :func:`plan_atoms`, on the CPU.

    Attributes:
        keep: bool (M, K), whether view j keeps atom k.
        widths: channels of each of the K atoms.
        order: int64 (C,), the channels atom by atom; None where they lie so already.
        combination: how views come of atoms: view j is atom j (``"own"``), all atoms but j (``"others"``), or any sum.
        pays: whether the partial products need clearly less arithmetic than M masked products, in bounded memory.
    """

    keep: Tensor
    widths: tuple[int, ...]
    order: Tensor | None
    combination: Combination
    pays: bool

    def to(self, device: torch.device) -> AtomPlan:
        """The plan with its tensors on ``device``."""
        order = None if self.order is None else self.order.to(device)
        return AtomPlan(self.keep.to(device), self.widths, order, self.combination, self.pays)


def plan_atoms(masks: Tensor) -> AtomPlan:
    """Group the C channels of masks, bool (M, C), into atoms: channels in the order in which atoms first appear."""
    transforms, channels = masks.shape
    members: dict[tuple[bool, ...], list[int]] = {}
    for channel, column in enumerate(masks.T.tolist()):
        members.setdefault(tuple(column), []).append(channel)
    atoms = len(members)
    keep = torch.tensor(list(members), device="cpu").T
    order = [channel for group in members.values() for channel in group]
    own = torch.eye(atoms, dtype=torch.bool, device="cpu")
    return AtomPlan(
        keep=keep,
        widths=tuple(map(len, members.values())),
        order=None if order == list(range(channels)) else torch.tensor(order, device="cpu"),
        combination="own" if keep.equal(own) else "others" if keep.equal(~own) else "sums",
        pays=channels + transforms * atoms < 0.75 * transforms * channels and atoms <= 4 * transforms,
    )


def in_atom_order(matrix: Tensor, plan: AtomPlan) -> Tensor:
    """A (P, C) matrix with its channels atom by atom; itself where they lie so already."""
    if plan.order is None:
        return matrix
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        return permuted(matrix, plan.order)  # in forward mode too: with a jvp, the function could not be compiled
    reordered: Tensor = _Reordered.apply(matrix, plan.order, plan.order.argsort())
    return reordered


def permuted(matrix: Tensor, order: Tensor, out: Tensor | None = None) -> Tensor:
    """Columns of a (P, C) matrix in another order. (On a CPU gather is several times faster than index_select.)"""
    return torch.gather(matrix, 1, order.expand_as(matrix), out=out)


def combine(partials: Tensor, bias: Tensor | None, plan: AtomPlan, workspace: Tensor | None = None) -> Tensor:
    """The views' outputs from the atoms' partials: (K, P, O) -> (M, P, O), in the partials' dtype.

    Sums of half precision are taken in float32. With a workspace, (P, O) of that dtype, there is no autograd and the
    views take the partials' memory where that is possible.
    """
    if plan.combination == "others":
        if workspace is None:
            total = partials.sum(0, dtype=accumulator(partials))
            return ((total if bias is None else total + bias) - partials).to(partials.dtype)
        summed(partials, workspace)
        return torch.sub(workspace if bias is None else workspace.add_(bias), partials, out=partials)
    views = partials
    if plan.combination == "sums":
        views = torch.mm(plan.keep.to(partials.dtype), partials.flatten(1)).view(-1, *partials.shape[1:])
    if bias is None:
        return views
    return views + bias if workspace is None else views.add_(bias)


def summed(parts: Tensor, out: Tensor) -> Tensor:
    """The sum over the first dimension, by additions: a CPU reduces a few long rows several times slower."""
    if len(parts) < 2 or parts.dtype != out.dtype:
        return torch.sum(parts, 0, dtype=out.dtype, out=out)
    torch.add(parts[0], parts[1], out=out)
    for part in parts[2:]:
        out.add_(part)
    return out


def gather_gradients(views: Tensor, total: Tensor, plan: AtomPlan, out: Tensor | None = None) -> Tensor:
    """The adjoint of :func:`combine`: gradients (M, P, O) of the views -> (K, P, O) of the partials. No autograd.

    Args:
        total: (P, O), their sum over the views.
        out: where to put them; it may be ``views`` itself.
    """
    if plan.combination == "others":
        return torch.sub(total, views, out=torch.empty_like(views) if out is None else out)
    partials = views
    if plan.combination == "sums":
        partials = torch.mm(plan.keep.T.to(views.dtype), views.flatten(1)).view(-1, *views.shape[1:])
    return partials if out is None else out.copy_(partials)


def accumulator(products: Tensor) -> torch.dtype:
    """The dtype for sums of products: float32 for half precision, else their own."""
    return torch.promote_types(products.dtype, torch.float32)


class _Reordered(torch.autograd.Function):
    """Permuted columns, whose gradient is gathered too: autograd would scatter and add it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        return permuted(matrix, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, order, inverse = inputs
        ctx.save_for_backward(order, inverse)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        order, inverse = ctx.saved_tensors
        return _Reordered.apply(grad, inverse, order), None, None
