"""A stem for small images on networks that were made for 224 pixels, registered with timm as ``small_stem``.

An ImageNet stem shrinks a 32-pixel image to 8 pixels before the first stage, which costs such networks about 15 points
of accuracy. Here the stem keeps the resolution: strided stem convolutions get stride 1 (and at most a 3x3 kernel), and
the max-pool before the first stage goes. Networks of fixed input size (ViTs) get smaller patches instead.
"""

from __future__ import annotations

import math
from typing import Any

import timm
from timm.models import register_model
from torch import nn

from ssfe.lab.errors import UserError
from ssfe.lab.models.names import check_name
from ssfe.lab.models.stem_surgery import adapt_stem, feature_list, first_conv

__all__ = ["check_patches", "patch_arguments"]

VIT_GRID = 8
HIERARCHICAL_GRID = 32
_MODEL_FOLDERS = ("hf-hub", "local-dir")
"""timm's word for where the weights of a whole saved network come from."""


def patch_arguments(model: nn.Module, image_size: int) -> dict[str, Any]:
    """``img_size`` and ``patch_size`` that make a network of fixed input size fit small images.

    A ViT gets a grid of about 8 x 8 patches (4 px of a 32-px image). A hierarchical one (Swin), which shrinks its grid
    stage by stage, gets about 32 x 32, to end at 4 x 4. The patch always divides the image.
    """
    reductions = {stage["reduction"] for stage in feature_list(model)}
    grid = VIT_GRID if len(reductions) == 1 else HIERARCHICAL_GRID
    divisors = [size for size in range(1, image_size + 1) if image_size % size == 0]
    patch = min(divisors, key=lambda size: abs(math.log(image_size / size / grid)))
    return {"img_size": image_size, "patch_size": patch}


def check_patches(model: nn.Module, patch_size: int) -> None:
    """Raise UserError unless the first convolution really cuts the image into patches of ``patch_size``."""
    name, conv = first_conv(model)
    if conv.stride != (patch_size, patch_size):
        raise UserError(
            f"{type(model).__name__} has no stem that can be made smaller: its first convolution {name} has stride "
            f"{conv.stride[0]} whatever patch_size says"
        )


@register_model
def small_stem(pretrained: bool = False, base: str | None = None, **kwargs: Any) -> nn.Module:
    """The timm network ``base`` with a stem for small images; other arguments go on to it.

    ``timm.create_model("small_stem", base="resnet18", num_classes=100)``. A network of fixed input size also needs
    ``img_size``. With ``pretrained`` the weights of ``base`` are loaded first, so all stay but those of a first
    convolution whose kernel changes size; those of a model folder (``local-dir:``, ``hf-hub:``) are of the network with
    its new stem, and are loaded last. A base whose stem keeps the resolution already comes unchanged. Raises UserError
    if ``base`` is missing or unknown, or its stem is of no known kind.
    """
    saved = kwargs.get("pretrained_cfg")
    if pretrained and isinstance(saved, dict) and saved.get("source") in _MODEL_FOLDERS:
        network: nn.Module = small_stem(base=base, **kwargs)
        classes: Any = network.num_classes
        channels = kwargs.get("in_chans", saved["input_size"][0])
        timm.models.load_pretrained(network, saved, num_classes=classes, in_chans=channels)
        return network
    if base is None or base.partition(".")[0] == "small_stem":
        raise UserError(
            'small_stem needs the name of another network: timm.create_model("small_stem", base="resnet18")'
        )
    check_name(base)
    config = timm.models.get_pretrained_cfg(base)
    if config is None or not config.fixed_input_size:
        model = timm.create_model(base, pretrained=pretrained, **kwargs)
        adapt_stem(model)
        return model
    if "patch_size" not in kwargs:
        if "img_size" not in kwargs:
            raise UserError(f"small_stem of {base} needs img_size, the side of its images in pixels")
        kwargs |= patch_arguments(timm.create_model(base), kwargs["img_size"])
    try:
        model = timm.create_model(base, pretrained=pretrained, **kwargs)
    except TypeError as error:
        if "'patch_size'" in str(error):
            raise UserError(f"{base} has no stem that can be made smaller: it takes no patch_size") from error
        raise
    check_patches(model, kwargs["patch_size"])
    return model
