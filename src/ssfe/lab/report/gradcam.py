"""Grad-CAM (Selvaraju et al., arXiv 1610.02391) at the last feature map before pooling, for any network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Heat:
    """What a network looked at.

    Attributes:
        maps: (B, h, w) float32 in [0, 1], the largest value of each image 1 (or all 0: nothing speaks for the class).
    """

    maps: Tensor

    @property
    def side(self) -> int:
        """Cells along the longer side of the feature map."""
        return max(self.maps.shape[1:])


def grad_cam(network: nn.Module, inputs: Tensor, classes: Tensor) -> Heat | None:
    """``relu(sum_k a_k A_k)`` with ``a_k`` the mean over the positions of the gradient of the class's logit by ``A_k``.

    Args:
        network: in evaluation mode.
        inputs: (B, C, S, S).
        classes: (B,) whose logits to explain.

    Returns:
        The maps; None for a network without a feature map larger than one cell before its classifier, such as a vision
        transformer, whose tokens are no map.
    """
    features, channels_first = None, True

    def watch(module: nn.Module, given: object, output: object) -> None:
        nonlocal features, channels_first
        if not isinstance(output, Tensor):
            return
        if output.ndim == 3 and output.shape[1] > 1:
            features = None  # tokens: what was a map before them is not what the classifier sees
        if output.ndim == 4 and (layout := _layout(output)) is not None and output.requires_grad:
            features, channels_first = output, layout

    hooks = [module.register_forward_hook(watch) for module in network.modules()]
    try:
        with torch.enable_grad():
            logits = network(inputs.clone().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    if features is None:
        return None
    (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), features, allow_unused=True)
    if gradient is None:
        return None
    activation = features.detach()
    if not channels_first:
        activation, gradient = activation.permute(0, 3, 1, 2), gradient.permute(0, 3, 1, 2)
    maps = F.relu((gradient.mean((2, 3), keepdim=True) * activation).sum(1)).float()
    return Heat(maps / maps.amax((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny))


def _layout(output: Tensor) -> bool | None:
    """Whether a square map larger than one cell has its channels first or last; None if it is no such map.

    The inputs are square, so that the two equal sides are the positions.
    """
    _, first, middle, last = output.shape
    if middle == last:
        return True if last > 1 else None
    return False if first == middle and first > 1 else None
