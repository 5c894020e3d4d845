"""The family of transformations, against the definitions written out in loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ssfe import ChannelDiscard, FeatureShape, QuarterTurns, RegionDiscard, Transformation
from tests.reference import tap as reference

MAP, NHWC = FeatureShape(10, 1, (6, 6)), FeatureShape(10, -1, (6, 6))
TOKENS, VECTOR = FeatureShape(10, -1, (7,)), FeatureShape(10, 1)
CASES: list[tuple[Transformation, FeatureShape]] = [
    *((ChannelDiscard(3, identity=True), shape) for shape in (MAP, NHWC, TOKENS, VECTOR, FeatureShape(10, 1, (7,)))),
    (ChannelDiscard(4, "drop_fraction"), MAP),
    *((RegionDiscard(2, 3), shape) for shape in (MAP, NHWC)),
    (RegionDiscard(1, 2, identity=False), FeatureShape(3, 1, (5, 7))),
    (RegionDiscard(4, 3), FeatureShape(3, 1, (5, 7))),
    *((QuarterTurns(), shape) for shape in (MAP, NHWC)),
    (QuarterTurns(), FeatureShape(3, 1, (5, 5))),
]


def features(shape: FeatureShape, batch: int = 3, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    sizes = (shape.channels, *shape.size) if shape.channel_dim == 1 else (*shape.size, shape.channels)
    return torch.randn(batch, *sizes, dtype=dtype)


@pytest.mark.parametrize(("transformation", "shape"), CASES, ids=str)
def test_every_view_is_its_definition(transformation: Transformation, shape: FeatureShape) -> None:
    x, state = features(shape), transformation.state(shape)
    before = x.clone()
    slow = [
        reference.disturbed(transformation, x, view, shape.channel_dim, state)
        for view in range(transformation.transforms)
    ]
    assert transformation.apply(x, shape.channel_dim, state).equal(torch.cat(slow))
    views = torch.tensor([1, 0, transformation.transforms - 1])
    sampled = transformation.apply(x, shape.channel_dim, state, views)
    assert sampled.equal(torch.stack([slow[view][image] for image, view in enumerate(views)]))
    assert x.equal(before)
    assert slow[0].equal(x) == transformation.identity
    assert len({tuple(view.flatten().tolist()) for view in slow}) == len(slow), "all differ"


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("views", [None, torch.tensor([2, 0, 3])], ids=["all", "sampled"])
@pytest.mark.parametrize("transformation", [ChannelDiscard(), RegionDiscard(), QuarterTurns()], ids=str)
def test_memory_format_and_dtype_stay(transformation: Transformation, views: Any, channels_last: bool) -> None:
    kept = torch.channels_last if channels_last else torch.contiguous_format
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = features(MAP, dtype=dtype).to(memory_format=kept)
        made = transformation.apply(x, 1, transformation.state(MAP), views)
        assert made.dtype == dtype
        assert made.is_contiguous(memory_format=kept)
        nhwc = transformation.apply(features(NHWC, dtype=dtype), -1, transformation.state(NHWC), views)
        assert nhwc.is_contiguous()
        assert nhwc.dtype == dtype


@pytest.mark.parametrize(("transformation", "shape"), CASES, ids=str)
def test_gradients(transformation: Transformation, shape: FeatureShape) -> None:
    x = features(shape, 2, torch.float64).requires_grad_()
    state = transformation.state(shape)
    for views in (None, torch.tensor([1, 0])):
        made = transformation.apply(x, shape.channel_dim, state, views)
        weight = torch.randn_like(made)
        (gradient,) = torch.autograd.grad((made * weight).sum(), x)
        # Linear: the gradient is the transposed operation.
        step = torch.randn_like(x)
        moved = transformation.apply(step, shape.channel_dim, state, views)
        torch.testing.assert_close((gradient * step).sum(), (moved * weight).sum())


@pytest.mark.parametrize(
    ("transformation", "shape", "message"),
    [
        (RegionDiscard(), VECTOR, r"RegionDiscard needs a map with height and width, not \(B, 10\).*ChannelDiscard"),
        (RegionDiscard(), TOKENS, r"RegionDiscard needs a map .*, not \(B, 7, 10\)"),
        (RegionDiscard(), FeatureShape(10, 1, (1, 1)), r"RegionDiscard\(2, 2\) needs .* at least 2 x 2, not 1 x 1"),
        (QuarterTurns(), VECTOR, r"QuarterTurns needs a square map, not \(B, 10\).*ChannelDiscard"),
        (QuarterTurns(), FeatureShape(10, 1, (6, 5)), r"square map of at least 2 x 2, not 6 x 5: use square images"),
        (QuarterTurns(), FeatureShape(10, 1, (1, 1)), r"square map of at least 2 x 2, not 1 x 1"),
        (ChannelDiscard(11), MAP, "transforms=11 is more than the 10 channels"),
    ],
)
def test_what_does_not_fit_is_refused(transformation: Transformation, shape: FeatureShape, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transformation.state(shape)


def test_maps_of_another_size_later() -> None:
    """Training and evaluation may use images of other sizes than the one at attach time."""
    grid = RegionDiscard()
    state = grid.state(MAP)
    larger = FeatureShape(10, 1, (9, 4))
    x = features(larger)
    slow = [reference.disturbed(grid, x, view, 1, state) for view in range(5)]
    assert grid.apply(x, 1, state).equal(torch.cat(slow))
    with pytest.raises(ValueError, match="at least 2 x 2, not 1 x 4"):
        grid.apply(x[:, :, :1], 1, state)
    with pytest.raises(ValueError, match="square map of at least 2 x 2, not 9 x 4"):
        QuarterTurns().apply(x, 1, QuarterTurns().state(MAP))


def test_grids() -> None:
    assert [RegionDiscard(*grid).transforms for grid in ((2, 2), (1, 2), (3, 3), (2, 2, False))] == [5, 3, 10, 4]
    for grid in ((1, 1), (0, 4), (2, -1)):
        with pytest.raises(ValueError, match=f"a grid of {grid[0]} x {grid[1]} regions"):
            RegionDiscard(*grid)


def test_shapes_for_print() -> None:
    shapes = (MAP, NHWC, TOKENS, VECTOR, FeatureShape(10, 1, (7,)))
    assert [shape.layout for shape in shapes] == ["NCHW", "NHWC", "NLC", "NC", "NCL"]
    assert [str(shape) for shape in shapes[:4]] == ["(B, 10, 6, 6)", "(B, 6, 6, 10)", "(B, 7, 10)", "(B, 10)"]
