from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from ssfe import ChannelDiscard
from ssfe.atoms import masked_products, plan_atoms, view_products


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
    torch.testing.assert_close(view_products(x, weight, plan.keep, plan.gather), expected, **close)
    torch.testing.assert_close(masked_products(x, weight, masks), expected, **close)


def test_padding_touches_no_gradient() -> None:
    """Uneven atoms read the last column of the weight where there is padding: it must not learn from that."""
    masks = ChannelDiscard(3).keep_masks(7)
    plan = plan_atoms(masks)
    assert plan.gather is not None
    x, weight = torch.randn(4, 7).double().requires_grad_(), torch.randn(6, 7).double().requires_grad_()
    upstream = torch.randn(3, 4, 6).double()
    fast = torch.autograd.grad(view_products(x, weight, plan.keep, plan.gather), (x, weight), upstream)
    slow = torch.autograd.grad(masked_products(x, weight, masks), (x, weight), upstream)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "channels", "atoms", "in_place", "pays"),
    [
        ({}, 512, 4, True, True),
        ({}, 2047, 4, False, True),
        ({"groups": "interleaved"}, 512, 4, False, True),
        ({"groups": "random", "scheme": "keep_group", "transforms": 16}, 2048, 16, False, True),
        ({"transforms": 8, "identity": True}, 510, 7, False, True),
        ({"scheme": "drop_fraction", "transforms": 8}, 2048, None, False, False),
        ({"transforms": 4}, 4, 4, True, False),
    ],
)
def test_plans(arguments: dict, channels: int, atoms: int | None, in_place: bool, pays: bool) -> None:  # type: ignore[type-arg]
    plan = plan_atoms(ChannelDiscard(**arguments).keep_masks(channels))
    assert atoms is None or plan.keep.shape[1] == atoms
    assert (plan.gather is None) == in_place
    assert plan.pays == pays
