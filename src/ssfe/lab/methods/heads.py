"""Changing what a stock network's classifier outputs, and back."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ssfe.core.network.surgery import check_linear, find_classifier, replace_module
from ssfe.lab.errors import UserError


def classifier_of(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Name and layer of the network's classifier, checked to be a plain linear one."""
    name, layer = find_classifier(network)
    check_linear(layer)
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return name, layer


def with_rows(layer: nn.Linear | nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """A layer like ``layer`` with weight rows (O, C) and bias (O,), for any O."""
    changed = copy.deepcopy(layer)
    changed.weight = nn.Parameter(weight.detach().clone().view(len(weight), *layer.weight.shape[1:]))
    changed.bias = None if bias is None else nn.Parameter(bias.detach().clone())
    setattr(changed, "out_features" if isinstance(layer, nn.Linear) else "out_channels", len(weight))
    return changed


def swapped(network: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """A copy of the network with ``new`` in the place of ``old``."""
    network_copy = copy.deepcopy(network, {id(old): new})
    if network_copy is new:
        raise UserError("the network is a classifier alone: there are no features to train")
    return network_copy


def put(network: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """The network itself, with ``new`` in the place of ``old``."""
    replace_module(network, old, new)
    return network


@torch.no_grad()
def rows(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """A linear layer's weight as (O, C), and its bias (O,) or None."""
    bias = getattr(layer, "bias", None)
    return layer.get_parameter("weight").flatten(1), bias
