"""From a ModelSpec to a network that is known to take the images, with every failure turned into one line."""

from __future__ import annotations

import difflib
import inspect
import re
from typing import Any

import timm
import torch
from torch import Tensor, nn

from ssfe.core.network.trial import first_line
from ssfe.lab.errors import UserError
from ssfe.lab.models.names import check_name
from ssfe.lab.models.spec import ModelSpec
from ssfe.lab.models.stem_surgery import config

SIZES = (32, 48, 64, 96, 128, 160, 192, 224, 256, 384)
"""Image sizes tried, in this order, for one that works where the user's does not."""

IMPLIED = ("base", "num_classes", "in_chans")
"""Arguments that go without saying in a message."""


def label(spec: ModelSpec) -> str:
    """The name the user knows: that of the base network where the stem was exchanged."""
    return str(spec.kwargs.get("base", spec.name))


def create(spec: ModelSpec) -> nn.Module:
    """``timm.create_model`` with freshly initialised weights; UserError names a wrong name or argument."""
    check_name(spec.name)
    try:
        return timm.create_model(spec.name, **spec.kwargs)
    except UserError:
        raise
    except Exception as error:
        wrong = re.search(r"(unexpected|multiple values for) (?:keyword )?argument '(\w+)'", str(error))
        if wrong is None:
            own = [f"{key}={value!r}" for key, value in spec.kwargs.items() if key not in IMPLIED]
            given = f" with {', '.join(own)}" if own else ""
            raise UserError(f"{label(spec)} cannot be built{given}: {first_line(error)}") from error
        kind, argument = wrong.groups()
        raise UserError(_argument_error(label(spec), kind, argument)) from error


def _argument_error(name: str, kind: str, argument: str) -> str:
    if kind != "unexpected":
        return f"model_args: '{argument}' is set by {name} itself, leave it out"
    parameters = list(inspect.signature(type(timm.create_model(name)).__init__).parameters.values())[1:]
    known = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    near = difflib.get_close_matches(argument, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"it takes {', '.join(known)}"
    return f"model_args: {name} takes no '{argument}': {hint}"


def build_model(spec: ModelSpec, image_size: int, *, pretrained: bool = False) -> nn.Module:
    """The network of ``spec``, after a trial forward pass on two square images of ``image_size`` pixels in eval mode.

    With ``pretrained`` timm's weights are loaded as far as they fit. Raises UserError for an unknown name, a wrong
    argument, weights that cannot be had, and images the network does not take, naming a size that works if one is
    found.
    """
    model = create(spec)
    if pretrained:
        try:
            model = timm.create_model(spec.name, pretrained=True, **spec.kwargs)
        except Exception as error:
            raise UserError(
                f"the pretrained weights of {label(spec)} could not be loaded ({first_line(error)}): check the "
                "connection, or train without pretrained"
            ) from error
    channels = spec.kwargs.get("in_chans", config(model)["input_size"][0])
    reason = _refusal(model, channels, image_size)
    if reason is not None:
        size = _working_size(model, spec, channels, image_size)
        hint = f"image_size {size} works" if size else "choose another model"
        raise UserError(f"{label(spec)} does not take images of {image_size} px ({reason}): {hint}")
    return model


def _refusal(model: nn.Module, channels: int, image_size: int) -> str | None:
    """Why ``model`` fails on two images of this size, or None. UserError if what it returns is no logits."""
    was_training = model.training
    try:
        with torch.no_grad():
            output = model.eval()(torch.zeros(2, channels, image_size, image_size))
    except Exception as error:
        return first_line(error)
    finally:
        model.train(was_training)
    classes = getattr(model, "num_classes", None)
    if not isinstance(output, Tensor) or output.shape != (2, classes):
        seen: Any = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise UserError(f"{type(model).__name__} is no classifier: of two images it makes {seen}, not (2, {classes})")
    return None


def _working_size(model: nn.Module, spec: ModelSpec, channels: int, image_size: int) -> int | None:
    """The next size that works; images above 64 px get another stem, so there only timm's own size is known."""
    own = int(config(model)["input_size"][-1])
    if config(model).get("fixed_input_size", False):
        built_for = int(spec.kwargs.get("img_size", own))
        return built_for if built_for != image_size else own if own != image_size else None
    tried = [size for size in SIZES if size > image_size and (size <= 64 or spec.name != "small_stem")]
    for size in tried:
        if _refusal(model, channels, size) is None:
            return size
    return own if own > image_size else None
