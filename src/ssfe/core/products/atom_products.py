"""Matrix products atom by atom: one batched product where the atoms are equally wide, else one product for each.

A GPU is kept waiting by the launch of a product more than by the product where classifiers are small; a CPU does not
mind. All take channels in atom order, and know nothing of autograd.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def partial_products(x: Tensor, weight: Tensor, widths: Sequence[int], partials: Tensor) -> Tensor:
    """Each atom's share of ``x @ weight.T``: (P, C), (O, C) -> (K, P, O), written into ``partials``."""
    if _batched(x, widths):
        return torch.bmm(_stacked(x, widths), _stacked(weight, widths).mT, out=partials)
    for out, own, rows in zip(partials, x.split_with_sizes(widths, 1), weight.split_with_sizes(widths, 1), strict=True):
        torch.mm(own, rows.T, out=out)
    return partials


def to_features(grad_x: Tensor, partials: Tensor, weight: Tensor, widths: Sequence[int], *, first: bool = True) -> None:
    """Gradients (K, P, O) of the partials, as gradients of x: written into ``grad_x`` (P, C), or added to it."""
    beta = 0.0 if first else 1.0
    if _batched(partials, widths):
        out = _stacked(grad_x, widths)
        torch.baddbmm(out, partials, _stacked(weight, widths), beta=beta, out=out)
        return
    columns = zip(partials, weight.split_with_sizes(widths, 1), grad_x.split_with_sizes(widths, 1), strict=True)
    for part, rows, out in columns:
        torch.addmm(out, part, rows, beta=beta, out=out)  # FLOP counters do not know addmm_


def to_weight(
    grad_weight: Tensor, partials: Tensor, x: Tensor, widths: Sequence[int], scale: float = 1.0, *, first: bool = True
) -> None:
    """Gradients (K, P, O) of the partials, as gradients of the weight times ``scale``: written into ``grad_weight``
    (O, C), or added to it. The factor is the product's own: neither one more pass nor, in half precision, one more
    rounding or an overflow.
    """
    beta = 0.0 if first else 1.0
    if _batched(partials, widths):
        out = _stacked(grad_weight, widths)
        torch.baddbmm(out, partials.mT, _stacked(x, widths), beta=beta, alpha=scale, out=out)
        return
    columns = zip(partials, x.split_with_sizes(widths, 1), grad_weight.split_with_sizes(widths, 1), strict=True)
    for part, features, out in columns:
        torch.addmm(out, part.T, features, beta=beta, alpha=scale, out=out)


def _batched(x: Tensor, widths: Sequence[int]) -> bool:
    """Whether one product does for all atoms. In half precision on a CPU (oneDNN, with AMX) it would copy operands that
    do not lie in one piece, all atoms' at once.
    """
    return min(widths) == max(widths) and (x.device.type != "cpu" or x.dtype.itemsize >= 4)


def _stacked(matrix: Tensor, widths: Sequence[int]) -> Tensor:
    """The columns of each atom, all equally many: a view (K, P, w) of (P, C)."""
    return matrix.view(len(matrix), len(widths), widths[0]).transpose(0, 1)
