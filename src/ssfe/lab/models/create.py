"""Which network a run trains: the user's choice, fitted to the images."""

from __future__ import annotations

import json
from typing import Any

import timm
import torch

from ssfe.lab.errors import UserError
from ssfe.lab.models.build import create
from ssfe.lab.models.names import check_name, check_pretrained
from ssfe.lab.models.small_stem import check_patches, patch_arguments
from ssfe.lab.models.spec import ModelSpec
from ssfe.lab.models.stem_surgery import adapt_stem

SMALL_IMAGE = 64
"""Images of up to so many pixels get a stem for small images."""

RESERVED = {
    "num_classes": "the number of classes comes from the data",
    "in_chans": "the number of channels comes from the data",
    "pretrained": "use the option pretrained",
    "pretrained_cfg": "use the option pretrained, with a model name such as resnet50.a1_in1k",
    "pretrained_cfg_overlay": "use the option pretrained, with a model name such as resnet50.a1_in1k",
    "checkpoint_path": "weights are no part of the model's description",
    "features_only": "a classifier is trained",
}
"""Arguments of timm.create_model that are not the user's to give, and why."""


def default_model(image_size: int) -> str:
    """The network where the user names none."""
    return "cifar_resnet20" if image_size <= SMALL_IMAGE else "resnet18"


def choose_model(
    name: str | None,
    *,
    image_size: int,
    channels: int,
    num_classes: int,
    pretrained: bool,
    model_args: dict[str, Any],
) -> tuple[ModelSpec, str]:
    """The network to train on square images of ``image_size`` pixels, and one line for the log.

    ``name`` None: cifar_resnet20 up to 64 px, resnet18 above. Up to 64 px networks made for larger images get the stem
    of ``small_stem`` or, if their input size is fixed, smaller patches; where neither is possible the line begins with
    "warning:" and the network stays as it is. ``pretrained`` is checked, but not part of the spec: hand it to
    ``build_model``. Draws no random numbers. Raises UserError for an unknown name, a wrong argument in ``model_args``,
    and pretrained weights that do not exist.
    """
    name = name or default_model(image_size)
    check_name(name)
    _check_arguments(model_args)
    base = model_args.get("base", name)
    if not isinstance(base, str):
        raise UserError(f"model_args: base={base!r} is not the name of a network")
    if pretrained:
        check_pretrained(base)
    kwargs = {"num_classes": num_classes, "in_chans": channels, **json.loads(json.dumps(model_args))}
    config = timm.models.get_pretrained_cfg(base)
    fixed = config is not None and config.fixed_input_size
    own_size = config.input_size[-1] if config is not None else None
    if image_size <= SMALL_IMAGE and name != "small_stem":
        with torch.random.fork_rng(devices=[]):
            return _for_small_images(ModelSpec(name, kwargs), image_size, fixed, pretrained)
    if fixed and image_size != own_size:
        kwargs.setdefault("img_size", image_size)
    made_for = f"; its pretrained weights were made for {own_size} px" if pretrained and own_size != image_size else ""
    return ModelSpec(name, kwargs), f"{name} with the stem it has, for images of {image_size} px{made_for}"


def _check_arguments(model_args: dict[str, Any]) -> None:
    for key in model_args:
        if key in RESERVED:
            raise UserError(f"model_args may not set '{key}': {RESERVED[key]}")
    try:
        json.dumps(model_args)
    except TypeError as error:
        raise UserError(f"model_args must be numbers, text, lists and true/false: {error}") from error


def _for_small_images(spec: ModelSpec, image_size: int, fixed: bool, pretrained: bool) -> tuple[ModelSpec, str]:
    """``spec`` with the stem exchanged (or smaller patches, if ``fixed``), or as it is with a warning."""
    model = create(spec)
    if fixed:
        return _with_small_patches(spec, patch_arguments(model, image_size))
    try:
        change = adapt_stem(model)
    except UserError as error:
        return spec, _warning(spec.name, image_size, str(error))
    if change is None:
        return spec, f"{spec.name} with the stem it has, which keeps the resolution of images of {image_size} px"
    fresh = "; it starts from fresh weights" if pretrained and change.fresh else ""
    return (
        ModelSpec("small_stem", {"base": spec.name, **spec.kwargs}),
        f"small-image stem for {spec.name}: {change}, because images are {image_size} px{fresh}",
    )


def _with_small_patches(spec: ModelSpec, patches: dict[str, Any]) -> tuple[ModelSpec, str]:
    smaller = ModelSpec(spec.name, {**patches, **spec.kwargs})
    size, patch = smaller.kwargs["img_size"], smaller.kwargs["patch_size"]
    try:
        check_patches(create(smaller), patch)
    except UserError:
        reason = f"it cannot be made with patches of {patch} px"
        return ModelSpec(spec.name, {"img_size": size, **spec.kwargs}), _warning(spec.name, size, reason)
    return smaller, f"patches of {patch} px for {spec.name}, because images are {size} px"


def _warning(name: str, image_size: int, reason: str) -> str:
    return (
        f"warning: {name} keeps a stem made for larger images, which costs accuracy at {image_size} px ({reason}); "
        "cifar_resnet20 or resnet18 suit them"
    )
