"""Weights from a file into a network that may have another number of classes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from ssfe.core.network.trial import first_line
from ssfe.lab.errors import UserError
from ssfe.lab.models.stem_surgery import config

Weights = Mapping[str, Tensor]

_COUNTER = ".num_batches_tracked"
"""Batch norm's number of steps, which older checkpoints lack and only norms without momentum use."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors in a file: safetensors, or whatever ``torch.load(weights_only=True)`` reads, a state dict or a
    checkpoint that holds one (timm's averaged weights, if it has some).

    Raises:
        UserError: if there is no such file, it cannot be read, or it holds no numbers to start from.
    """
    if not path.is_file():
        raise UserError(f"there are no weights at {path}: give a file of weights, or the --output folder of ssfe train")
    mend = "give safetensors, or what torch.save(network.state_dict()) wrote"
    try:
        tensors = _tensors(timm.models.load_state_dict(str(path), weights_only=True))
    except Exception as error:  # whatever zip, unpickler, safetensors and key lookups make of other bytes
        raise UserError(f"{path} is no file of weights ({first_line(error)}): {mend}") from error
    if not tensors:
        raise UserError(f"{path} holds no weights: {mend}")
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise UserError(f"the weights in {path} are not finite ({bad[0]}): that training has diverged")
    return tensors


def load_weights(network: nn.Module, stored: Weights, source: str, *, same_classes: bool = True) -> str:
    """Load ``stored`` into ``network``, in place, and return what was loaded, in words.

    The names may have a wrapper's before them, such as a LightningModule's. What depends on the size of the images,
    such as a ViT's positions, is interpolated as timm does it for pretrained weights. The classifier is left as it is,
    fresh, where it is missing, of other shapes, or of other classes.

    Args:
        network: of timm, whose ``pretrained_cfg`` names its classifier.
        stored: see :func:`read_weights`.
        source: what they were read from, for messages.
        same_classes: whether their classes are the network's, as far as is known.

    Raises:
        UserError: if any other weight is missing, left over, or of another shape; the network is as it was.
    """
    own = network.state_dict()
    head = tuple(f"{name}." for name in _classifiers(network))
    stored = _without_wrapper(stored, [name for name in own if not name.startswith(head)])
    stored = {**_shared(own, stored), **stored}
    if any(name.startswith(head) and name.endswith("._extra_state") for name in stored):
        raise UserError(
            f"{source} are of an enhanced network, with a joint classifier: give the folder of its run, or the "
            "state_dict of ssfe.fold(network)"
        )
    stored, interpolated = _interpolated(network, own, stored, head)
    fresh = _why_fresh({name for name in {*own, *stored} if name.startswith(head)}, own, stored, same_classes)
    wanted, given = (
        {name for name in names if not (fresh and name.startswith(head))} for names in (own.keys(), stored.keys())
    )
    wanted -= {name for name in wanted - given if name.endswith(_COUNTER)}
    _check(wanted, given, own, stored, source)
    network.load_state_dict({name: stored[name] for name in wanted}, strict=False)
    told = f", {' and '.join(interpolated)} interpolated for this size" if interpolated else ""
    return source + (
        f", but for its classifier, which {fresh} and starts afresh{told}" if fresh else f", its classifier's too{told}"
    )


def image_channels(stored: Weights, first_conv: str) -> int | None:
    """How many channels the images had; None if no convolution of the name ``first_conv`` is there to tell."""
    # Blocks may have one of that name too, further in; a wrapper's name may stand before it.
    found = min((name for name in stored if f".{name}".endswith(f".{first_conv}.weight")), key=len, default=None)
    return int(stored[found].shape[1]) if found is not None and stored[found].ndim == 4 else None


def _tensors(content: Mapping[str, Any]) -> dict[str, Tensor]:
    nested = [
        value
        for value in content.values()
        if isinstance(value, Mapping) and any(isinstance(item, Tensor) for item in value.values())
    ]
    inner = nested[0] if len(nested) == 1 else content
    return {name: value for name, value in inner.items() if isinstance(value, Tensor)}


def _without_wrapper(stored: Weights, names: list[str]) -> Weights:
    """Without what a wrapper puts before the names of its network, and without its other tensors."""
    needed = [name for name in names if not name.endswith(_COUNTER)]
    first = needed[0]
    prefixes = {name.removesuffix(first) for name in stored if name.endswith(first)}
    for prefix in sorted(prefixes, key=len):
        if prefix and all(prefix + name in stored for name in needed):
            return {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
    return stored


def _shared(own: Weights, stored: Weights) -> dict[str, Tensor]:
    """What safetensors leaves out, because the network has it under another name too."""
    by_place: dict[tuple[int, torch.Size], str] = {}
    for name in own.keys() & stored.keys():
        by_place[own[name].data_ptr(), own[name].shape] = name
    places = {name: (own[name].data_ptr(), own[name].shape) for name in own.keys() - stored.keys()}
    return {name: stored[by_place[place]] for name, place in places.items() if place in by_place and place[0]}


def _interpolated(
    network: nn.Module, own: Weights, stored: Weights, head: tuple[str, ...]
) -> tuple[Weights, list[str]]:
    """Weights of other shapes fitted to the network by timm, where it knows how, and their names."""

    def differ(given: Weights) -> list[str]:
        shared = own.keys() & given.keys()
        return sorted(n for n in shared if not n.startswith(head) and own[n].shape != given[n].shape)

    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    others = differ(stored)
    if convert is None or not others:
        return stored, []
    try:
        fitted: Weights = convert(dict(stored), network)
    except Exception:  # whatever it makes of another network's weights: what differs is named afterwards
        return stored, []
    return (stored, []) if differ(fitted) else (fitted, others)


def _classifiers(network: nn.Module) -> Iterable[str]:
    names = config(network).get("classifier") or ()
    return [names] if isinstance(names, str) else names


def _why_fresh(head: set[str], own: Weights, stored: Weights, same_classes: bool) -> str:
    if not head & stored.keys():
        return "is not there" if head else ""
    if any(name not in stored or name not in own or stored[name].shape != own[name].shape for name in head):
        return "is of other shapes there"
    return "" if same_classes else "is of other classes"


def _check(wanted: set[str], given: set[str], own: Weights, stored: Weights, source: str) -> None:
    mend = "give the --model that they were trained with, and its --model-args"
    for names, what in ((wanted - given, "missing"), (given - wanted, "left over")):
        if names:
            raise UserError(
                f"{source} are of another network: {len(names)} of its weights are {what}, such as {min(names)}; {mend}"
            )
    for name in sorted(wanted):
        here, there = tuple(own[name].shape), tuple(stored[name].shape)
        if here != there:
            raise UserError(
                f"{source} are of another network: {name} is {there} there, not {here}; {mend}, or their --image-size"
            )
