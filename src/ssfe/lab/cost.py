"""What training a named network costs by each method."""

from __future__ import annotations

from typing import Any, Literal

import torch

import ssfe
from ssfe.core.network.trial import first_line
from ssfe.lab.config import MethodOptions
from ssfe.lab.errors import UserError
from ssfe.lab.methods.transformation import make_transformation
from ssfe.lab.models import build_model, choose_model
from ssfe.lab.models.names import check_name, own_size
from ssfe.lab.training.device import find_device

Precision = Literal["fp32", "bf16", "fp16"]

_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def model_cost(
    model: str | None,
    options: MethodOptions,
    *,
    model_args: dict[str, Any],
    image_size: int | None,
    batch: int,
    classes: int,
    rounds: int,
    precision: Precision,
    accelerator: str,
) -> ssfe.Cost:
    """:func:`ssfe.cost` of a network by name, fitted to the images as ``ssfe train`` does.

    ``image_size`` None: what the network was made for, 32 px where that is not known.

    Raises:
        UserError: for an unknown network, a size that it does not take, options that cannot be, too little memory.
    """
    for name, value, least in (("image_size", image_size, 1), ("batch", batch, 2), ("classes", classes, 2)):
        if value is not None and value < least:
            raise UserError(f"{name}={value}: at least {least} is needed")
    if image_size is None:
        if model is not None:
            check_name(model)
        image_size = own_size(model)
    device = find_device(accelerator)
    spec, _ = choose_model(
        model, image_size=image_size, channels=3, num_classes=classes, pretrained=False, model_args=model_args
    )
    network = build_model(spec, image_size).to(device)
    images = torch.randn(batch, 3, image_size, image_size, device=device)
    try:
        transform = make_transformation(options)
        return ssfe.cost(
            *(network, images, transform),
            tap=options.tap,
            views=options.views,
            autocast=_DTYPES[precision],
            rounds=rounds,
        )
    except (ValueError, TypeError) as error:
        raise UserError(first_line(error)) from error
    except RuntimeError as error:
        if "alloc" in str(error).lower() and not isinstance(error, torch.OutOfMemoryError):
            raise UserError("out of memory: lower --batch or --image-size") from error
        raise
