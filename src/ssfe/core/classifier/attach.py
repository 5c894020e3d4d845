"""Putting a joint classifier and its hooks into a network, and taking the hooks out again."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ssfe.core.classifier.embedded import EmbeddedClassifier
from ssfe.core.network.surgery import replace_module


def attach(network: nn.Module, stocks: Sequence[nn.Module], joints: Sequence[EmbeddedClassifier]) -> None:
    """Put joint classifiers in the classifiers' places, and the hooks of the first on the network."""
    for stock, joint in zip(stocks, joints, strict=True):
        replace_module(network, stock, joint)
    joints[0].attach(network, *joints[1:])


def remove_hooks(network: nn.Module, owner: nn.Module) -> None:
    """Remove the hooks that are methods of ``owner``: a joint classifier, or in a copy of its network what stands there
    in its place.
    """
    for module in network.modules():
        for table in ("_forward_pre_hooks", "_forward_hooks"):
            hooks = getattr(module, table)
            for key in [key for key, hook in hooks.items() if getattr(hook, "__self__", None) is owner]:
                del hooks[key]
                for flags in (f"{table}_with_kwargs", f"{table}_always_called"):
                    getattr(module, flags, {}).pop(key, None)  # a copy of a torch.fx.GraphModule has none
