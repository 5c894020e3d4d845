"""Trying a network on a few images, without computing: what its modules return, and whether a tap holds."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ssfe.core.transformations.base import FeatureShape

_SIZES = (224, 64, 32)
"""Image sizes to try where the network does not tell its own."""


def example_for(network: nn.Module, example: Tensor | None = None) -> Tensor:
    """Two images that the network takes: on the meta device, so that they cost nothing, if it can run there.

    Args:
        network: any image classifier.
        example: (B, C, H, W), given by the user; default: the input size in a timm network's ``pretrained_cfg`` or a
            transformers network's ``config``, or 224, 64 or 32 pixels, with the channels of the first convolution.

    Raises:
        ValueError: if the network takes none of these.
    """
    weight = next(network.parameters())
    shapes = _known_shapes(network) if example is None else [tuple(example.shape[1:])]
    devices = [torch.device("meta"), *([] if weight.is_meta else [weight.device])]
    for device, shape in itertools.product(devices, shapes):
        images = torch.zeros(2, *shape, dtype=weight.dtype, device=device)
        try:
            run(network, images)
        except Exception as error:  # whatever a network makes of images that it does not take
            reason = first_line(error)
        else:
            return images
    tried = " or ".join(str((2, *shape)) for shape in shapes)
    raise ValueError(
        f"{type(network).__name__} does not take images of shape {tried} ({reason}); a tap is tried when it is "
        "attached: pass images that the network takes, enhance(model, tap=..., example=images)"
    )


def run(network: nn.Module, images: Tensor) -> Any:
    """The network's output, without gradients; for images on the meta device shapes without arithmetic.

    Modules keep their modes.
    """
    with torch.no_grad():
        if not images.is_meta:
            return network(images)
        tensors = itertools.chain(network.named_parameters(), network.named_buffers())
        shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}
        return functional_call(network, shapes, (images,))


def observe(network: nn.Module, modules: Mapping[str, nn.Module], images: Tensor) -> dict[str, list[Any]]:
    """What each of the modules returns, call by call, when the network sees the images; in order of first calls."""
    seen: dict[str, list[Any]] = {}
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: seen.setdefault(name, []).append(output))
        for name, module in modules.items()
    ]
    try:
        run(network, images)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def shapes_at(network: nn.Module, modules: Mapping[str, nn.Module], images: Tensor) -> dict[str, FeatureShape | str]:
    """The shape of what each module returns, or why it cannot be tapped.

    In order of first calls; modules that are not called stand last. Channels are told from space by what stays when the
    images grow; where the network takes one size only, by the two equal sides of a square map, and by custom for tokens
    (B, L, C).
    """
    seen = observe(network, modules, images)
    grown: dict[str, list[Any]] = {}
    with contextlib.suppress(Exception):  # a network that takes one size only
        grown = observe(network, modules, images.new_zeros(*images.shape[:2], *(2 * side for side in images.shape[2:])))
    never: dict[str, list[Any]] = {name: [] for name in modules if name not in seen}
    return {name: _shape(calls, grown.get(name, []), len(images)) for name, calls in (seen | never).items()}


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Within, every module is in evaluation mode. Afterwards its attributes are what they were: a forward pass may keep
    something in them (a grid of positions, a table of biases), which a trial makes of other weights, or of none.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    # What eval() itself does (weights that some adapters merge) stays, and so does a lazy module that has its weights.
    before = [(module, type(module), _contents(vars(module))) for module in network.modules()]
    try:
        yield
    finally:
        for module, kind, contents in before:
            if type(module) is kind:
                _restore(vars(module), contents)
        for module, mode in modes.items():
            module.training = mode


def _contents(attributes: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Attributes, and what is in those that are containers."""
    return {name: (value, copy.copy(value) if _holds(value) else None) for name, value in attributes.items()}


def _restore(attributes: dict[str, Any], contents: dict[str, tuple[Any, Any]]) -> None:
    for name in attributes.keys() - contents.keys():
        del attributes[name]
    for name, (value, held) in contents.items():
        attributes[name] = value
        if isinstance(value, dict) and _holds(value):  # the same object: handles of hooks refer to it
            value.clear()
            value.update(held)
        elif _holds(value):
            value[:] = held


def _holds(value: Any) -> bool:
    """Whether it is a container that a module may keep something in, and nothing more."""
    return type(value) in (dict, OrderedDict, list)


def _shape(calls: Sequence[Any], grown: Sequence[Any], images: int) -> FeatureShape | str:
    if not calls:
        return (
            "the network's forward does not call it (a part that is switched off, or gradient checkpointing, which "
            "calls the blocks of a stage one by one)"
        )
    output = calls[0]
    if not isinstance(output, Tensor):
        count = f" of {len(output)}" if isinstance(output, tuple | list) else ""
        return f"it returns a {type(output).__name__}{count}, not one tensor"
    if len(calls) > 1:
        return f"the network calls it {len(calls)} times in one forward pass"
    if not output.is_floating_point() or not 2 <= output.ndim <= 4:
        return f"it returns {output.dtype} of shape {tuple(output.shape)}, not features (B, C, ...) or (B, ..., C)"
    if output.shape[0] != images:
        return f"it returns {output.shape[0]} rows for {images} images"
    larger = grown[0].shape if grown and isinstance(grown[0], Tensor) else None
    channel_dim = _channel_dim(tuple(output.shape), None if larger is None else tuple(larger))
    if channel_dim is None:
        return f"channels cannot be told from space in its output {tuple(output.shape)}; try images of another size"
    sizes = list(output.shape[1:])
    return FeatureShape(sizes.pop(0 if channel_dim == 1 else -1), channel_dim, tuple(sizes))


def _channel_dim(shape: tuple[int, ...], larger: tuple[int, ...] | None) -> int | None:
    if len(shape) == 2:
        return 1
    if larger is not None and len(larger) == len(shape):
        constant = [dim for dim in range(1, len(shape)) if shape[dim] == larger[dim]]
        if constant == [1]:
            return 1
        if constant == [len(shape) - 1]:
            return -1
    if len(shape) == 3:
        return -1
    first, middle, last = shape[1:]
    if (first == middle) == (middle == last):
        return None
    return 1 if middle == last else -1


def _known_shapes(network: nn.Module) -> list[tuple[int, ...]]:
    config = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None)
    own = config.get("input_size") if isinstance(config, dict) else None
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    channels = 3 if first is None else first.in_channels
    guessed: list[tuple[int, ...]] = [(channels, size, size) for size in _SIZES]
    size = getattr(getattr(network, "config", None), "image_size", None)  # transformers
    if isinstance(size, int):
        return [(channels, size, size), *guessed]
    return [(channels, *own[1:]), *guessed] if own else guessed


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none; 200 characters at most."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]
