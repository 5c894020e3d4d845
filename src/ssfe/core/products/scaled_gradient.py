"""Gradients that are scaled on their way to a parameter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """x, whose gradient is multiplied by ``factor``: its optimizer sees that of a loss ``factor`` times as large, and
    nothing else does.
    """
    if factor == 1:
        return x
    if torch.compiler.is_compiling():  # torch.compile takes no function with a jvp
        fixed = x.detach()
        return fixed + factor * (x - fixed)
    scaled: Tensor = _Scaled.apply(x, factor)
    return scaled


def scaled_rows(weight: Tensor, bias: Tensor | None, factor: float) -> tuple[Tensor, Tensor | None]:
    """A linear layer's weight and bias with their gradients scaled."""
    return scaled_gradient(weight, factor), None if bias is None else scaled_gradient(bias, factor)


class _Scaled(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, factor: float) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return tangent.view_as(tangent)
