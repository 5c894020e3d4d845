"""What a deep copy of a network cannot do by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from types import FunctionType
from typing import Any

from torch import Tensor, nn


def detached(network: nn.Module) -> dict[int, Tensor]:
    """A memo for ``copy.deepcopy``: tensors that a forward pass left in modules (caches, the old ``spectral_norm``'s
    weight) are parts of a graph, which torch refuses to copy; their values are not.
    """
    seen: set[int] = set()
    held = (value for module in network.modules() for value in _leaves(vars(module), seen))
    return {id(value): value.detach().clone() for value in held if isinstance(value, Tensor) and not value.is_leaf}


def check_forwards(network: nn.Module, copied: nn.Module) -> None:
    """Check that no module's ``forward`` was replaced by a closure over the original network: the copy's would still
    call the original.

    Raises:
        ValueError: naming the module.
    """
    originals = {id(module) for module in network.modules()}
    for name, module in copied.named_modules():
        function = vars(module).get("forward")
        for held in _closed_over(function):
            if originals & {id(held), id(getattr(held, "__self__", None))}:
                raise ValueError(
                    f"forward of {name or type(module).__name__!r} was replaced by a function that calls the enhanced "
                    "network, and would go on to after folding: instead of torch.compile(model.forward) use "
                    "model.compile(), for a function of your own types.MethodType(function, module)"
                )


def _closed_over(function: Any) -> Iterator[Any]:
    cells = function.__closure__ if isinstance(function, FunctionType) else None
    for cell in cells or ():
        with suppress(ValueError):  # of an empty one
            yield cell.cell_contents


def _leaves(value: Any, seen: set[int]) -> Iterator[Any]:
    """What a container holds, however deep, or the value itself; ``seen``: ids of containers looked through already."""
    if not isinstance(value, dict | list | tuple):
        yield value
    elif id(value) not in seen:
        seen.add(id(value))
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part, seen)
