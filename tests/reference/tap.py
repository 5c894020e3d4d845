"""Disturbed features one value at a time, and a tapped network one view at a time."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ssfe import ChannelDiscard, QuarterTurns, RegionDiscard, Transformation


def disturbed(transformation: Transformation, features: Tensor, view: int, channel_dim: int, state: Tensor) -> Tensor:
    """One view of features (B, ...): the definition, channel by channel or place by place."""
    images = features.movedim(channel_dim, 1).clone()
    if isinstance(transformation, ChannelDiscard):
        for c in range(images.shape[1]):
            if not state[view, c]:
                images[:, c] = 0
    elif isinstance(transformation, RegionDiscard):
        images = without_region(transformation, images, view - transformation.identity)
    elif isinstance(transformation, QuarterTurns):
        for _ in range(view):
            images = turned(images)
    return images.movedim(1, channel_dim)


def without_region(grid: RegionDiscard, maps: Tensor, region: int) -> Tensor:
    height, width = maps.shape[2:]
    for y in range(height):
        for x in range(width):
            row, column = y * grid.rows // height, x * grid.columns // width
            if region == row * grid.columns + column:
                maps[:, :, y, x] = 0
    return maps


def turned(maps: Tensor) -> Tensor:
    """By a quarter, counterclockwise."""
    side = maps.shape[2]
    after = maps.clone()
    for y in range(side):
        for x in range(side):
            after[:, :, y, x] = maps[:, :, x, side - 1 - y]
    return after


def joint_logits(
    stock: nn.Module, tap: str, classifier: str, joint: Any, transformation: Transformation, images: Tensor
) -> tuple[Tensor, nn.Module]:
    """Joint logits (B, M, N, M) of the stock network with its classifier widened to N*M, one pass for every view.

    The widened network is returned too: its parameters have the stock names, and the gradients of what comes of the
    logits.
    """
    network = copy.deepcopy(stock)
    layer = network.get_submodule(classifier)
    for name in ("weight", "bias"):
        value = getattr(joint, name).detach().clone()
        setattr(layer, name, nn.Parameter(value.view(-1, *getattr(layer, name).shape[1:])))
    views = []
    for view in range(transformation.transforms):
        handle = network.get_submodule(tap).register_forward_hook(
            lambda _, __, output, view=view: sum_of_parts(transformation, output, view, joint.tap)
        )
        views.append(network(images).unflatten(1, (-1, transformation.transforms)))
        handle.remove()
    return torch.stack(views, 1), network


def sum_of_parts(transformation: Transformation, output: Tensor, view: int, tap: Any) -> Tensor:
    """:func:`disturbed`, in a way that autograd follows: the definition is linear, so it is applied to a basis."""
    size = output[0].numel()
    basis = torch.eye(size, dtype=output.dtype).view(size, *output.shape[1:])
    moved = disturbed(transformation, basis, view, tap.shape.channel_dim, tap.state).flatten(1)
    return (output.flatten(1) @ moved).view(output.shape)
