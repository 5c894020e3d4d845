"""Weights from a file into a network that may have another number of classes."""

from __future__ import annotations

from pathlib import Path

import timm
from torch import Tensor, nn

from ssfe.lab.errors import UserError
from ssfe.lab.models.stem_surgery import config


def load_weights(network: nn.Module, path: Path, *, same_classes: bool = True) -> str:
    """Load the weights in ``path`` into ``network``, in place, and return what was loaded, in words.

    The file is safetensors, or whatever ``torch.load(weights_only=True)`` reads: a state dict, or a checkpoint of timm
    (its averaged weights, if it has some) or Lightning. A classifier of other shapes, or of other classes, is left as
    it is, fresh.

    Raises:
        UserError: if the file cannot be read, or any other weight is missing, left over, or of another shape.
    """
    own = network.state_dict()
    stored = _without_wrapper(_read(path), own)
    heads = _classifiers(network)
    head = {name for name in {*own, *stored} if name.startswith(heads)}
    fits = all(name in stored and name in own and stored[name].shape == own[name].shape for name in head)
    fresh = not (same_classes and fits)
    wanted, given = (set(names) - head if fresh else set(names) for names in (own, stored))
    _check(wanted, given, own, stored, path)
    network.load_state_dict({name: stored[name] for name in wanted}, strict=not fresh)
    return f"the weights of {path}" + (
        ", but for its classifier, which is of other classes and starts afresh" if fresh else ", its classifier's too"
    )


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"there are no weights at {path}: give a file of weights, or the --output folder of ssfe train")
    try:
        content = timm.models.load_state_dict(str(path), weights_only=True)
        tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    except Exception as error:  # whatever zip, unpickler, safetensors and key lookups make of other bytes
        reason = str(error).strip().partition("\n")[0][:150] or type(error).__name__
        raise UserError(
            f"{path} is no file of weights ({reason}): give safetensors, or what torch.save(network.state_dict()) wrote"
        ) from error
    if not tensors:
        raise UserError(f"{path} holds no weights: give safetensors, or what torch.save(network.state_dict()) wrote")
    return tensors


def _without_wrapper(stored: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the name that a wrapper, such as a LightningModule, puts before those of its network, and its other
    tensors.
    """
    if own.keys() & stored.keys():
        return stored
    first = next(iter(own))
    prefixes = [name.removesuffix(first) for name in stored if name.endswith(f".{first}")]
    if len(prefixes) != 1:
        return stored
    return {name.removeprefix(prefixes[0]): value for name, value in stored.items() if name.startswith(prefixes[0])}


def _classifiers(network: nn.Module) -> tuple[str, ...]:
    """The beginnings of the names of its weights."""
    names = config(network).get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def _check(wanted: set[str], given: set[str], own: dict[str, Tensor], stored: dict[str, Tensor], path: Path) -> None:
    mend = "give the --model that they were trained with"
    for names, what in ((wanted - given, "missing"), (given - wanted, "left over")):
        if names:
            raise UserError(
                f"the weights in {path} are of another network: {len(names)} of its weights are {what}, such as "
                f"{min(names)}; {mend}"
            )
    for name in sorted(wanted):
        here, there = tuple(own[name].shape), tuple(stored[name].shape)
        if here != there:
            raise UserError(
                f"the weights in {path} are of another network: {name} is {there} there, not {here}; {mend}, and its "
                "--image-size"
            )
