from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from ssfe import ChannelDiscard
from ssfe.core.products.atoms import plan_atoms
from ssfe.core.products.scaled_gradient import scaled_rows
from ssfe.core.products.view_products import launches_pay, masked_products, view_products


@given(st.integers(1, 6), st.integers(1, 20), st.integers(1, 4), st.integers(0, 10**6))
def test_any_masks(transforms: int, channels: int, rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(transforms, channels, generator=generator) < 0.5
    x = torch.randn(rows, channels, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, channels, generator=generator, dtype=torch.float64)
    expected = torch.stack([F.linear(x * mask, weight) for mask in masks])
    plan = plan_atoms(masks)
    assert plan.keep.shape[1] == len({tuple(column) for column in masks.T.tolist()})
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(view_products(x, weight, None, plan), expected, **close)
    torch.testing.assert_close(masked_products(x, weight, None, masks), expected, **close)


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "transform",
    [
        ChannelDiscard(3),
        ChannelDiscard(3, "keep_group", "random"),
        ChannelDiscard(3, groups="interleaved", identity=True),
        ChannelDiscard(3, "drop_fraction"),
    ],
)
def test_first_and_second_derivatives(
    transform: ChannelDiscard, bias: bool, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven channels: uneven atoms, alone and overlapping; the compiler's composition has the same gradients."""
    if blocks > 1:
        monkeypatch.setattr("ssfe.core.products.view_products._BLOCK", 1)
        monkeypatch.setattr("ssfe.core.products.view_products._NARROWEST", -(-6 // blocks))
    masks = transform.keep_masks(7)
    plan = plan_atoms(masks)
    leaves = [torch.randn(4, 7), torch.randn(6, 7), *([torch.randn(6)] if bias else [])]
    leaves = [leaf.double().requires_grad_() for leaf in leaves]

    def fast(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return view_products(x, weight, bias, plan)

    def slow(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return masked_products(x, weight, bias, masks)

    upstream = torch.randn(3, 4, 6).double()
    exact = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(fast(*leaves), slow(*leaves), **exact)
    expected = torch.autograd.grad(slow(*leaves), leaves, upstream)
    torch.testing.assert_close(torch.autograd.grad(fast(*leaves), leaves, upstream), expected, **exact)
    for leaf in leaves:  # the others frozen
        (alone,) = torch.autograd.grad(fast(*leaves), leaf, upstream)
        assert any(alone.equal(gradient) for gradient in torch.autograd.grad(fast(*leaves), leaves, upstream))
    assert torch.autograd.gradcheck(fast, leaves)
    assert torch.autograd.gradgradcheck(fast, leaves)
    per_sample = torch.func.vmap(lambda x: fast(x[None], *leaves[1:])[:, 0], out_dims=1)
    torch.testing.assert_close(per_sample(leaves[0]), slow(*leaves), **exact)


@pytest.mark.parametrize(
    ("arguments", "channels", "atoms", "in_place", "pays"),
    [
        ({}, 512, 4, True, True),
        ({}, 2047, 4, True, True),
        ({"groups": "interleaved"}, 512, 4, False, True),
        ({"groups": "random", "scheme": "keep_group", "transforms": 16}, 2048, 16, False, True),
        ({"transforms": 8, "identity": True}, 510, 7, True, True),
        ({"scheme": "drop_fraction", "transforms": 8}, 2048, None, False, False),
        ({"transforms": 4}, 4, 4, True, False),
    ],
)
def test_plans(arguments: dict, channels: int, atoms: int | None, in_place: bool, pays: bool) -> None:  # type: ignore[type-arg]
    plan = plan_atoms(ChannelDiscard(**arguments).keep_masks(channels))
    assert atoms is None or plan.keep.shape[1] == atoms
    assert (plan.order is None) == in_place
    assert plan.pays == pays


@pytest.mark.parametrize(
    ("transform", "batch", "outputs", "half", "pays"),
    [
        (ChannelDiscard(), 256, 4000, False, True),
        (ChannelDiscard(), 128, 400, False, False),  # over before Python has launched the partials
        (ChannelDiscard(), 256, 4000, True, False),
        (ChannelDiscard(), 512, 4000, True, True),
        (ChannelDiscard(groups="interleaved"), 256, 4000, False, False),
        (ChannelDiscard(identity=True), 256, 4000, False, False),
        (ChannelDiscard(scheme="drop_fraction"), 256, 80_000, False, True),
        (ChannelDiscard(), 600, 40, False, True),  # a dense head: many copies for few outputs
    ],
)
def test_launches_that_pay(transform: ChannelDiscard, batch: int, outputs: int, half: bool, pays: bool) -> None:
    plan = plan_atoms(transform.keep_masks(2048))
    assert launches_pay(plan, batch, outputs, half=half) == pays


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("transform", [ChannelDiscard(3), ChannelDiscard(3, "drop_fraction")])
def test_scaled_gradients(transform: ChannelDiscard, create_graph: bool) -> None:
    masks = transform.keep_masks(7)
    plan = plan_atoms(masks)
    x, weight, bias = leaves = [
        t.double().requires_grad_() for t in (torch.randn(4, 7), torch.randn(6, 7), torch.randn(6))
    ]
    upstream = torch.randn(3, 4, 6).double()
    to_x, *to_rows = torch.autograd.grad(masked_products(x, weight, bias, masks), leaves, upstream)
    expected, scaled = [to_x, *(5 * gradient for gradient in to_rows)], scaled_rows(weight, bias, 5.0)
    for products in (view_products(x, *scaled, plan), masked_products(x, *scaled, masks)):
        found = torch.autograd.grad(products, leaves, upstream, create_graph=create_graph)
        torch.testing.assert_close(list(found), expected, rtol=1e-10, atol=1e-10)
