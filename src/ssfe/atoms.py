"""All masked views of a linear layer for little more than the price of one.

Channels that the M masks treat alike (equal columns of the mask matrix) form an *atom*. A view's output is the sum of
the partial products of the atoms it keeps, so the K atoms' partials are computed once, together as large as one
ordinary product, and combined with the (M, K) keep matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AtomPlan:
    """How to group the channels of a mask matrix into atoms. Built by :func:`plan_atoms`, on the CPU.

    Attributes:
        keep: bool (M, K), whether view j keeps atom k.
        gather: int64 (K * width,), the channel at each place of the padded atoms, C where there is padding; None where
            the channels already lie as K contiguous atoms of equal width.
        pays: whether the partial products need clearly less arithmetic than M masked products, in bounded memory.
    """

    keep: Tensor
    gather: Tensor | None
    pays: bool


def plan_atoms(masks: Tensor) -> AtomPlan:
    """Group the C channels of masks, bool (M, C), into atoms: channels in the order in which atoms first appear."""
    transforms, channels = masks.shape
    members: dict[tuple[bool, ...], list[int]] = {}
    for channel, column in enumerate(masks.T.tolist()):
        members.setdefault(tuple(column), []).append(channel)
    atoms, width = len(members), max(map(len, members.values()))
    padded = [channel for group in members.values() for channel in group + [channels] * (width - len(group))]
    arithmetic = atoms * width + transforms * atoms
    return AtomPlan(
        keep=torch.tensor(list(members), device="cpu").T,
        gather=None if padded == list(range(channels)) else torch.tensor(padded, device="cpu"),
        pays=arithmetic < 0.75 * transforms * channels and atoms <= 4 * transforms,
    )


def view_products(x: Tensor, weight: Tensor, keep: Tensor, gather: Tensor | None) -> Tensor:
    """``(m_j * x) @ weight.T`` for all M views, from the K atoms' partial products.

    Args:
        x: (P, C) features.
        weight: (O, C).
        keep: bool (M, K).
        gather: see :class:`AtomPlan`, on x's device, or None.

    Returns:
        (M, P, O), in the dtype of an ordinary product (autocast included).
    """
    atoms, rows, outputs = keep.shape[1], x.shape[0], weight.shape[0]
    if gather is not None:
        x = F.pad(x, (0, 1)).index_select(1, gather)
        # The padding meets a zero of x, so any column of the weight serves.
        weight = weight.index_select(1, gather.clamp(max=weight.shape[1] - 1))
    width = x.shape[1] // atoms
    partials = torch.bmm(
        x.view(rows, atoms, width).transpose(0, 1), weight.view(outputs, atoms, width).permute(1, 2, 0)
    )
    return (keep.to(partials.dtype) @ partials.flatten(1)).view(keep.shape[0], rows, outputs)


def masked_products(x: Tensor, weight: Tensor, masks: Tensor) -> Tensor:
    """The same, by M masked copies of x: for masks of so many atoms that partial products do not pay.

    (P, C), (O, C), bool (M, C) -> (M, P, O).
    """
    return F.linear(x * masks[:, None], weight)
