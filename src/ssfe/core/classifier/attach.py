"""Putting a joint classifier and its hooks into a network, and taking the hooks out again."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ssfe.core.classifier.embedded import EmbeddedClassifier
from ssfe.core.network.surgery import replace_module

Hook = tuple[str, str, int]
"""Qualified name of the module that holds a hook, the table it is in, and its key there."""


def attach(network: nn.Module, stocks: Sequence[nn.Module], joints: Sequence[EmbeddedClassifier]) -> None:
    """Put joint classifiers in the classifiers' places, and the hooks of the first on the network."""
    for stock, joint in zip(stocks, joints, strict=True):
        replace_module(network, stock, joint)
    joints[0].attach(network, *joints[1:])


def hooks_of(network: nn.Module, joint: EmbeddedClassifier) -> list[Hook]:
    """Where the joint classifier's hooks are."""
    return [
        (name, table, key)
        for name, module in network.named_modules()
        for table in ("_forward_pre_hooks", "_forward_hooks")
        for key, hook in getattr(module, table).items()
        if getattr(hook, "__self__", None) is joint
    ]


def remove_hooks(network: nn.Module, hooks: list[Hook]) -> None:
    """Remove these hooks from the network, or from a copy of it."""
    for name, table, key in hooks:
        module = network.get_submodule(name)
        getattr(module, table).pop(key, None)  # a copy of a torch.fx.GraphModule has none
        for flags in (f"{table}_with_kwargs", f"{table}_always_called"):
            getattr(module, flags, {}).pop(key, None)
