"""Whether a transformation leaves the classifier anything to tell apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ssfe.core.tap.tap import Tap


def all_alike(network: nn.Module, stock: nn.Module, tap: Tap, images: Tensor) -> bool:
    """Whether the classifier gets the same features of all views, up to rounding. Needs real arithmetic: False on meta.

    Args:
        network: in evaluation mode; left as it is.
        stock: its classifier.
        tap: the place, and what disturbs the features there.
        images: (B, C, H, W), of which the shape alone is used.
    """
    if stock.get_parameter("weight").is_meta:
        return False
    features = _disturbed(network, stock, tap, images).float()
    if features.ndim > 2:  # logits of a map are pooled after the classifier
        features = features.mean((2, 3)) if isinstance(stock, nn.Conv2d) else features.flatten(1, -2).mean(1)
    features = features.reshape(tap.transformation.transforms, len(images), -1)
    largest = features.abs().max()
    return bool(largest > 0) and bool((features - features[:1]).abs().max() <= 1e-6 * largest)


def _disturbed(network: nn.Module, stock: nn.Module, tap: Tap, images: Tensor) -> Tensor:
    """The classifier's input for all views of noise, under weights other than the network's.

    A network that starts with residual branches at zero may do less now than it will.
    """
    generator = torch.Generator("cpu").manual_seed(0)

    def noise(shape: torch.Size, like: Tensor) -> Tensor:
        return torch.randn(shape, generator=generator, device="cpu").to(like)

    weights = {
        name: p.detach() + 0.1 * (p.detach().abs().mean() + 0.1) * noise(p.shape, p)
        for name, p in network.named_parameters()
    }
    seen: list[Tensor] = []

    def disturb(_: nn.Module, args: Any, output: Tensor) -> Tensor:
        return tap.transformation.apply(output, tap.shape.channel_dim, tap.state.to(output.device))

    handles = [
        network.get_submodule(tap.name).register_forward_hook(disturb),
        stock.register_forward_pre_hook(lambda _, args: seen.append(args[0])),
    ]
    try:
        with torch.no_grad():
            functional_call(network, weights, (noise(images.shape, stock.get_parameter("weight")),))
    finally:
        for handle in handles:
            handle.remove()
    return seen[0]
